"""What all metrics share: optional libraries, predictions in memory, plain floats as answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from transformers.utils import logging

from thex_hf._extras import require
from thex_hf.errors import InputError, OptionError, ThexError

_INSTALL: Final = "'thex_hf[evaluate]'"
_WHY: Final = "scoring models (thex_hf.evaluation)"

evaluate: Final[Any] = require("evaluate", install=_INSTALL, purpose=_WHY)
datasets: Final[Any] = require("datasets", install=_INSTALL, purpose=_WHY)
classification: Final[Any] = require("sklearn.metrics", install=_INSTALL, purpose=_WHY)
statistics: Final[Any] = require("scipy.stats", install=_INSTALL, purpose=_WHY)
schemes: Final[Any] = require("seqeval.scheme", install=_INSTALL, purpose=_WHY)
sequences: Final[Any] = require("seqeval.metrics", install=_INSTALL, purpose=_WHY)
evaluators: Final[Any] = require("evaluate.evaluator", install=_INSTALL, purpose=_WHY)

logger = logging.get_logger(__name__)
MULTILABEL = "multilabel"


class OfflineMetric(evaluate.Metric):  # type: ignore[misc]
    """An :class:`evaluate.Metric` that needs no script, no network and no cache file.

    Args:
        config_name: as in evaluate; ``multilabel`` where a text has any number of classes.
        keep_in_memory: by default yes, unless several processes share the work.
        num_process: how many processes share the work.
        **options: as in :class:`evaluate.Metric`.
    """

    takes: ClassVar[tuple[str, ...]] = ()
    """Keywords of :meth:`compute`, which are those of evaluate's metric of that name."""
    about: ClassVar[str] = ""
    """One sentence on what is measured."""
    feature: ClassVar[Any] = None
    """Of one prediction, and of one reference; with :attr:`multilabel` of one for each class."""
    multilabel: ClassVar[bool] = False
    """Whether a text may have any number of classes, where ``config_name`` says that it has."""

    def __init__(
        self,
        config_name: str | None = None,
        keep_in_memory: bool | None = None,
        num_process: int = 1,
        **options: Any,
    ) -> None:
        keep = num_process == 1 if keep_in_memory is None else keep_in_memory
        super().__init__(config_name, keep_in_memory=keep, num_process=num_process, **options)

    def _info(self) -> Any:
        several = self.multilabel and self.config_name == MULTILABEL
        value = datasets.Sequence(self.feature) if several else self.feature
        return evaluate.MetricInfo(
            description=self.about,
            citation="",
            inputs_description="predictions and references: one entry for each text.",
            features=datasets.Features({"predictions": value, "references": value}),
        )

    def compute(
        self, *, predictions: Any = None, references: Any = None, **options: Any
    ) -> dict[str, Any] | None:
        """Score the predictions, and those added before, against the references.

        Args:
            predictions: one for each text.
            references: one for each text.
            **options: see :attr:`takes`; they mean what they mean for evaluate's metric.

        Raises:
            InputError: there is nothing to score.
            OptionError: a keyword is not on offer, or its value cannot be used.
        """
        unknown = sorted(set(options) - set(self.takes))
        if unknown:
            offered = ", ".join(self.takes) or "none"
            raise OptionError(
                f"{self.name}: compute takes no {', '.join(unknown)}; on offer: {offered}"
            )
        given = predictions is not None and references is not None
        if (given and len(predictions) == 0) or (not given and len(self) == 0):
            raise InputError(f"{self.name}: nothing to score; there are no predictions")
        try:
            scores: dict[str, Any] | None = super().compute(
                predictions=predictions, references=references, **options
            )
        except (ValueError, TypeError) as error:
            if isinstance(error, ThexError) or not options:
                raise
            raise OptionError(
                f"{self.name}: {', '.join(f'{k}={v!r}' for k, v in options.items())} cannot be "
                f"used: {error}"
            ) from error
        return scores


def warn_if_one_class(references: Sequence[Any], name: str) -> None:
    """Say so when all references are equal, since then most figures mean little."""
    first = references[0]
    if all(entry == first for entry in references):
        logger.warning(
            "%s: all %d references are %r; with one class it says little. Take data with "
            "texts of every class.",
            name,
            len(references),
            first,
        )
