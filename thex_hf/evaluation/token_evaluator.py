"""``evaluate.evaluator("thex-token-classification")``: tags of words, on ciphertexts."""

from __future__ import annotations

from typing import Any

from thex_hf.conversion.data.table import Place
from thex_hf.evaluation.answers import Answers
from thex_hf.evaluation.base import evaluate
from thex_hf.evaluation.references import tags_in, usable_rows
from thex_hf.evaluation.shared import EvaluatorMixin


class ThexTokenClassificationEvaluator(
    EvaluatorMixin,
    evaluate.TokenClassificationEvaluator,  # type: ignore[misc]
):
    """Scores a token-classification pipeline of ours on a ``datasets`` data set.

    Takes what evaluate's ``token-classification`` evaluator takes. A word has the tag of its
    first token; words beyond 128 tokens have ``O``.
    """

    def __init__(
        self, task: str = "thex-token-classification", default_metric_name: str | None = None
    ) -> None:
        super().__init__(task, default_metric_name=default_metric_name)

    def compute(
        self,
        model_or_pipeline: Any = None,
        data: Any = None,
        subset: str | None = None,
        split: str | None = None,
        metric: Any = None,
        tokenizer: Any = None,
        strategy: str = "simple",
        confidence_level: float = 0.95,
        n_resamples: int = 9999,
        device: Any = None,
        random_state: int | None = None,
        input_column: str = "tokens",
        label_column: str = "ner_tags",
        join_by: str = " ",
        fhe: str | None = None,
        agreement: bool = True,
        batch_size: int | None = None,
        on_error: str = "raise",
        **options: Any,
    ) -> dict[str, Any]:
        """Score a model or a pipeline.

        Args:
            model_or_pipeline: a pipeline, a folder or Hub name, or a model (with ``tokenizer``).
            data: a ``datasets.Dataset``, or the name of one.
            subset: configuration of a named data set.
            split: split of a named data set.
            metric: see :meth:`prepare_metric`; entity-level F1 by default.
            tokenizer: of the model; a fast one.
            strategy: ``simple``, or ``bootstrap`` for intervals of the metrics.
            confidence_level: of the bootstrap.
            n_resamples: of the bootstrap.
            device: as in transformers; the CPU by default.
            random_state: of the bootstrap.
            input_column: column of lists of words.
            label_column: column of lists of tags: names, or ids.
            join_by: what to put between the words of a text.
            fhe: ``execute``, ``simulate`` or ``disable``; the pipeline's by default.
            agreement: also run the clear model on the same texts, unless ``disable``.
            batch_size: texts at once; by default one for ``execute``.
            on_error: ``raise`` refuses the data if a text has no words or an empty one, before
                anything is computed; ``skip`` scores the other texts.
            **options: of the pipeline, where none is given, such as ``protocol``.

        Returns:
            As ``ThexTextClassificationEvaluator.compute``; agreement is that of words.

        Raises:
            OptionError: an option or metric that is not on offer or does not suit the model.
            InputError: columns that hold no lists, tags that are unknown or too few, or names of
                tags that are not the model's.
            ThexError: as the pipeline raises.
            ValueError: from evaluate: no data set, or no such column.
        """
        pipe = self.prepare_pipeline(model_or_pipeline, tokenizer, device=device, **options)
        scorer = self.prepare_metric(metric, "tags")
        table = self.load_data(data=data, subset=subset, split=split)
        self.check_required_columns(
            table, {"input_column": input_column, "label_column": label_column}
        )
        kept, skipped = usable_rows(table, [input_column], on_error, words=True)
        column = list(table[input_column])
        words = [column[i] for i in kept]
        names = Answers(pipe).names
        return self._score(
            pipe,
            [join_by.join(own) for own in words],
            tags_in(table, label_column, words, names, kept),
            lambda rows: Answers(pipe, [words[i] for i in rows], join_by),
            skipped=skipped,
            places=[Place(i + 1) for i in kept],
            on_error=on_error,
            metric=scorer,
            fhe=fhe,
            agreement=agreement,
            batch_size=batch_size,
            strategy=strategy,
            confidence_level=confidence_level,
            n_resamples=n_resamples,
            random_state=random_state,
        )
