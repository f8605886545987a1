"""What a figure of one plan is about."""

from __future__ import annotations

from dataclasses import dataclass

from thex_hf.circuits.plan import Plan


@dataclass(frozen=True)
class Subject:
    """The model, and how it is run.

    Args:
        model: its name.
        protocol: ``client-aided``, ``refresh`` or ``one-shot``.
        tokens: what texts are padded to.
        ring_degree: N.
    """

    model: str
    protocol: str
    tokens: int
    ring_degree: int

    @classmethod
    def of(cls, plan: Plan, model: str) -> Subject:
        """That of a plan for a model of a name."""
        return cls(model, plan.protocol, plan.shape.tokens, plan.parameters.ring_degree)

    @property
    def title(self) -> str:
        """For the head of a figure."""
        return f"{self.model}, {self.protocol}, {self.tokens} tokens, N = {self.ring_degree}"


def stage_words(layer: str, stage: str) -> str:
    """A stage as the rows of a figure name it."""
    return f"{layer_words(layer)}: {stage}" if layer else stage


def layer_words(layer: str) -> str:
    """A layer by its number; the last FFN with its classifier has a name instead."""
    return f"layer {layer}" if layer.isdecimal() else layer
