"""Entity-level scores for tagged words, computed by seqeval."""

from __future__ import annotations

import warnings
from typing import Any

from thex_hf.errors import InputError, OptionError
from thex_hf.evaluation.base import OfflineMetric, datasets, describe, schemes, sequences

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

    def _info(self) -> Any:
        return describe(
            "Precision, recall and F1 of entities, and accuracy of tags.",
            datasets.Sequence(datasets.Value("string")),
        )

    def _compute(
        self, predictions: list[list[str]], references: list[list[str]], **options: Any
    ) -> dict[str, Any]:
        for number, (found, true) in enumerate(zip(predictions, references, strict=True), 1):
            if len(found) != len(true):
                raise InputError(
                    f"text {number}: expected one tag for each of {len(true)} words, got "
                    f"{len(found)} tags"
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
