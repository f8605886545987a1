"""Rules of blinding on the server and of renewal on the client."""

from __future__ import annotations

from collections.abc import Sequence

from thex_hf.ckks.packing.moves import Move
from thex_hf.ckks.parameters import Parameters
from thex_hf.ckks.rules.keys import check_rerandomisation
from thex_hf.ckks.rules.operands import check_degree, check_level, check_same_level
from thex_hf.ckks.rules.state import State
from thex_hf.errors import PlanError


def check_blinding(handles: Sequence[State], *, held: bool) -> int:
    """Rules of ``blind``; returns the level of the handles."""
    if not handles:
        raise PlanError("blind needs a handle at least, got none")
    for a in handles:
        check_same_level(a.level, handles[0].level, "blind")
        check_rerandomisation(a, held=held, verb="blind")
    return handles[0].level


def check_unblinding(handles: Sequence[State], sources: int, slots: int, move: Move) -> int:
    """Rules of ``unblind``; returns the level of the handles."""
    check_move(move, sources, slots, "unblind")
    if len(handles) != move.targets or not handles:
        raise PlanError(f"unblind needs {move.targets} handles for its move, got {len(handles)}")
    for a in handles:
        check_same_level(a.level, handles[0].level, "unblind")
        check_degree(a, 1, "unblind")
    return handles[0].level


def check_renewing(moves: Sequence[tuple[Move, int]], sources: int, parameters: Parameters) -> None:
    """Rules of ``renew``, but for the level of what came."""
    for move, level in moves:
        check_move(move, sources, parameters.slots, "renew")
        check_level(level, parameters, "renew")


def check_move(move: Move, sources: int, slots: int, verb: str) -> None:
    """Refuse a move between other ciphertexts."""
    if (move.sources, move.slots) != (sources, slots):
        raise PlanError(
            f"{verb} has {sources} ciphertexts of {slots} slots, the move is for "
            f"{move.sources} of {move.slots}"
        )
