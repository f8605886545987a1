"""What every stage of a conversion needs, and how stages are run one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from thex_hf.conversion.checkpoint import Checkpoint
from thex_hf.conversion.forecast import Clock
from thex_hf.conversion.options import ConversionOptions, FitOptions, LossOptions
from thex_hf.conversion.scores import Logits, predict, score_logits
from thex_hf.conversion.training.batches import Encoded
from thex_hf.conversion.training.stages import TrainingStage

Model = Any

STAGE_NAMES = {
    "bounded": "bounded scores",
    "relu": "ReLU",
    "relu_softmax": "softmax estimate",
    "affine": "affine norms",
    "layer_wise": "layer-wise distillation",
    "converted": "end-to-end distillation",
    "layer_norms": "distillation with layer norms",
    "roots": "polynomials in norms",
}
LAST = "converted"

Watch = Callable[[str, Logits], None]
"""Is told the name of each stage and the logits on the development texts after it."""


@dataclass(frozen=True)
class ConversionContext:
    """What every stage needs: texts, options, and the checkpoint.

    ``train`` carries the source's logits as guide; ``held_out`` are texts set aside, or None.
    ``source`` is the fine-tuned model, asked about texts that are not in ``train``. ``clock``
    is told of every stage.
    """

    train: Encoded
    dev: Encoded
    options: ConversionOptions
    checkpoint: Checkpoint
    source: nn.Module
    held_out: Encoded | None = None
    watch: Watch | None = None
    clock: Clock = field(default_factory=Clock)

    def score_stage(self, stage: str, model: Model) -> float:
        """Score a model on the development texts."""
        logits = predict(model, self.dev)
        if self.watch:
            self.watch(stage, logits)
        return score_logits(logits, self.dev)

    def training_stage(self, name: str, fitting: FitOptions, losses: LossOptions) -> TrainingStage:
        """A stage of training; its seed is the conversion's, moved by the place of the stage."""
        seed = self.options.seed + list(STAGE_NAMES).index(name)
        stops = self.options.early_stop and name == LAST
        fitting = replace(fitting, seed=seed, checks=10 if stops else 0)
        held_out = self.held_out if stops else None
        shown = STAGE_NAMES[name]
        return TrainingStage(self.train, fitting, losses, shown, self.checkpoint, held_out)


@dataclass
class Outcome:
    """A converted model, the score after each stage, and what was fitted in each layer."""

    model: Model
    stages: dict[str, float]
    approximations: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class StageRunner:
    """Runs stages, or takes their results from the checkpoint.

    Args:
        context: of the conversion.
        scores: where the score after each stage is put, by name.
    """

    context: ConversionContext
    scores: dict[str, float]

    def run(self, name: str, model: Model, train: Callable[[], None]) -> None:
        """Have ``train`` change a model in place, unless its weights are kept; then score it."""
        if not self.context.checkpoint.load_stage(name, model):
            with self.context.clock.timing(name):
                train()
            self.context.checkpoint.save_stage(name, model)
        if name != LAST:  # scored when it is rounded
            self.scores[name] = self.context.score_stage(name, model)
