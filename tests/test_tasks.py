"""Each task is one record, and all that has to be there for it is."""

import inspect

import evaluate
import pytest
import transformers
from transformers.pipelines import PIPELINE_REGISTRY

import thex_hf
import thex_hf.evaluation
from thex_hf.conversion.sources.families import HEADLESS
from thex_hf.conversion.sources.registry import get_family, model_types
from thex_hf.modeling.hub import HEADS
from thex_hf.modeling.modeling_thex_bert import CLASSIFIERS
from thex_hf.pipelines.register import pipeline_class
from thex_hf.tasks import SOURCES, TASKS, reads_every_token

EACH = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def test_no_two_tasks_share_a_name():
    for names in (
        [task.name for task in TASKS],
        [task.source for task in TASKS],
        [task.ending for task in TASKS],
        [name for task in TASKS for name in task.stock],
        [task.adapter for task in TASKS if task.adapter],
    ):
        assert len(set(names)) == len(names)
    assert tuple(SOURCES.values()) == TASKS
    assert list(CLASSIFIERS) == [task.name for task in TASKS]


@EACH
def test_a_task_has_a_model_and_a_pipeline_that_are_public(task):
    model, pipeline = CLASSIFIERS[task.name], pipeline_class(task)
    assert (model.task, model.__name__, model.every_token) == (
        task, task.model_class, task.every_token
    )  # fmt: skip
    assert pipeline.model_class is model
    for kind in (model, pipeline):
        assert getattr(thex_hf, kind.__name__) is kind
        assert kind.__name__ in thex_hf.__all__
    assert "labels" in inspect.signature(model.forward).parameters


@EACH
def test_everybody_knows_a_task_by_its_record(task):
    assert PIPELINE_REGISTRY.supported_tasks[task.pipeline]["impl"] is pipeline_class(task)
    assert evaluate.evaluator(task.pipeline).task == task.pipeline
    auto = getattr(transformers, task.auto_class)
    assert auto._model_mapping[thex_hf.ThexBertConfig] is CLASSIFIERS[task.name]
    assert HEADS[task.model_class].auto == task.auto_class
    assert reads_every_token(task.model_class) is task.every_token


def test_sources_have_no_other_heads_and_each_task_a_source():
    heads = {
        head
        for kind in model_types()
        for head in get_family(kind).classes[kind].values()
    }  # fmt: skip
    assert heads == {*SOURCES, HEADLESS}
