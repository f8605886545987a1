"""Rules of the verbs by level, degree of scale and size of their operands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thex_hf.ckks.engine import AnyVector
from thex_hf.ckks.parameters import Parameters
from thex_hf.ckks.rules.state import PlaintextState, State
from thex_hf.errors import PlanError, WireError


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
