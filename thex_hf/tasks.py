"""The tasks: one record for each kind of question that a model of ours answers.

What a task is called, by whom, and what it reads stands here, without torch; models, pipelines,
evaluators, cards and conversion look it up. ``CONTRIBUTING.md`` says how to add one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """What a classifier is for.

    Args:
        name: the Hub's name of the task. Its pipeline stands in the module of
            :mod:`thex_hf.pipelines` that is called so.
        source: what conversions and their option ``--task`` call it.
        ending: how its model classes end: transformers' (``BertFor...``, ``AutoModelFor...``) and
            ours, ``ThexBertFor...`` in :mod:`thex_hf.modeling.modeling_thex_bert`.
        words: what a model card calls such a model, after "A BERT".
        every_token: the classifier reads each token, not one row of a text.
        stock: transformers' pipelines that would run such a model in clear.
        adapter: PEFT's name of the task.
        common: each family of models has a class for it; else the families that have one say so.
        example: what a model might be called, in the advice to name one; empty where one comes
            along with the package.
    """

    name: str
    source: str
    ending: str
    words: str
    every_token: bool = False
    stock: tuple[str, ...] = ()
    adapter: str | None = None
    common: bool = True
    example: str = "my-model"

    @property
    def pipeline(self) -> str:
        """The name of our pipeline, as ``transformers.pipeline`` takes it."""
        return f"thex-{self.name}"

    @property
    def pipeline_module(self) -> str:
        """The module of our pipeline, in :mod:`thex_hf.pipelines`."""
        return self.name.replace("-", "_")

    @property
    def pipeline_class(self) -> str:
        """The class of our pipeline."""
        return f"Thex{''.join(map(str.capitalize, self.name.split('-')))}Pipeline"

    @property
    def model_class(self) -> str:
        """Our model class."""
        return f"ThexBert{self.ending}"

    @property
    def auto_class(self) -> str:
        """The Auto class of transformers that finds models of the task."""
        return f"AutoModel{self.ending}"


TEXT = Task(
    name="text-classification",
    source="sequence",
    ending="ForSequenceClassification",
    words="text classifier",
    stock=("text-classification", "sentiment-analysis", "zero-shot-classification"),
    adapter="SEQ_CLS",
    example="",
)
TOKEN = Task(
    name="token-classification",
    source="tokens",
    ending="ForTokenClassification",
    words="token classifier",
    every_token=True,
    stock=("token-classification", "ner"),
    adapter="TOKEN_CLS",
    example="my-tagger",
)

TASKS = (TEXT, TOKEN)
SOURCES = {task.source: task for task in TASKS}
"""Tasks by what conversions call them."""


def reads_every_token(model_class: str) -> bool:
    """Whether a model class, ours or derived from ours, classifies each token.

    Args:
        model_class: its name, as ``architectures`` of a ``config.json`` has it.
    """
    return any(task.every_token and task.ending in model_class for task in TASKS)
