"""How right a converted model is: logits, score, report, and what counts as diverged."""

from __future__ import annotations

import inspect
import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from thex_hf._progress import steps
from thex_hf.circuits.dispatch import plan_for
from thex_hf.circuits.protocols import CIRCUITS, PlanOptions, protocols_of
from thex_hf.circuits.shape import BUCKETS
from thex_hf.conversion.training.batches import Batch, Encoded, Ragged, collate
from thex_hf.errors import DivergenceError, PlanError
from thex_hf.modeling import ThexBertClassifier
from thex_hf.modeling.calibrate import MOST_LOST, RAN_AWAY

Logits: TypeAlias = Tensor | Ragged
METRICS = {"classes": "accuracy", "numbers": "pearson", "multi": "f1", "tags": "tag-f1"}
"""What :func:`score` measures, by kind of label. Both F1 are micro-averaged; that of tags is over
words, the outside tag ``O`` left out."""

LARGEST_VALUE = 1024.0
"""A polynomial model with larger values inside counts as diverged: they cost a bit a doubling."""


@torch.no_grad()
def predict(model: nn.Module, data: Encoded, size: int = 64) -> Logits:
    """Logits of all texts, on the CPU, the model in evaluation mode.

    Returns:
        ``(n, labels)``, or for each text ``(tokens, labels)``.
    """
    model.eval()
    device = next(model.parameters()).device
    order = torch.tensor([len(ids) for ids in data.ids]).argsort(stable=True)
    parts: list[Tensor] = []
    for rows in steps(torch.split(order, size), "asking"):
        batch = collate(data, rows)
        logits = ask(model, {k: v.to(device) for k, v in batch.items()}).float().cpu()
        if data.kind == "tags":
            lengths = batch["attention_mask"].sum(-1).tolist()
            parts += [row[:n] for row, n in zip(logits, lengths, strict=True)]
        else:
            parts += list(logits)
    back = [parts[i] for i in order.argsort().tolist()]
    return tuple(back) if data.kind == "tags" else torch.stack(back)


def ask(model: nn.Module, batch: Batch) -> Tensor:
    """Logits of one batch, which lies where the model does; it is given what it takes.

    A model with one kind of segment is not told of others.
    """
    logits: Tensor = _answer(model, batch).logits
    return logits


def ask_streams(model: nn.Module, batch: Batch) -> tuple[list[Tensor], Tensor]:
    """As :func:`ask`: what each layer gives to the next, ``(batch, seq, d)``, and the logits.

    No streams are there of a model that shows none.
    """
    name = "output_hidden_states"
    answer = _answer(model, batch, **({name: True} if takes(model, name) else {}))
    return list(getattr(answer, "hidden_states", None) or ())[1:], answer.logits


def _answer(model: nn.Module, batch: Batch, **wanted: bool) -> Any:
    names = [n for n in ("input_ids", "token_type_ids", "attention_mask") if takes(model, n)]
    inner = getattr(model, "module", model)  # where several processes train it
    if getattr(getattr(inner, "config", None), "type_vocab_size", 2) < 2:
        names = [name for name in names if name != "token_type_ids"]
    return model(**{name: batch[name] for name in names}, return_dict=True, **wanted)


def takes(model: nn.Module, name: str) -> bool:
    """Whether the forward pass of a model takes an argument of that name (or any)."""
    parameters = inspect.signature(model.forward).parameters
    return name in parameters or any(
        p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()
    )


def score(model: nn.Module, data: Encoded) -> float:
    """The metric of :data:`METRICS` for the data's kind, in per cent."""
    return score_logits(predict(model, data), data)


def score_logits(logits: Logits, data: Encoded) -> float:
    """As :func:`score`, for logits that are there already.

    Args:
        logits: from :func:`predict`.
        data: what the logits are of. If no tag is named ``O``, the most frequent one stands for it.
    """
    if isinstance(data.labels, tuple):
        return _tag_score(torch.cat(list(logits)), torch.cat(data.labels), data.outside)
    assert isinstance(logits, Tensor)
    if data.kind == "numbers":
        stacked = torch.stack([logits.squeeze(-1), data.labels])
        return 100.0 * float(torch.corrcoef(stacked)[0, 1])
    if data.kind == "multi":
        return _f1((logits > 0).float(), data.labels)
    return 100.0 * float((logits.argmax(-1) == data.labels).float().mean())


def _tag_score(logits: Tensor, tags: Tensor, outside: int | None) -> float:
    real = tags >= 0
    truth, guess = tags[real], logits[real].argmax(-1)
    if outside is None:
        outside = int(truth.bincount().argmax())
    size = logits.shape[-1]
    hot = nn.functional.one_hot
    keep = [i for i in range(size) if i != outside]
    return _f1(hot(guess, size)[:, keep].float(), hot(truth, size)[:, keep].float())


def _f1(guess: Tensor, truth: Tensor) -> float:
    """Micro-averaged F1 of zeros and ones, in per cent; 0 if nothing is found or there."""
    total = float(guess.sum() + truth.sum())
    return 200.0 * float((guess * truth).sum()) / total if total else 0.0


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
    and ``layer_wise``; in normalised form ``fitted``, ``layer_wise`` and ``layer_norms`` (trained,
    layer norms left) and ``roots`` (polynomials in norms, not trained). ``search`` has the score on
    held-out texts for each weight decay tried.
    ``approximations`` has for each layer what was fitted before training, except in THE-X form.
    ``stage_seconds`` has what fine-tuning, the source's answers, each stage and calibration took;
    of an unfinished conversion that was gone on with, only what was left.
    ``dev_data`` says where the development texts are from: ``name``, ``type`` (id of a data set on
    the Hub, or ``custom``), perhaps ``config``, ``split`` and ``revision``. ``card`` has the fields
    of the model card that are the source's: ``base_model``, ``license``, ``language``,
    ``datasets``. ``source`` is its name on the Hub, or that of its folder.
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
    stage_seconds: dict[str, float] = field(default_factory=dict)
    dev_data: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)

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
        kept = {name: value for name, value in values.items() if name in known}
        kept |= {name: _score(kept[name]) for name in ("unconverted", "converted")}
        for name in ("stages", "search"):
            kept[name] = {key: _score(value) for key, value in kept.get(name, {}).items()}
        return cls(**kept)


def _finite(value: Any) -> Any:
    """Values without NaN and infinities, for which JSON has no words."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _score(value: float | None) -> float:
    return math.nan if value is None else value


def check_logits(logits: Logits, stages: dict[str, float], lost: Tensor) -> None:
    """Raise unless all logits are finite but those of lost texts, and these are few.

    Args:
        logits: of the converted model on the development texts.
        stages: scores so far, for the message.
        lost: which texts may be anything, from :func:`lost_texts`.

    Raises:
        DivergenceError: lists the score after every stage.
    """
    if int(lost.sum()) > MOST_LOST * len(lost):
        raise DivergenceError(
            f"{int(lost.sum())} of {len(lost)} development texts run away inside the converted "
            f"model, and at most {MOST_LOST:.0%} may: variances leave the intervals of the norms' "
            f"polynomials. Scores by stage: {_listed(stages)}. Convert with more --effort. Nothing "
            "was saved."
        )
    if not all(lost[i] or bool(torch.isfinite(part).all()) for i, part in enumerate(logits)):
        raise DivergenceError(
            "the converted model gives logits that are not finite: training diverged. Scores by "
            f"stage: {_listed(stages)}. Use a lower learning rate or more weight decay. Nothing "
            "was saved."
        )


def lost_texts(model: ThexBertClassifier, logits: Logits) -> Tensor:
    """Which texts ran away, ``(n,)``, by their logits: of a model in normalised form some may.

    A polynomial stands there for one over a root on an interval only. Whoever holds such logits
    refuses them.
    """
    if model.config.form != "normalised":
        return torch.zeros(len(logits), dtype=torch.bool)
    return torch.tensor([not bool((part.abs() <= RAN_AWAY).all()) for part in logits])


def score_served(logits: Logits, data: Encoded, lost: Tensor) -> float:
    """As :func:`score_logits`; a lost text counts as wrong."""
    kept = (~lost).nonzero().flatten().tolist()
    if len(kept) == len(lost) or not kept:
        return score_logits(logits, data)
    picked = logits[kept] if isinstance(logits, Tensor) else tuple(logits[i] for i in kept)
    return score_logits(picked, data.pick(kept)) * len(kept) / len(lost)


def check_values(ranges: list[dict[str, float]]) -> None:
    """Raise where values inside are so large that the polynomials cannot have been meant.

    Raises:
        DivergenceError: names layer, quantity and size.
    """
    for number, entry in enumerate(ranges):
        name, value = max(entry.items(), key=lambda item: item[1])
        if value > LARGEST_VALUE:
            raise DivergenceError(
                f"after end-to-end distillation, {name} of layer {number} reaches {value:.3g}, "
                f"where at most {LARGEST_VALUE:.0f} was expected: the polynomials ran away. Lower "
                "the learning rates, raise value_penalty, or train layer-wise for longer. "
                "Nothing was saved."
            )


def check_learned(stages: dict[str, float], dev: Encoded) -> None:
    """Raise if a model ended at chance although the exact one it follows had not.

    Args:
        stages: scores in per cent: of the source, of ``bounded`` if there is that, ``converted``.
        dev: the texts they are of.

    Raises:
        DivergenceError: lists the score after every stage.
    """
    chance = 0.0
    if dev.kind == "classes" and isinstance(dev.labels, torch.Tensor):
        chance = 100.0 * float(dev.labels.bincount().max()) / len(dev)
    before = stages.get("bounded", stages["unconverted"])
    if before < chance + 5 or stages["converted"] >= chance + 1:
        return
    raise DivergenceError(
        f"the converted model is at chance ({chance:.2f}): training diverged. Scores by stage: "
        f"{_listed(stages)}. Lower the learning rate of the first stage that fell, or train it "
        "for longer. Nothing was saved."
    )


def check_served(model: ThexBertClassifier) -> None:
    """Raise unless one of the protocols for the model's form can run it.

    What decides is how large the values inside get: any shape has a plan if they are moderate. A
    form that runs as no circuit has no plan to fail.

    Args:
        model: converted and calibrated.

    Raises:
        DivergenceError: says why each protocol cannot.
    """
    config, weights = model.config, model.encoder_weights()
    circuits = [name for name in protocols_of(config.form) if name in CIRCUITS]
    if not circuits:
        return
    refused = []
    for protocol in circuits:
        try:
            plan_for(weights, BUCKETS[0], config.ranges, PlanOptions(protocol, config.softmax))
        except PlanError as error:
            refused.append(f"{protocol}: {error}")
        else:
            return
    raise DivergenceError(
        "the converted model could not be run on ciphertext, its values inside are too large. "
        f"{'; '.join(refused)}. Train for longer (a larger --effort) or with more weight decay, "
        "or start from a source that was trained. Nothing was saved."
    )


def _listed(stages: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in stages.items())
