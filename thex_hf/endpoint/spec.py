"""From a model to what is served of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thex_hf.circuits.protocols import UNSERVED
from thex_hf.circuits.shape import BUCKETS
from thex_hf.errors import OptionError
from thex_hf.modeling import ThexBertClassifier
from thex_hf.options import RunOptions
from thex_hf.serving.spec import Spec, weights_to_bytes


def spec_of(
    model: ThexBertClassifier,
    repository: str,
    *,
    protocol: str | None = None,
    backend: str = "seal",
    softmax: str | None = None,
    ring: int | None = None,
    flood: str | None = None,
    weights_memory: float | None = None,
    buckets: Sequence[int] | None = None,
    **bounds: Any,
) -> Spec:
    """What processes must be told to serve a model.

    Args:
        model: converted.
        repository: folder or database of clients' keys.
        protocol: what suits the model's form if None.
        backend: engine with slots.
        softmax: the model's if None.
        ring: ring degree for ``refresh`` and ``one-shot``.
        flood: for them, one of :data:`thex_hf.circuits.protocols.FLOODS`.
        weights_memory: gigabytes that encoded weights may take, see
            :class:`~thex_hf.options.RunOptions`.
        buckets: padded lengths to serve; all if None.
        **bounds: of :class:`thex_hf.serving.spec.Spec`.

    Raises:
        OptionError: an option that is not on offer.
    """
    config = model.config
    if backend in UNSERVED:
        raise OptionError(f"backend {backend!r} cannot be served; use 'seal'")
    asked = RunOptions(
        backend, protocol, softmax, ring=ring, flood=flood, weights_memory=weights_memory
    )
    options = asked.resolved(config.form)
    return Spec(
        weights_to_bytes(model.float().encoder_weights()),
        repository,
        ranges=config.ranges,
        backend=backend,
        options=options.plan(config.softmax),
        buckets=tuple(sorted(set(buckets or BUCKETS))),
        plaintext_bytes=options.plaintext_bytes,
        **bounds,
    )
