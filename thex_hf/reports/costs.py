"""What one text costs under each protocol that serves a model, without encrypting any text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from thex_hf.backends.registry import find_backend, get_backend
from thex_hf.circuits.dispatch import FORMS, plan_for
from thex_hf.circuits.shape import bucket
from thex_hf.ckks.parameters import MAX_MODULUS_BITS_128
from thex_hf.errors import PlanError
from thex_hf.modeling.modeling_thex_bert import ThexBertClassifier
from thex_hf.protocol.costs import estimate, measure_costs
from thex_hf.protocol.engines import CircuitBackend


def protocols_of(model: ThexBertClassifier) -> list[str]:
    """The protocols that serve a model's form."""
    return [name for name, form in FORMS.items() if form == model.config.form]


def estimated_costs(
    model: ThexBertClassifier,
    protocols: Sequence[str],
    *,
    tokens: int = 32,
    ring: int | None = None,
    backend: str = "seal",
) -> list[dict[str, Any]]:
    """Plan each protocol and add up its primitives, timed and weighed here with throwaway keys.

    Args:
        model: converted.
        protocols: names; those that no parameters carry are left out.
        tokens: length of the text; its bucket counts.
        ring: ring degree for ``refresh`` and ``one-shot``; the cheapest if None.
        backend: engine to time, some seconds a protocol.

    Returns:
        For each protocol the fields of :class:`thex_hf.protocol.costs.Estimate`, and
        ``modulus_limit``: the most bits that 128-bit security allows for that ring degree. Where
        ciphertexts have neither, all three are 0.

    Raises:
        PlanError: no protocol at all can run the model.
        BackendUnavailable: the backend's library is missing.
    """
    found, weights = find_backend(backend), model.encoder_weights()
    if isinstance(found, CircuitBackend):
        config = model.config
        own = found.estimate(
            weights, [tokens], ranges=config.ranges, softmax=config.softmax, relu="client"
        )
        return [{**one.to_json(), "modulus_limit": 0} for one in own]
    engine = get_backend(backend)
    rows, refused = [], []
    for name in protocols:
        try:
            plan = plan_for(
                weights,
                bucket(tokens),
                model.config.ranges,
                protocol=name,
                softmax=model.config.softmax,
                ring_degree=ring,
            )
        except PlanError as error:
            refused.append(f"{name}: {error}")
            continue
        row = estimate(plan, measure_costs(engine, [plan])).to_json()
        rows.append({**row, "modulus_limit": MAX_MODULUS_BITS_128[row["ring_degree"]]})
    if not rows:
        raise PlanError("; ".join(refused))
    return rows
