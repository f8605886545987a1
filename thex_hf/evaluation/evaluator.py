"""``evaluate.evaluator("thex-text-classification")``: evaluate's evaluator on ciphertexts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thex_hf.conversion.data.table import Place
from thex_hf.errors import OptionError
from thex_hf.evaluation.answers import Answers
from thex_hf.evaluation.base import evaluate
from thex_hf.evaluation.references import references_of, usable_rows
from thex_hf.evaluation.shared import EvaluatorMixin


class ThexTextClassificationEvaluator(
    EvaluatorMixin,
    evaluate.TextClassificationEvaluator,  # type: ignore[misc]
):
    """Scores a pipeline of ours on a ``datasets`` data set; needs no network for its metrics.

    Takes what evaluate's ``text-classification`` evaluator takes. More: text pairs, regression
    models, class names that are matched to the model's, and the pipeline's own options.
    """

    def __init__(
        self, task: str = "thex-text-classification", default_metric_name: str | None = None
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
        feature_extractor: Any = None,
        strategy: str = "simple",
        confidence_level: float = 0.95,
        n_resamples: int = 9999,
        device: Any = None,
        random_state: int | None = None,
        input_column: str = "text",
        second_input_column: str | None = None,
        label_column: str = "label",
        label_mapping: Mapping[str, float] | None = None,
        fhe: str | None = None,
        agreement: bool = True,
        batch_size: int | None = None,
        on_error: str = "raise",
        **options: Any,
    ) -> dict[str, Any]:
        """Score a model or a pipeline.

        Args:
            model_or_pipeline: a pipeline, a folder or Hub name, a model (with ``tokenizer``),
                or None for the bundled model.
            data: a ``datasets.Dataset``, or the name of one.
            subset: configuration of a named data set.
            split: split of a named data set.
            metric: see :meth:`prepare_metric`.
            tokenizer: of the model.
            feature_extractor: not used; there for evaluate's signature.
            strategy: ``simple``, or ``bootstrap`` for intervals of the metrics.
            confidence_level: of the bootstrap.
            n_resamples: of the bootstrap.
            device: as in transformers; the CPU by default.
            random_state: of the bootstrap.
            input_column: column of texts.
            second_input_column: column of the second text of each pair.
            label_column: column of labels: class ids or names, or numbers for regression.
            label_mapping: value of each of the model's label names, where the data number or
                name classes in another way than the model.
            fhe: ``execute``, ``simulate`` or ``disable``; the pipeline's by default.
            agreement: also run the clear model on the same texts, unless ``disable``.
            batch_size: texts at once; by default one for ``execute``.
            on_error: ``raise`` refuses the data if a text is missing or empty, before anything
                is computed; ``skip`` scores the other texts.
            **options: of the pipeline, where none is given: ``protocol``, ``backend``,
                ``keys``, ``softmax``, ``relu``, ``ring``, ``flood``, ``processes``.

        Returns:
            The metrics; ``total_time_in_seconds``, ``samples_per_second`` and
            ``latency_in_seconds`` as in evaluate; and under ``thex`` what
            :func:`thex_hf.evaluation.runs.costs` gives, with ``skipped`` (row and reason of each
            text left out), and ``agreement`` and ``max_logit_difference`` if compared.

        Raises:
            OptionError: an option or metric that is not on offer or does not suit the model.
            InputError: labels that fit nothing, class names of the data that are not the model's,
                or a text that cannot be classified.
            ThexError: as the pipeline raises.
            ValueError: from evaluate: no data set, or no such column.
        """
        pipe = self.prepare_pipeline(model_or_pipeline, tokenizer, device=device, **options)
        answers = Answers(pipe)
        if answers.kind == "multi":
            raise OptionError(
                "evaluate's data sets hold one label a text, and the model gives several; use "
                "thex_hf.evaluation.evaluate_model"
            )
        scorer = self.prepare_metric(metric, answers.kind)
        table = self.load_data(data=data, subset=subset, split=split)
        _, inputs = self.prepare_data(table, input_column, second_input_column, label_column)
        columns = [input_column, *([second_input_column] if second_input_column else [])]
        kept, skipped = usable_rows(table, columns, on_error)
        references = references_of(
            table, label_column, answers.kind, answers.names, label_mapping, kept
        )
        values = None  # of each class, where they are not its number
        if label_mapping is not None and answers.kind == "classes":
            values = [label_mapping[name] for name in answers.names]
        return self._score(
            pipe,
            [inputs[i] for i in kept],
            references,
            lambda _: answers,
            skipped=skipped,
            places=[Place(i + 1) for i in kept],
            on_error=on_error,
            metric=scorer,
            values=values,
            fhe=fhe,
            agreement=agreement,
            batch_size=batch_size,
            strategy=strategy,
            confidence_level=confidence_level,
            n_resamples=n_resamples,
            random_state=random_state,
        )
