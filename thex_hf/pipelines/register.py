"""Make the tasks of this package and its Auto classes known to transformers."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import transformers
from transformers.pipelines import PIPELINE_REGISTRY

from thex_hf.bundled import bundled_checkpoint
from thex_hf.errors import OptionError
from thex_hf.modeling.modeling_thex_bert import register_auto_classes
from thex_hf.tasks import TASKS, Task


class NoDefault(dict[str, Any]):
    """Stands where transformers looks for the model of a task that comes with none."""

    def __init__(self, task: Task) -> None:
        super().__init__(model=None)
        self._task = task

    def __getitem__(self, key: str) -> Any:
        """Refuse, with advice.

        Raises:
            OptionError: always.
        """
        task = self._task
        raise OptionError(
            f"no model comes with thex_hf for {task.pipeline!r}: name one, as in "
            f"pipeline({task.pipeline!r}, model={task.example!r}). thex-hf convert makes one of a "
            f"fine-tuned {task.words}."
        )


def register() -> None:
    """Register tasks and classes; may be called again."""
    register_auto_classes()
    for task in TASKS:
        _register(task)


def pipeline_class(task: Task) -> Any:
    """The class of a task's pipeline."""
    return getattr(import_module(f"thex_hf.pipelines.{task.pipeline_module}"), task.pipeline_class)


def _register(task: Task) -> None:
    """Register one task, unless it is known."""
    if task.pipeline in PIPELINE_REGISTRY.supported_tasks:
        return
    kind = pipeline_class(task)
    PIPELINE_REGISTRY.register_pipeline(
        task.pipeline,
        pipeline_class=kind,
        pt_model=getattr(transformers, task.auto_class),
        default=NoDefault(task) if task.example else _bundled(),
        type="text",
    )
    # With this attribute save_pretrained would copy our code into the model folder, and
    # loading that folder again would ask for trust_remote_code.
    del kind._registered_impl


def _bundled() -> dict[str, Any]:
    """The bundled model, as transformers names the default of a task."""
    bundled = (bundled_checkpoint(), None)
    old = int(transformers.__version__.split(".")[0]) < 5
    return {"model": {"pt": bundled} if old else bundled}
