"""What a conversion can be told, and what it reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from thex_hf.conversion.losses import LossOptions
from thex_hf.conversion.trainer import FitOptions
from thex_hf.errors import OptionError


@dataclass(frozen=True)
class ConversionOptions:
    """How to convert.

    ``fine_tuning``, ``distilling`` and ``polishing`` say how each training stage goes;
    zero epochs skip a stage, and ``polish=False`` skips the last. ``max_length`` is in
    tokens; ``half`` saves float16. ``calibration_texts`` counts the texts over which ranges
    are measured. ``seed`` overrides the seeds of the stages.
    """

    seed: int = 0
    max_length: int = 128
    fine_tuning: FitOptions = field(
        default_factory=lambda: FitOptions(
            epochs=2.0, learning_rate=2e-4, token_dropout=0.1, average=0.995
        )
    )
    distilling: FitOptions = field(
        default_factory=lambda: FitOptions(
            epochs=0.25, learning_rate=1e-3, weight_decay=0.0, average=0.99
        )
    )
    polish: bool = True
    polishing: FitOptions = field(
        default_factory=lambda: FitOptions(
            epochs=0.5, learning_rate=1e-4, token_dropout=0.1, average=0.995
        )
    )
    losses: LossOptions = field(default_factory=LossOptions)
    norm_texts: int = 4096
    calibration_texts: int = 2048
    half: bool = True
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("max_length", "norm_texts", "calibration_texts"):
            if getattr(self, name) < 2:
                raise OptionError(f"{name} should be at least 2; got {getattr(self, name)}.")
        for name in ("fine_tuning", "distilling", "polishing"):
            stage = getattr(self, name)
            if stage.epochs < 0 or stage.learning_rate <= 0 or stage.batch_size < 1:
                raise OptionError(
                    f"{name} should have epochs >= 0, learning_rate > 0 and batch_size >= 1; "
                    f"got {stage.epochs}, {stage.learning_rate}, {stage.batch_size}."
                )


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did; accuracies in per cent on the development texts.

    For regression the figures are Pearson correlations in per cent. ``unconverted`` is the
    source model, ``relu_softmax`` stage 1, ``affine`` the model after LN distillation, and
    ``converted`` the model as saved (after polishing, rounding and reloading the ranges).
    """

    source: str
    metric: str
    unconverted: float
    relu_softmax: float
    affine: float
    converted: float
    train_texts: int
    dev_texts: int
    seconds: float
    seed: int
    ranges: list[dict[str, float]]
    options: dict[str, Any]
    versions: dict[str, str]

    @property
    def drop(self) -> float:
        """Points lost from the unconverted to the saved model."""
        return self.unconverted - self.converted

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that ``json.dumps`` takes."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ConversionReport:
        """Build a report from what :meth:`to_dict` returned."""
        return cls(**{item.name: values[item.name] for item in fields(cls)})
