"""A pipeline from whatever names a model: nothing, a folder, a model, or a pipeline."""

from __future__ import annotations

import os
from typing import Any

from transformers import Pipeline, PreTrainedModel, pipeline

from thex_hf.bundled import bundled_checkpoint
from thex_hf.errors import OptionError
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.guards import unloadable
from thex_hf.modeling.tasks import task_of
from thex_hf.options import NAMES

TASKS = {
    "text-classification": "thex-text-classification",
    "token-classification": "thex-token-classification",
}
"""Our pipelines, by the Hub's name of the task."""


def open_pipeline(
    task: str | None,
    model: Any = None,
    tokenizer: Any = None,
    *,
    device: Any = None,
    **options: Any,
) -> Any:
    """The pipeline of a task.

    Args:
        task: name of one of our pipelines; None: the one that suits the model.
        model: a pipeline of that task; a model, with its tokenizer; a folder or a Hub name;
            None for the bundled model.
        tokenizer: of the model, where the model does not bring it.
        device: as in transformers; the CPU by default.
        **options: of :func:`transformers.pipeline` for this task, such as ``protocol``.

    Raises:
        OptionError: a pipeline of another task, options for a pipeline that is open already,
            or an option that is not on offer.
        ConversionError: the model cannot be loaded, or is no THE-X model.
    """
    given = {name: value for name, value in options.items() if value is not None}
    unknown = sorted(set(given) - set(NAMES))
    if unknown:
        raise OptionError(
            f"unknown option {unknown[0]!r}: options of the pipeline are {', '.join(NAMES)}"
        )
    if isinstance(model, Pipeline):
        if task is None and model.task in TASKS.values():
            task = model.task
        return _as_given(task or TASKS["text-classification"], model, given)
    if isinstance(model, PreTrainedModel) and tokenizer is None:
        raise OptionError("a model needs its tokenizer: pass tokenizer=")
    if not (model is None or isinstance(model, str | os.PathLike | PreTrainedModel)):
        raise OptionError(
            f"expected a pipeline, a model, a folder or a Hub name, got {type(model).__name__}"
        )
    if model is None:
        model = bundled_checkpoint()
    name = os.fspath(model) if isinstance(model, str | os.PathLike) else model
    try:
        return pipeline(
            task or _task_of(name),
            model=name,
            tokenizer=tokenizer,
            device=-1 if device is None else device,
            **{"trust_remote_code": False, **given},
        )
    except OSError as error:
        raise unloadable(str(model), error) from error


def _task_of(model: Any) -> str:
    config = ThexBertConfig.from_pretrained(model) if isinstance(model, str) else model.config
    every_token = getattr(model, "every_token", task_of(config) == "token-classification")
    return TASKS["token-classification" if every_token else "text-classification"]


def _as_given(task: str, pipe: Any, options: dict[str, Any]) -> Any:
    if getattr(pipe, "task", None) != task:
        raise OptionError(
            f"expected a pipeline of task {task!r}, got one of {getattr(pipe, 'task', None)!r}; "
            f"make it with pipeline({task!r}, ...)"
        )
    if options:
        raise OptionError(
            f"{', '.join(options)}: set in pipeline(...), not where the pipeline is given"
        )
    return pipe
