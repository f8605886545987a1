"""What our evaluators share: pipelines, metrics, runs, and what they report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from thex_hf.evaluation.answers import Answers
from thex_hf.evaluation.libraries import evaluate
from thex_hf.evaluation.opening import open_pipeline
from thex_hf.evaluation.registry import DEFAULTS, load_metrics, resolve
from thex_hf.evaluation.runs import classify, costs, mode_of
from thex_hf.pipelines.options import FHE_MODES, one_of


class EvaluatorMixin:
    """Put before an evaluator of evaluate, makes it score pipelines of ours."""

    task: str
    compute_metric: Callable[..., dict[str, Any]]

    def prepare_pipeline(
        self,
        model_or_pipeline: Any,
        tokenizer: Any = None,
        feature_extractor: Any = None,
        device: Any = None,
        **options: Any,
    ) -> Any:
        """The pipeline given, or one for the folder, Hub name or model given.

        Args:
            model_or_pipeline: see :func:`thex_hf.evaluation.opening.open_pipeline`.
            tokenizer: of the model.
            feature_extractor: not used; there for evaluate's signature.
            device: as in transformers; the CPU by default.
            **options: of the pipeline.

        Raises:
            OptionError: a pipeline of another task, or options for a pipeline given.
            ConversionError: the model cannot be loaded, or is no THE-X model.
        """
        return open_pipeline(self.task, model_or_pipeline, tokenizer, device=device, **options)

    def prepare_metric(self, metric: Any, kind: str = "classes") -> Any:
        """One of our metrics by name, several combined, or any metric of evaluate as it is.

        Args:
            metric: a name, several, or an object with ``compute``, such as what
                :func:`evaluate.load` gives. None: what suits the model.
            kind: what the model answers, see :func:`thex_hf.evaluation.reading.kind_of`.

        Raises:
            OptionError: no such metric, or it does not suit the model.
        """
        if hasattr(metric, "compute"):
            return metric
        wanted = [metric] if isinstance(metric, str) else list(metric or DEFAULTS[kind])
        if not all(isinstance(name, str) for name in wanted):
            return evaluate.combine(wanted)
        return load_metrics(dict.fromkeys(one for name in wanted for one in resolve(name, kind)))

    def _score(
        self,
        pipe: Any,
        inputs: Sequence[Any],
        references: Sequence[Any],
        answers: Answers,
        *,
        metric: Any,
        values: Sequence[Any] | None = None,
        fhe: str | None,
        agreement: bool,
        batch_size: int | None,
        **strategy: Any,
    ) -> dict[str, Any]:
        """Run the pipeline, and the clear model beside it, and score both.

        Args:
            pipe: open pipeline.
            inputs: what it takes.
            references: true labels.
            answers: reads the logits.
            metric: an object with ``compute``.
            values: what the references hold for each class; None: its number.
            fhe: mode; the pipeline's by default.
            agreement: also run the clear model.
            batch_size: texts at once.
            **strategy: of evaluate: bootstrap or not.
        """
        mode = one_of("fhe", mode_of(pipe, fhe), FHE_MODES)
        run = classify(pipe, inputs, fhe=mode, batch_size=batch_size)
        predictions = answers.predictions(run.logits)
        found = self.compute_metric(
            metric=metric,
            metric_inputs={
                "references": references,
                "predictions": [values[i] for i in predictions] if values else predictions,
            },
            **strategy,
        )
        ours = costs(run.reports)
        if agreement and mode != "disable":
            clear = classify(pipe, inputs, fhe="disable")
            ours |= answers.gap(run.logits, clear.logits)
        return {**found, **run.speed(), "thex": ours}
