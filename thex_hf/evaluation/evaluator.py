"""The evaluators of ``evaluate`` for our pipelines, which score on ciphertexts.

``evaluate.evaluator("thex-text-classification")`` and
``evaluate.evaluator("thex-token-classification")`` are known once :func:`register` ran.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thex_hf.conversion.data.table import Place
from thex_hf.errors import OptionError
from thex_hf.evaluation.base import evaluate, evaluators
from thex_hf.evaluation.reading import Answers
from thex_hf.evaluation.registry import DEFAULTS
from thex_hf.evaluation.shared import EvaluatorMixin, references_of, tags_in, usable_rows
from thex_hf.tasks import TASKS


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
        window: int | None = None,
        stride: int | None = None,
        pool: str | None = None,
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
            window: cut texts into windows of so many tokens, instead of reading their beginning
                only; the pipeline's own by default, as for the next two. See
                :class:`thex_hf.tokens.windows.WindowOptions`.
            stride: how many tokens a window shares with the one before.
            pool: how the logits of windows become a text's.
            **options: of the pipeline, where none is given: ``protocol``, ``backend``,
                ``keys``, ``softmax``, ``relu``, ``ring``, ``flood``, ``processes``,
                ``weights_memory``.

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
            windows={"window": window, "stride": stride, "pool": pool},
            strategy=strategy,
            confidence_level=confidence_level,
            n_resamples=n_resamples,
            random_state=random_state,
        )


class ThexTokenClassificationEvaluator(
    EvaluatorMixin,
    evaluate.TokenClassificationEvaluator,  # type: ignore[misc]
):
    """Scores a token-classification pipeline of ours on a ``datasets`` data set.

    Takes what evaluate's ``token-classification`` evaluator takes. A word has the tag of its
    first token; words beyond 128 tokens have ``O``, where no ``window`` is given.
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
        window: int | None = None,
        stride: int | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Score a model or a pipeline, as :meth:`ThexTextClassificationEvaluator.compute` does.

        But ``tokenizer`` is a fast one, ``input_column`` has lists of words and ``label_column``
        lists of tags, names or ids; ``join_by`` is put between the words of a text. The metric is
        entity-level F1 by default, and agreement is that of words.

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
            windows={"window": window, "stride": stride},
            strategy=strategy,
            confidence_level=confidence_level,
            n_resamples=n_resamples,
            random_state=random_state,
        )


def register() -> None:
    """Register the evaluators; may be called again. ``import thex_hf.evaluation`` has done it.

    Tasks of texts share one evaluator and tasks of tokens another.
    """
    for task in TASKS:
        evaluators.SUPPORTED_EVALUATOR_TASKS[task.pipeline] = {
            "implementation": ThexTokenClassificationEvaluator
            if task.every_token
            else ThexTextClassificationEvaluator,
            "default_metric_name": DEFAULTS["tags" if task.every_token else "classes"][0],
        }
