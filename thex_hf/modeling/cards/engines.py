"""What a card says of an engine: its scheme, how it packs, and what its client does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class EngineWords:
    """Items of the checklist that depend on the engine.

    Args:
        scheme: the encryption scheme.
        security: its level, and by which table.
        packing: by protocol; the usual one where none is given.
        visits: by protocol; the usual ones where none are given.
        client_learns: by protocol; the usual things where none are given.
        parameters: instead of ring degree and modulus, where there are none.
    """

    scheme: str
    security: str
    packing: Mapping[str, str] = field(default_factory=dict)
    visits: Mapping[str, str] = field(default_factory=dict)
    client_learns: Mapping[str, str] = field(default_factory=dict)
    parameters: str = ""


CKKS = EngineWords(
    "CKKS, levelled, residue number system, no bootstrapping",
    "128 bits (classical attacks, ternary secret), by the table of the Homomorphic "
    "Encryption Standard (Albrecht et al. 2018); other parameters are refused",
)
TFHE = EngineWords(
    "TFHE on integers: linear maps are exact, tables are programmable bootstraps",
    "128 bits, as Concrete's optimiser chooses parameters; nothing else is on offer",
    {"client-aided": "one integer a ciphertext, all values of a linear map in one message"},
    {
        "client-aided": "client computes attention and ReLU between linear maps, and encrypts "
        "their inputs again"
    },
    {"client-aided": "the logits, and the result of every linear map"},
    "chosen by Concrete for each linear map",
)
ENGINES = {"concrete": TFHE}


def words_of(measured: Mapping[str, Any]) -> EngineWords:
    """The words for the engine of some measures; CKKS where none is named."""
    name = (measured.get("backend") or {}).get("name", "")
    return ENGINES.get(name, CKKS)
