"""One suite for every slot backend in the registry: handles from process to process."""

from __future__ import annotations

from contextlib import suppress

from conformance.slot_world import World, close

from thex_hf.ckks.engine import Vector
from thex_hf.errors import PlanError


def test_any_handle_survives(world: World, x: Vector, y: Vector) -> None:
    engine = world.server
    a, b = world.sent(x), world.sent(y)
    product = engine.mul(a, b)  # size 3, degree 2
    low = engine.mod_switch(a, 0)
    for handle in (a, low, product, engine.relinearise(product)):
        adopted = engine.adopt(engine.export(handle))
        assert engine.level(adopted) == engine.level(handle)
        close(_read(world, adopted), _read(world, handle), 1e-4)
    close(_read(world, engine.adopt(engine.export(product))), x * y)


def _read(world: World, handle: object) -> Vector:
    """The slots of a handle of any size and degree."""
    engine = world.server
    with suppress(PlanError):  # of size 2
        handle = engine.relinearise(handle)
    with suppress(PlanError):  # of degree 1
        handle = engine.rescale(handle)
    return world.read(handle)
