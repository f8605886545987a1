"""What a conversion reports."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion did; scores in per cent on the development texts.

    ``metric`` names the score: accuracy, Pearson correlation for regression, micro-averaged F1
    for several labels (``f1``) and for tags other than outside (``tag-f1``). ``unconverted`` is
    the source model (after fine-tuning, if it was asked for) and ``converted`` the model as saved
    (rounded, too). A score is NaN where it is not defined, as a correlation with a constant.
    ``stages`` has these two and all between, in order. In THE-X form these are
    ``bounded`` (small scores, no pooler), ``relu``, ``relu_softmax``, ``affine`` (norms
    replaced), ``layer_wise``; in polynomial form ``bounded``, ``fitted`` (replaced, not trained)
    and ``layer_wise``. ``search`` has the score on held-out texts for each weight decay tried.
    ``approximations`` has for each layer of a polynomial form what was fitted before training.
    ``digest`` is one of all that decided the result: weights, tokenizer, texts, options, version.
    """

    source: str
    metric: str
    unconverted: float
    converted: float
    train_texts: int
    dev_texts: int
    seconds: float
    seed: int
    ranges: list[dict[str, float]]
    options: dict[str, Any]
    versions: dict[str, str]
    form: str = "the-x"
    task: str = "sequence"
    family: str = "bert"
    stages: dict[str, float] = field(default_factory=dict)
    search: dict[str, float] = field(default_factory=dict)
    digest: str = ""
    approximations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def drop(self) -> float:
        """Points lost from the unconverted to the saved model."""
        return self.unconverted - self.converted

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that ``json.dumps`` takes; what is not finite becomes None."""
        values: dict[str, Any] = json.loads(json.dumps(_finite(asdict(self)), allow_nan=False))
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ConversionReport:
        """Build a report from what :meth:`to_dict` returned; scores of None become NaN."""
        known = {item.name for item in fields(cls)}
        found = {name: value for name, value in values.items() if name in known}
        found |= {name: _score(found[name]) for name in ("unconverted", "converted")}
        for name in ("stages", "search"):
            found[name] = {key: _score(value) for key, value in found.get(name, {}).items()}
        return cls(**found)


def _finite(value: Any) -> Any:
    """Values without NaN and infinities, for which JSON has no words."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _score(value: float | None) -> float:
    return math.nan if value is None else value
