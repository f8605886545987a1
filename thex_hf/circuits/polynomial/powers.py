"""Powers of ciphertexts, and products of real and imaginary parts, each with its like.

A complex square mixes the parts: ``(x + iy)^2 = x^2 - y^2 + 2ixy``. But ``z + conj z = 2x``
and ``z - conj z = 2iy``, so ``(z + conj z)^2 - i (z - conj z)^2 = 4 (x^2 + i y^2)``, and a
product with ``i`` is free in CKKS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from thex_hf.ckks.engine import Handle, ServerEngine

Multiply: TypeAlias = Callable[[ServerEngine, Handle, Handle], Handle]
"""A product of handles at one level, relinearised and rescaled."""

POWER_LEVELS = {2: 1, 4: 2, 6: 3}
"""Levels of :func:`power` by exponent."""


def multiply(engine: ServerEngine, a: Handle, b: Handle) -> Handle:
    """Slot-wise product. Levels: 1. Key switches: 1."""
    return engine.rescale(engine.relinearise(engine.mul(a, b)))


def multiply_parts(engine: ServerEngine, z: Handle, w: Handle) -> Handle:
    """``4 (Re z Re w + i Im z Im w)``; the operands at one level.

    Levels: 1. Key switches: 3, or 2 when ``w`` is ``z``.
    """
    (x, y), (p, q) = _parts(engine, z), (_parts(engine, w) if w is not z else (None, None))
    p, q = (x, y) if w is z else (p, q)
    imaginary = engine.times_i(engine.mul(y, q))
    return engine.rescale(engine.relinearise(engine.sub(engine.mul(x, p), imaginary)))


def _parts(engine: ServerEngine, z: Handle) -> tuple[Handle, Handle]:
    """``2 Re z`` and ``2i Im z``."""
    conjugate = engine.conjugate(z)
    return engine.add(z, conjugate), engine.sub(z, conjugate)


def power(
    engine: ServerEngine, z: Handle, exponent: int, product: Multiply
) -> tuple[Handle, float]:
    """A power by squaring; its gain is that of ``product`` besides.

    Args:
        engine: the server's.
        z: what to raise.
        exponent: 2, 4 or 6.
        product: :func:`multiply`, or :func:`multiply_parts` for both parts apart, which
            multiplies the result by ``PARTS_GAIN[exponent]`` of :mod:`.maps`.

    Returns:
        The handle, and what the scale ratios multiplied it by. Levels: 1, 2 or 3.
    """
    gain = power_gain(engine, engine.level(z), exponent)
    square = product(engine, z, z)
    if exponent == 2:
        return square, gain
    fourth = product(engine, square, square)
    if exponent == 4:
        return fourth, gain
    lower = engine.mod_switch(square, engine.level(fourth))
    return product(engine, fourth, lower), gain


def power_gain(engine: ServerEngine, level: int, exponent: int) -> float:
    """What the scale ratios multiply :func:`power` at ``level`` by."""
    square = engine.scale_ratio(level)
    if exponent == 2:
        return square
    fourth = square**2 * engine.scale_ratio(level - 1)
    return fourth if exponent == 4 else square * fourth * engine.scale_ratio(level - 2)


def double_real(engine: ServerEngine, z: Handle) -> Handle:
    """``2 Re z``: waste in the imaginary part is gone. Levels: 0."""
    return engine.add(z, engine.conjugate(z))
