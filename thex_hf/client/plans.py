"""Whether a server's plans are for the client's own model, and for one model all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from thex_hf.circuits.dispatch import FORMS
from thex_hf.circuits.plan import Plan
from thex_hf.errors import PlanMismatch
from thex_hf.weights import EncoderWeights


@dataclass(frozen=True)
class Own:
    """What a client knows of its model.

    That a plan says the same is no proof: it is the server's word. It keeps clients from the wrong
    server and from the wrong labels.

    Args:
        model: fingerprint of the encoder, see :meth:`thex_hf.weights.EncoderWeights.fingerprint`.
        form: ``the-x`` or ``polynomial``.
        layers: of the encoder.
        hidden: size of an embedding.
        heads: of attention.
        intermediate: size of the FFN.
        labels: number of logits.
        head: what the classifier reads, one of :data:`thex_hf.weights.HEADS`.
    """

    model: str
    form: str
    layers: int
    hidden: int
    heads: int
    intermediate: int
    labels: int
    head: str

    @classmethod
    def of(cls, weights: EncoderWeights) -> Own:
        """Of a whole model."""
        return cls(
            weights.fingerprint(),
            weights.form,
            len(weights.layers),
            weights.hidden,
            weights.heads,
            weights.intermediate,
            weights.labels,
            weights.head,
        )

    def check(self, plan: Plan) -> None:
        """Refuse a plan of another model.

        Raises:
            PlanMismatch: names what differs first.
        """
        said = _of(plan)
        for field in fields(self):
            if (own := getattr(self, field.name)) != said[field.name]:
                raise PlanMismatch(
                    f"the server has another model than this client: its {field.name} is "
                    f"{_short(said[field.name])}, here it is {_short(own)}; load the checkpoint "
                    f"that it serves"
                )


def check_alike(plans: Sequence[Plan]) -> None:
    """Refuse plans that are not of one model and protocol, and those of many texts.

    Raises:
        PlanMismatch: names what differs.
    """
    first, lengths = plans[0], dict[int, str]()
    for plan in plans:
        if "packing" in plan.options:
            raise PlanMismatch("the server has a plan for many texts; a client elsewhere sends one")
        if lengths.setdefault(plan.shape.tokens, plan.id) != plan.id:
            raise PlanMismatch(f"the server has two plans for {plan.shape.tokens} tokens")
        one, other = ({**_of(p), "protocol": p.protocol, **_choices(p)} for p in (first, plan))
        for name, value in one.items():
            if other.get(name) != value:
                raise PlanMismatch(
                    f"the server's plans differ in their {name}: {_short(value)} and "
                    f"{_short(other.get(name))}; all should be of one model and protocol"
                )


def _of(plan: Plan) -> dict[str, Any]:
    shape = plan.shape
    sizes = ("layers", "hidden", "heads", "intermediate", "labels", "head")
    return {
        "model": plan.model,
        "form": FORMS[plan.protocol],
        **{name: getattr(shape, name) for name in sizes},
    }


def _choices(plan: Plan) -> dict[str, Any]:
    return {name: plan.options[name] for name in ("softmax", "power") if name in plan.options}


def _short(value: Any) -> str:
    return str(value)[:12]
