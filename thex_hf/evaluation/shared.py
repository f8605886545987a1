"""What our evaluators share: pipelines, metrics, runs, reports, and true labels of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from thex_hf._choices import FHE_MODES, one_of
from thex_hf.conversion.data.collecting import words_of
from thex_hf.conversion.data.labels import class_ids, label_text, label_texts, numbers
from thex_hf.conversion.data.naming import declared_ids
from thex_hf.conversion.data.table import Place, Skipped, row_error, select_usable, why_unusable
from thex_hf.errors import ConversionError, InputError
from thex_hf.evaluation.base import evaluate
from thex_hf.evaluation.reading import Answers
from thex_hf.evaluation.registry import DEFAULTS, load_metrics, resolve
from thex_hf.evaluation.runs import costs, mode_of, open_pipeline, run_both, tell
from thex_hf.tables.sets import declared_names, local_folder


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
            model_or_pipeline: see :func:`thex_hf.evaluation.runs.open_pipeline`.
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
        windows: Mapping[str, Any],
        **strategy: Any,
    ) -> dict[str, Any]:
        """Run the pipeline, and the clear model beside it, and score both.

        ``answers`` gives for the inputs that could be served what reads their logits; ``skipped``
        are rows that were left out already; ``values`` is what the references hold for each class,
        None for its number; ``strategy`` is evaluate's: bootstrap or not.
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
            windows=windows,
        )
        reader = answers(both.kept)
        predictions = reader.predictions(both.run.logits)
        scores = self.compute_metric(
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
        return {**scores, **both.speed, "thex": ours}

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


def usable_rows(
    table: Any, columns: Sequence[str], on_error: str, *, words: bool = False
) -> tuple[list[int], tuple[Skipped, ...]]:
    """Which rows of a data set have texts that can be scored, and what is left out.

    Args:
        table: the data set.
        columns: of texts; of lists of words, if ``words``.
        on_error: ``raise`` or ``skip``.
        words: the column holds lists of words.

    Raises:
        DataError: with ``raise``, a text is missing or empty; with ``skip``, all are.
        InputError: there are no rows, or none holds a list of words.
    """
    if not len(table):
        raise InputError("there are no texts to score; the data are empty")
    reasons: list[str | None] = [None] * len(table)
    for column in columns:
        values = list(table[column])
        if words and not any(isinstance(value, list) for value in values):
            raise InputError(f"column {column!r} should hold lists, one entry for each word")
        for row, value in enumerate(values):
            reasons[row] = reasons[row] or (
                _of_words(value) if words else why_unusable(value, column)
            )
    return select_usable(reasons, "", [Place(i) for i in range(1, len(table) + 1)], on_error)


def _of_words(value: Any) -> str | None:
    if isinstance(value, str):
        return f"should have a list of words, got {value!r}"
    found = words_of(value)
    return found if isinstance(found, str) else None


def references_of(
    table: Any,
    column: str,
    kind: str,
    names: Sequence[str],
    mapping: Mapping[str, float] | None,
    rows: Sequence[int],
) -> list[Any]:
    """True labels as the metric compares them.

    Args:
        table: the data set.
        column: of labels.
        kind: ``classes`` or ``numbers``.
        names: the model's class names in order.
        mapping: given by the user: then labels stay as they are.
        rows: those that are wanted.

    Returns:
        Numbers; or class ids of the model. Class names are matched to the model's, whatever
        their case; ids of a data set that names its classes are matched by those names.

    Raises:
        DataError: a label is missing or fits no class, or the names of the classes differ.
        InputError: a class has no value in ``mapping``.
    """
    raw = _picked(table, column, rows)
    error_for = _refusing(rows)
    own = declared_names(table.features[column])
    if kind == "numbers":
        if own:
            raise InputError(
                f"column {column!r} should hold numbers to predict, and the data set has the "
                f"classes {', '.join(own[:10])}"
            )
        return numbers(raw, error_for)
    if mapping is not None:
        missing = sorted(set(names) - set(mapping))
        if missing:
            raise InputError(
                f"label_mapping should have a value for {', '.join(names)}; {', '.join(missing)} "
                f"missing"
            )
        gone = next((i for i, label in enumerate(raw) if label_text(label) is None), None)
        if gone is not None:
            raise error_for(gone, f"has no {column}, got {raw[gone]!r}; labels should all be there")
        return raw
    if own:
        return declared_ids(raw, own, names, f"column {column!r}", error_for)
    return class_ids(label_texts(raw, column, error_for), names, error_for)


def tags_in(
    table: Any,
    column: str,
    words: Sequence[Sequence[str]],
    names: Sequence[str],
    rows: Sequence[int],
) -> list[list[str]]:
    """The tags of a data set by the model's names.

    Args:
        table: the data set.
        column: of lists of tags. Ids are named by the data set, or else by the model.
        words: of each text that is wanted.
        names: the model's tags in order.
        rows: those that are wanted.

    Raises:
        InputError: the column holds no lists.
        DataError: not one tag a word, a tag that fits none of the model's, or other names.
    """
    lists = _picked(table, column, rows)
    if not all(isinstance(own, list) for own in lists):
        raise InputError(f"column {column!r} should hold lists, one entry for each word")
    error_for = _refusing(rows)
    for index, (own, tags) in enumerate(zip(words, lists, strict=True)):
        if len(own) != len(tags):
            raise error_for(
                index,
                f"should have tags: expected one tag for each of {len(own)} words, got {len(tags)}",
            )
    flat = [tag for tags in lists for tag in tags]
    of_row = [rows[i] for i, tags in enumerate(lists) for _ in tags]
    declared = declared_names(table.features[column])
    if declared:
        ids = declared_ids(flat, declared, names, f"column {column!r}", _refusing(of_row))
    else:
        ids = class_ids(label_texts(flat, column, _refusing(of_row)), names, _refusing(of_row))
    left = iter(ids)
    return [[names[next(left)] for _ in tags] for tags in lists]


def _picked(table: Any, column: str, rows: Sequence[int]) -> list[Any]:
    values = list(table[column])
    return [values[row] for row in rows]


def _refusing(rows: Sequence[int]) -> Callable[[int, str], Exception]:
    """Makes errors for rows, of which ``rows`` are those that are wanted."""

    def error_for(index: int, reason: str) -> Exception:
        return row_error("", Place(rows[index] + 1), reason)

    return error_for
