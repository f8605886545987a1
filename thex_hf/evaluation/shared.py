"""What our evaluators share: pipelines, metrics, runs, and what they report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from thex_hf._choices import FHE_MODES, one_of
from thex_hf.conversion.data.reading import local_folder
from thex_hf.conversion.data.table import Place, Skipped
from thex_hf.errors import ConversionError
from thex_hf.evaluation.answers import Answers
from thex_hf.evaluation.base import evaluate
from thex_hf.evaluation.opening import open_pipeline
from thex_hf.evaluation.registry import DEFAULTS, load_metrics, resolve
from thex_hf.evaluation.runs import costs, mode_of, run_both, tell


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
        answers: Callable[[Sequence[int]], Answers],
        *,
        skipped: Sequence[Skipped],
        places: Sequence[Place],
        on_error: str,
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
            answers: gives for the inputs that could be served what reads their logits.
            skipped: rows that were left out already.
            places: of the inputs, in the data.
            on_error: what to do about inputs that cannot be served.
            metric: an object with ``compute``.
            values: what the references hold for each class; None: its number.
            fhe: mode; the pipeline's by default.
            agreement: also run the clear model.
            batch_size: texts at once.
            **strategy: of evaluate: bootstrap or not.
        """
        mode = one_of("fhe", mode_of(pipe, fhe), FHE_MODES)
        both = run_both(
            pipe,
            inputs,
            places,
            fhe=mode,
            compare=agreement,
            batch_size=batch_size,
            on_error=on_error,
        )
        reader = answers(both.kept)
        predictions = reader.predictions(both.run.logits)
        found = self.compute_metric(
            metric=metric,
            metric_inputs={
                "references": [references[i] for i in both.kept],
                "predictions": [values[i] for i in predictions] if values else predictions,
            },
            **strategy,
        )
        left_out = (*skipped, *both.skipped)
        tell(left_out)
        ours = costs(both.run.reports) | {"skipped": [row.to_json() for row in left_out]}
        if both.clear is not None:
            ours |= reader.gap(both.run.logits, both.clear.logits)
        return {**found, **both.speed, "thex": ours}

    def load_data(self, data: Any, subset: str | None = None, split: str | None = None) -> Any:
        """A data set, or the one of that name.

        Args:
            data: of ``datasets``, the name of one on the Hub, or a folder.
            subset: configuration of a named data set.
            split: of a named data set.

        Raises:
            ConversionError: a path that is not there, or a data set that cannot be loaded.
            ValueError: from evaluate: something else.
        """
        if not isinstance(data, str):
            return super().load_data(data=data, subset=subset, split=split)  # type: ignore[misc]
        folder = local_folder(data)
        try:
            return super().load_data(  # type: ignore[misc]
                data=data if folder is None else str(folder), subset=subset, split=split
            )
        except Exception as error:
            raise ConversionError(
                f"the data set {data!r} cannot be loaded ({type(error).__name__}: {error})."
            ) from error
