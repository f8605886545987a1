"""The reporting checklist of a model card: what a reader needs to compare encrypted inference.

Its items are those that Podschwadt, Takabi and Hu (arXiv 2112.12855) compare such work by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from thex_hf.circuits.protocols import PROTOCOL_FACTS
from thex_hf.modeling.cards.measures import is_partial
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig

NOT_MEASURED = "not measured"
PACKING = {
    "client-aided": "one text a request, its tokens and features side by side in the slots",
    "refresh": "one text a request, or many texts side by side with one feature a ciphertext",
    "one-shot": "one text a request, its tokens and features side by side in the slots",
    "prepared": "a batch of tickets, one feature of all their tokens a ciphertext; texts are not",
}
VISITS = "client finishes softmax and ReLU, and re-encrypts masked values, between requests"
INTERACTIVITY = {
    "client-aided": VISITS,
    "refresh": "client re-encrypts masked values between requests",
    "one-shot": "one request, one reply",
    "prepared": "client and server exchange masked numbers; ciphertexts cross before, in tickets",
}
OPENED = (
    "client finishes softmax and ReLU between masked numbers; ciphertexts cross before, in tickets"
)
"""Of ``prepared`` where the client sees what is inside the model."""
BFV = "BFV in the preparation of tickets, then exact arithmetic on shares modulo a prime"
"""What ``prepared`` computes with."""


def checklist(
    config: ThexBertConfig,
    report: Mapping[str, Any] | None,
    measured: Mapping[str, Any],
    protocols: Sequence[str],
) -> list[tuple[str, str]]:
    """Items and what is to say of each; ``not measured`` where nobody measured it.

    Args:
        config: of the model.
        report: of its conversion, or None.
        measured: scores and costs; may be empty.
        protocols: those that serve the model.
    """
    engine = words_of(measured)
    return [
        ("scheme", _scheme(engine, protocols)),
        ("library and version", _library(measured)),
        ("security level", engine.security),
        ("ring degree and modulus", _parameters(measured)),
        ("adversary", "honest but curious server and client"),
        ("packing", _each(protocols, {**PACKING, **engine.packing})),
        ("activations", _activations(config)),
        ("interactivity", _interactivity(config.form, protocols, measured)),
        ("batch or latency", _latency(measured, protocols)),
        ("evaluation keys, traffic", "see costs" if measured.get("costs") else NOT_MEASURED),
        ("hardware", machine_words(measured) if measured.get("machine") else NOT_MEASURED),
        ("training and conversion data", _data(report)),
        ("accuracy, clear against encrypted", _accuracy(measured, protocols)),
        ("date", str(measured.get("date") or NOT_MEASURED)),
    ]


def counted(row: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    """How many texts a score is of, and out of how many where that is a part of them."""
    available = (measured.get("texts") or {}).get("available")
    if available is None or not is_partial(row, measured):
        return str(row.get("texts"))
    return f"{row.get('texts')} of {available}"


def machine_words(measured: Mapping[str, Any]) -> str:
    """The machine of the measures in one line."""
    machine = measured.get("machine")
    if not machine:
        return "a machine that was not recorded"
    return (
        f"{machine.get('processor')}, {machine.get('cores')} cores, {machine.get('system')}, "
        f"Python {machine.get('python')}"
    )


def _library(measured: Mapping[str, Any]) -> str:
    library = (measured.get("backend") or {}).get("library")
    version = (measured.get("versions") or {}).get("thex_hf")
    if not library:
        return NOT_MEASURED
    return f"{library}" + (f"; thex_hf {version}" if version else "")


def _parameters(measured: Mapping[str, Any]) -> str:
    rows = measured.get("costs") or []
    if rows and words_of(measured).parameters:
        return words_of(measured).parameters
    words = [
        f"`{row['protocol']}` N = {row['ring_degree']}, {row['modulus_bits']} bits (at most "
        f"{row['modulus_limit']})"
        for row in rows
    ]
    return "; ".join(dict.fromkeys(words)) or NOT_MEASURED


def _activations(config: ThexBertConfig) -> str:
    return f"{config.activation}, softmax {config.softmax}, norms {config.norm}; see approximations"


def _scheme(engine: EngineWords, protocols: Sequence[str]) -> str:
    """That of the engine, and that of ``prepared``, which has its own."""
    own = [engine.scheme] if set(protocols) - {"prepared"} else []
    return "; ".join([*own, *([f"`prepared`: {BFV}"] if "prepared" in protocols else [])])


def _interactivity(form: str, protocols: Sequence[str], measured: Mapping[str, Any]) -> str:
    opened = {name: OPENED for name in protocols if PROTOCOL_FACTS[name].opens == form}
    visits = {**INTERACTIVITY, **opened, **words_of(measured).visits}
    rounds = {row["protocol"]: row["rounds"] for row in measured.get("costs") or []}
    words = {
        name: visits[name] + (f"; {rounds[name]} rounds" if name in rounds else "")
        for name in protocols
    }
    return _each(protocols, words)


def _latency(measured: Mapping[str, Any], protocols: Sequence[str]) -> str:
    words = {}
    for row in _executed(measured):
        seconds, batch = row["costs"]["seconds"], row["costs"]["batch"]
        each = "latency of one text" if batch == 1 else f"a text, {batch} in a request"
        words[row["protocol"]] = (
            f"{each}: server {seconds['server']:.2f} s, client {seconds['client']:.2f} s"
        )
    return _each([name for name in protocols if name in words], words) or NOT_MEASURED


def _data(report: Mapping[str, Any] | None) -> str:
    if not report:
        return "not recorded"
    return (
        f"{report['train_texts']} training and {report['dev_texts']} development texts, seed "
        f"{report['seed']}, from `{report['source']}`"
    )


def _accuracy(measured: Mapping[str, Any], protocols: Sequence[str]) -> str:
    rows = {row["protocol"]: row for row in _executed(measured) if row.get("value") is not None}
    words = {
        name: f"{row['metric']} {row['clear_value']:.4f} in clear and {row['value']:.4f} encrypted "
        f"on the same {counted(row, measured)} texts"
        for name, row in rows.items()
        if row.get("clear_value") is not None
    }
    return _each([name for name in protocols if name in words], words) or NOT_MEASURED


def _executed(measured: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [row for row in measured.get("scores") or [] if row["fhe"] == "execute"]


def _each(protocols: Sequence[str], words: Mapping[str, str]) -> str:
    """Words for each protocol, once if there is one protocol only."""
    if len(protocols) == 1:
        return words[protocols[0]]
    return "; ".join(f"`{name}`: {words[name]}" for name in protocols)


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
