"""Metrics by scikit-learn, scipy and seqeval, and how far encrypted answers are from clear ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from thex_hf.errors import InputError, OptionError
from thex_hf.evaluation.base import (
    MULTILABEL,
    OfflineMetric,
    classification,
    datasets,
    logger,
    schemes,
    sequences,
    statistics,
    warn_if_one_class,
)

AVERAGES = ("binary", "macro", "micro", "weighted")


class Accuracy(OfflineMetric):
    """Share of texts with the right class; with ``multilabel``, with exactly the right classes.

    ``compute`` takes ``normalize`` (False: their number) and ``sample_weight``.
    """

    takes = ("normalize", "sample_weight")
    about = "Share of predictions that are right."
    feature, multilabel = datasets.Value("int32"), True

    def _compute(
        self, predictions: Sequence[Any], references: Sequence[Any], **options: Any
    ) -> dict[str, float]:
        return {
            "accuracy": float(classification.accuracy_score(references, predictions, **options))
        }


class F1(OfflineMetric):
    """Harmonic mean of precision and recall.

    Args:
        average: ``binary`` scores class ``1`` of two; ``macro`` is the mean over classes,
            ``weighted`` that mean by class size, ``micro`` counts all classes together. By
            default ``binary``, with ``multilabel`` ``micro``.
        config_name: ``multilabel`` where a text has any number of classes.
        **options: as in :class:`evaluate.Metric`.

    The answer is named ``f1``, or ``f1_macro`` and so on if another average was asked for here.
    ``compute`` takes ``average`` (None: a figure for each class), ``labels``, ``pos_label``,
    ``sample_weight`` and ``zero_division``, as scikit-learn's ``f1_score``; the answer to another
    average is named ``f1``, as evaluate names it.

    Raises:
        OptionError: an average that is not on offer, or at :meth:`compute` ``binary`` with
            more than two classes.
    """

    takes = ("average", "labels", "pos_label", "sample_weight", "zero_division")
    about = "Harmonic mean of precision and recall."
    feature, multilabel = datasets.Value("int32"), True

    def __init__(
        self, average: str | None = None, config_name: str | None = None, **options: Any
    ) -> None:
        if average is not None and average not in AVERAGES:
            raise OptionError(f"average must be one of {', '.join(AVERAGES)}, got {average!r}")
        self.average = average or ("micro" if config_name == MULTILABEL else "binary")
        self.key = f"f1_{average}" if average not in (None, "binary") else "f1"
        super().__init__(config_name, **options)

    def _compute(
        self, predictions: Sequence[Any], references: Sequence[Any], **options: Any
    ) -> dict[str, Any]:
        warn_if_one_class(references, "f1")
        asked = {"average": self.average, "zero_division": 0.0} | options
        average = asked["average"]
        if average not in (*AVERAGES, "samples", None):
            raise OptionError(f"average must be one of {', '.join(AVERAGES)}, got {average!r}")
        try:
            value = classification.f1_score(references, predictions, **asked)
        except ValueError as error:
            if average != "binary":
                raise
            raise OptionError(
                f"f1 with average {average!r} scores one class of two only ({error}); use "
                f"f1_macro, f1_micro or f1_weighted"
            ) from error
        key = self.key if average == self.average else "f1"
        return {key: float(value) if np.size(value) == 1 else value}


class MatthewsCorrelation(OfflineMetric):
    """Matthews correlation, -1 to 1: 0 for a model at chance, whatever the class sizes.

    ``compute`` takes ``sample_weight``.
    """

    takes = ("sample_weight",)
    about, feature = "Matthews correlation coefficient.", datasets.Value("int32")

    def _compute(
        self, predictions: Sequence[int], references: Sequence[int], **options: Any
    ) -> dict[str, float]:
        warn_if_one_class(references, "matthews_correlation")
        with warnings.catch_warnings():  # ours has said it already
            warnings.filterwarnings("ignore", "A single label")
            value = classification.matthews_corrcoef(references, predictions, **options)
        return {"matthews_correlation": float(value)}


class Pearson(OfflineMetric):
    """Pearson correlation, -1 to 1: how close to a line; NaN if one side is constant.

    ``compute`` takes ``return_pvalue``.
    """

    takes = ("return_pvalue",)
    about, feature = "Pearson correlation coefficient.", datasets.Value("float64")

    def _compute(
        self, predictions: list[float], references: list[float], return_pvalue: bool = False
    ) -> dict[str, float]:
        value, chance = _correlation(statistics.pearsonr, predictions, references)
        return {"pearsonr": value} | ({"p-value": chance} if return_pvalue else {})


class Spearman(OfflineMetric):
    """Spearman correlation, -1 to 1: how well the order fits; NaN if one side is constant.

    ``compute`` takes ``return_pvalue``.
    """

    takes = ("return_pvalue",)
    about, feature = "Spearman rank correlation coefficient.", datasets.Value("float64")

    def _compute(
        self, predictions: list[float], references: list[float], return_pvalue: bool = False
    ) -> dict[str, float]:
        value, chance = _correlation(statistics.spearmanr, predictions, references)
        return {"spearmanr": value} | ({"spearmanr_pvalue": chance} if return_pvalue else {})


class PearsonSpearman(OfflineMetric):
    """Both correlations, as GLUE scores STS-B."""

    about, feature = "Pearson and Spearman correlation.", datasets.Value("float64")

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        return {
            "pearsonr": _correlation(statistics.pearsonr, predictions, references)[0],
            "spearmanr": _correlation(statistics.spearmanr, predictions, references)[0],
        }


def _correlation(
    measure: Callable[..., Any], predictions: Sequence[float], references: Sequence[float]
) -> tuple[float, float]:
    """The correlation, and the chance of one as large where there is none."""
    if len(references) < 2:
        raise InputError(
            f"a correlation needs two texts at least, got {len(references)}; take more texts"
        )
    if len(set(predictions)) == 1 or len(set(references)) == 1:
        logger.warning(
            "a correlation with a constant is not defined (nan): all predictions or all "
            "references are equal. Take data with different numbers."
        )
        return float("nan"), float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", statistics.NearConstantInputWarning)
        correlation = measure(references, predictions)
    return float(correlation.statistic), float(correlation.pvalue)


SCHEMES = ("IOB1", "IOB2", "IOE1", "IOE2", "IOBES", "BILOU")


class SequenceF1(OfflineMetric):
    """Precision, recall and F1 of whole entities, and the share of right tags.

    An entity counts if its type, first and last word are right. Tags are ``O``, ``B-TYPE`` and
    ``I-TYPE``; an ``I-`` after another type begins an entity, as in conlleval. The answer has
    the names of evaluate's seqeval: ``overall_precision``, ``overall_recall``, ``overall_f1``,
    ``overall_accuracy``, and for each type ``precision``, ``recall``, ``f1`` and ``number``.

    ``compute`` takes ``suffix``, ``scheme`` (such as ``"IOB2"``), ``mode`` (``"strict"``),
    ``sample_weight`` and ``zero_division``, as evaluate's seqeval.

    Raises:
        InputError: at :meth:`compute`, a text has not one tag for each word.
        OptionError: there, a keyword or its value is not on offer.
    """

    takes = ("suffix", "scheme", "mode", "sample_weight", "zero_division")
    about = "Precision, recall and F1 of entities, and accuracy of tags."
    feature = datasets.Sequence(datasets.Value("string"))

    def _compute(
        self, predictions: list[list[str]], references: list[list[str]], **options: Any
    ) -> dict[str, Any]:
        for number, (tags, true) in enumerate(zip(predictions, references, strict=True), 1):
            if len(tags) != len(true):
                raise InputError(
                    f"text {number}: expected one tag for each of {len(true)} words, got "
                    f"{len(tags)} tags"
                )
        with warnings.catch_warnings():  # the mean over types, where there are none
            warnings.simplefilter("ignore", RuntimeWarning)
            report = sequences.classification_report(
                references, predictions, **{"zero_division": 0, **_checked(options)},
                output_dict=True,
            )  # fmt: skip
        whole = report.pop("micro avg")
        for name in ("macro avg", "weighted avg"):
            report.pop(name)
        return {
            **{name: _figures(entry) for name, entry in report.items()},
            "overall_precision": float(whole["precision"]),
            "overall_recall": float(whole["recall"]),
            "overall_f1": float(whole["f1-score"]),
            "overall_accuracy": float(sequences.accuracy_score(references, predictions)),
        }


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """Keywords as seqeval takes them: the scheme is a class there."""
    scheme, mode = options.get("scheme"), options.get("mode")
    if mode not in (None, "strict"):
        raise OptionError(f"mode must be None or 'strict', got {mode!r}")
    if mode == "strict" and scheme is None:
        raise OptionError(f"mode 'strict' needs a scheme: one of {', '.join(SCHEMES)}")
    if scheme is None:
        return options
    if scheme not in SCHEMES:
        raise OptionError(f"scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
    return {**options, "scheme": getattr(schemes, scheme)}


def _figures(entry: dict[str, Any]) -> dict[str, float]:
    return {
        "precision": float(entry["precision"]),
        "recall": float(entry["recall"]),
        "f1": float(entry["f1-score"]),
        "number": int(entry["support"]),
    }


class Agreement(OfflineMetric):
    """Share of texts with the same answer as in clear, and the largest difference of a logit.

    Predictions are the encrypted logits, references the clear ones, for each text a list of
    one number a label. The answer has ``max_logit_difference``, and ``agreement`` where there
    are several labels: with ``multilabel`` a text counts if exactly the same logits are
    positive, else if the largest one is the same.

    Raises:
        InputError: at :meth:`compute`, the two sides have different numbers of labels.
    """

    about = "Agreement of two models' logits."
    feature = datasets.Sequence(datasets.Value("float64"))

    def _compute(
        self, predictions: Sequence[Sequence[float]], references: Sequence[Sequence[float]]
    ) -> dict[str, float]:
        widths = {len(row) for row in (*predictions, *references)}
        if len(widths) != 1:
            raise InputError(
                f"expected equally many logits for every text on both sides, got {sorted(widths)}"
            )
        encrypted, clear = np.asarray(predictions), np.asarray(references)
        largest = {"max_logit_difference": float(np.abs(encrypted - clear).max())}
        if self.config_name == MULTILABEL:
            same = ((encrypted > 0) == (clear > 0)).all(axis=-1)
        elif encrypted.shape[-1] > 1:
            same = encrypted.argmax(axis=-1) == clear.argmax(axis=-1)
        else:
            return largest
        return {"agreement": float(same.mean()), **largest}
