"""Rules of the verbs that need a key: rotations, conjugation, relinearisation, rerandomisation."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from thex_hf.ckks.rules.operands import check_degree, check_size
from thex_hf.ckks.rules.state import State
from thex_hf.errors import PlanError


def check_rotation(a: State, step: int, allowed: Mapping[int, int]) -> None:
    """Rules of ``rotate`` for a ``step`` already reduced modulo the slots.

    ``allowed`` has the level that each step's key reaches.
    """
    check_size(a, 2, "rotate")
    if step not in allowed:
        raise PlanError(
            f"no rotation key for step {step}; this server has {len(allowed)} steps: "
            f"{sorted(allowed)[:12]}; ask for the step when the keys are made"
        )
    check_reach(a, allowed[step], f"rotation key for step {step}")


def check_relinearisation(a: State, reach: int | None) -> None:
    """Rules of ``relinearise``; ``reach`` is the level of the key, None without one."""
    check_size(a, 3, "relinearise")
    if reach is None:
        raise PlanError("no relinearisation key; ask for it when the keys are made")
    check_reach(a, reach, "relinearisation key")


def check_conjugation(a: State, reach: int | None) -> None:
    """Rules of ``conjugate``; ``reach`` is the level of the key, None without one."""
    check_size(a, 2, "conjugate")
    if reach is None:
        raise PlanError(
            "no conjugation key; ask for it when the keys are made: KeyRequest(conjugation=True)"
        )
    check_reach(a, reach, "conjugation key")


def check_reach(a: State, reach: int, key: str) -> None:
    """Refuse a handle above the levels that a key was made for."""
    if a.level > reach:
        raise PlanError(
            f"the {key} was made for levels up to {reach}, got level {a.level}; "
            f"ask for a higher level when the keys are made, or mod_switch first"
        )


def check_rerandomisation(a: State, *, held: bool, verb: str = "rerandomise") -> None:
    """Rules of ``rerandomise``; ``held`` says whether the server has the public key."""
    check_degree(a, 1, verb)
    check_size(a, 2, verb)
    if not held:
        raise PlanError(
            f"no public key to {verb} with; ask for it when the keys are made: "
            f"KeyRequest(public=True)"
        )


def reduced_steps(rotations: tuple[int, ...], slots: int) -> tuple[int, ...]:
    """The distinct non-zero steps, each brought into ``1..slots-1``, in order."""
    return tuple(sorted({step % slots for step in rotations} - {0}))


def check_steps_held(steps: tuple[int, ...], held: Collection[int]) -> None:
    """Refuse rotation keys that lack a step the server is to use."""
    missing = [step for step in steps if step not in held]
    if missing:
        raise PlanError(
            f"the rotation keys lack {len(missing)} of {len(steps)} steps, first "
            f"{missing[:8]}; they were made for another plan: make keys for this one"
        )
