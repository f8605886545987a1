"""What a CKKS machine allows, checked the same way by every engine of this package.

The rules are those of SEAL (``evaluator.cpp``), made stricter where SEAL would go on
and give a wrong scale. A handle is anything with ``level``, ``degree`` and ``size``. First what
concerns these alone, then the verbs that need a key, then blinding and renewal.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import numpy as np

from thex_hf.ckks.engine import AnyVector, Move
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import PlanError, WireError


class State(Protocol):
    """The part of a handle that the rules look at."""

    @property
    def level(self) -> int:
        """Rescalings left."""
        ...

    @property
    def degree(self) -> int:
        """1, or 2 between a product and its rescale."""
        ...

    @property
    def size(self) -> int:
        """2, or 3 between a ciphertext product and its relinearisation."""
        ...


class PlaintextState(Protocol):
    """The part of an encoded plaintext that the rules look at."""

    @property
    def level(self) -> int:
        """Level it was encoded for."""
        ...

    @property
    def factor(self) -> bool:
        """Whether it is an operand of a product."""
        ...


_STATE = struct.Struct("<HBB")


def pack_state(a: State, contents: bytes) -> bytes:
    """Level, degree and size of ``a``, then ``contents``."""
    return _STATE.pack(a.level, a.degree, a.size) + contents


def unpack_state(data: bytes) -> tuple[int, int, int, bytes]:
    """Level, degree, size and contents of :func:`pack_state`."""
    level, degree, size = _STATE.unpack_from(data)
    return level, degree, size, data[_STATE.size :]


def check_degree(a: State, wanted: int, verb: str) -> None:
    """Refuse a handle whose degree of scale is not ``wanted``."""
    if a.degree != wanted:
        hint = "rescale it first" if wanted == 1 else "there is no product to rescale"
        raise PlanError(f"{verb} needs scale degree {wanted}, got {a.degree}; {hint}")


def check_size(a: State, wanted: int, verb: str) -> None:
    """Refuse a handle whose number of parts is not ``wanted``."""
    if a.size != wanted:
        hint = "relinearise it first" if wanted == 2 else "it needs no relinearisation"
        raise PlanError(f"{verb} needs a ciphertext of size {wanted}, got {a.size}; {hint}")


def check_same_level(a: int, b: int, verb: str) -> None:
    """Refuse operands of different levels."""
    if a != b:
        raise PlanError(f"{verb} needs equal levels, got {a} and {b}; mod_switch the higher one")


def check_add(a: State, b: State, verb: str = "add") -> None:
    """Rules of ``add`` and ``sub``."""
    check_same_level(a.level, b.level, verb)
    if a.degree != b.degree:
        raise PlanError(f"{verb} needs equal scale degrees, got {a.degree} and {b.degree}; rescale")


def check_plain(a: State, p: PlaintextState, *, factor: bool) -> None:
    """Rules of ``add_plain`` (``factor=False``) and ``mul_plain`` (``factor=True``)."""
    verb = "mul_plain" if factor else "add_plain"
    check_degree(a, 1, verb)
    check_same_level(a.level, p.level, verb)
    if p.factor != factor:
        raise PlanError(f"{verb} needs a plaintext encoded with factor={factor}")


def check_dot(handles: Sequence[State], plains: Sequence[PlaintextState]) -> int:
    """Rules of ``dot_plain``. Returns the size of the result."""
    if not handles or len(handles) != len(plains):
        raise PlanError(
            f"dot_plain needs as many plaintexts as handles, at least one of each, "
            f"got {len(handles)} and {len(plains)}"
        )
    for a, p in zip(handles, plains, strict=True):
        check_same_level(a.level, handles[0].level, "dot_plain")
        check_plain(a, p, factor=True)
    return max(a.size for a in handles)


def check_mul(a: State, b: State, scale_bits: int, modulus_bits: int) -> None:
    """Rules of ``mul``: :func:`check_operands`, and room for the squared scale."""
    check_operands(a, b)
    if 2 * scale_bits >= modulus_bits:
        raise PlanError(
            f"mul at level {a.level}: a product has scale 2^{2 * scale_bits}, but "
            f"the modulus has {modulus_bits} bits; "
            f"use a larger first prime or a smaller scale"
        )


def check_operands(a: State, b: State) -> None:
    """Rules of ``mul`` without parameters: degree 1, size 2, and a level to drop."""
    check_same_level(a.level, b.level, "mul")
    for operand in (a, b):
        check_degree(operand, 1, "mul")
        check_size(operand, 2, "mul")
    check_product_level(a.level, "mul")


def check_combine(handles: Sequence[State], weights: AnyVector, bias: AnyVector) -> int:
    """Rules of ``combine``; returns the level of the handles."""
    if weights.shape != (*bias.shape, len(handles)) or not weights.size:
        raise PlanError(
            f"combine needs weights of shape (outputs, {len(handles)}) and a bias for each "
            f"output, got {weights.shape} and {bias.shape}"
        )
    if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
        raise PlanError("combine needs finite numbers, got NaN or infinity")
    level = handles[0].level
    check_product_level(level, "combine")
    for handle in handles:
        check_same_level(level, handle.level, "combine")
        check_degree(handle, 1, "combine")
        check_size(handle, 2, "combine")
    return level


def check_product_level(level: int, verb: str) -> None:
    """Refuse a product at level 0, which could never be rescaled."""
    if level < 1:
        raise PlanError(f"{verb} at level 0: no level is left to rescale by; plan more levels")


def check_level(level: int, parameters: Parameters, verb: str) -> None:
    """Refuse a level that the parameters do not have."""
    if not 0 <= level <= parameters.top_level:
        raise PlanError(f"{verb}: level {level} is not within 0..{parameters.top_level}")


def check_mod_switch(a: State, level: int) -> None:
    """Rules of ``mod_switch``: never upwards, and not between product and rescale."""
    check_degree(a, 1, "mod_switch")
    if not 0 <= level <= a.level:
        raise PlanError(f"mod_switch goes down only: from level {a.level} to {level}")


def check_dump(a: State) -> None:
    """Rules of ``dump``: what the client can read."""
    check_degree(a, 1, "dump")
    check_size(a, 2, "dump")


def check_received(received: int, wanted: int | None) -> None:
    """Refuse what the other side sent at another level than the plan says; None: any will do.

    Raises:
        WireError: it did.
    """
    if wanted is not None and received != wanted:
        raise WireError(
            f"expected a ciphertext at level {wanted}, got level {received}; the other side does "
            f"not keep to the plan"
        )


def checked_vector(vector: AnyVector, slots: int, verb: str) -> AnyVector:
    """``vector`` as float64 or complex128, refused unless it is ``(slots,)`` and finite."""
    values: AnyVector = (
        np.asarray(vector, dtype=np.complex128)
        if np.iscomplexobj(vector)
        else np.asarray(vector, dtype=np.float64)
    )
    if values.shape != (slots,):
        raise PlanError(f"{verb} needs a vector of shape ({slots},), got {values.shape}")
    if not np.isfinite(values).all():
        raise PlanError(f"{verb} needs finite numbers, got NaN or infinity")
    return values


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
