"""All families, by entry points, and what a configuration says of its head and its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from transformers import PretrainedConfig
from transformers.utils import logging

from thex_hf.conversion.sources.families import DISTANCE_BUCKETS, SEQUENCE, Family
from thex_hf.errors import ConversionError
from thex_hf.modeling import ThexBertConfig
from thex_hf.modeling.tasks import PROBLEM_TYPES, REGRESSION

logger = logging.get_logger(__name__)
GROUP = "thex_hf.families"
"""Entry points: the name is a ``model_type``, the object a :class:`Family` that has it."""

BUILT_IN = {
    "bert": "thex_hf.conversion.sources.families:BERT",
    "distilbert": "thex_hf.conversion.sources.families:DISTILBERT",
    "roberta": "thex_hf.conversion.sources.families:ROBERTA",
    "xlm-roberta": "thex_hf.conversion.sources.families:ROBERTA",
    "camembert": "thex_hf.conversion.sources.families:ROBERTA",
    "electra": "thex_hf.conversion.sources.families:ELECTRA",
    "mpnet": "thex_hf.conversion.sources.families:MPNET",
}
"""So that a source tree works before it is installed."""

MPNET_BUCKETS = 32
ACTIVATIONS = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu")


def model_types() -> dict[str, str]:
    """Every ``model_type`` on offer and the ``module:attribute`` behind it; built-in ones win."""
    installed = {entry.name: entry.value for entry in entry_points(group=GROUP)}
    return {**BUILT_IN, **{name: installed[name] for name in sorted(installed.keys() - BUILT_IN)}}


def find_family(model_type: str) -> Family | None:
    """The family of a model type; None if there is none.

    Raises:
        ConversionError: its entry point cannot be loaded, or is no family of that model type.
    """
    target = model_types().get(model_type)
    if target is None:
        return None
    module, _, attribute = target.partition(":")
    try:
        family = getattr(import_module(module), attribute)
        if not isinstance(family, Family) or model_type not in family.classes:
            raise TypeError(f"it should be a Family with classes for {model_type!r}")
    except Exception as error:
        raise ConversionError(
            f"the family of model_type {model_type!r} ({target}) cannot be loaded: {error}; "
            f"reinstall the package that provides it"
        ) from error
    return family


def get_family(model_type: str) -> Family:
    """The family of a model type.

    Raises:
        ConversionError: no family has it, or as :func:`find_family`.
    """
    family = find_family(model_type)
    if family is None:
        raise ConversionError(f"model_type {model_type!r} is not supported. {supported()}")
    return family


def supported() -> str:
    """What can be converted, for messages; a family that cannot be loaded is left out."""
    parts = []
    for kind in model_types():
        try:
            family = find_family(kind)
        except ConversionError as error:
            logger.warning("%s", error)
            continue
        assert family is not None
        parts.append(f"model_type {kind}: {', '.join(family.classes[kind])}")
    return (
        f"Supported: {'; '.join(parts)}. hidden_act {', '.join(ACTIVATIONS)}; absolute "
        "positions, or MPNet's; no decoder, no adapters, no pruned heads, not quantised; weights "
        "in safetensors."
    )


def family_of(config: PretrainedConfig, task: str = SEQUENCE) -> Family:
    """The family of a model, its table made for one task.

    Args:
        config: the model's configuration; RoBERTa's position offset depends on it.
        task: ``"sequence"`` or ``"tokens"``.

    Raises:
        ConversionError: no family has this model type.
    """
    family = get_family(config.model_type)
    if family.position_offset:
        family = replace(family, position_offset=config.pad_token_id + 1)
    return replace(family, task=task)


def head_of(config: dict[str, Any], name: str) -> str:
    """Tell the head of a checkpoint from its ``config.json``, or say why it is not supported.

    Args:
        config: the configuration as read.
        name: of the checkpoint, for messages.

    Returns:
        ``"sequence"``, ``"tokens"`` or ``"headless"``.

    Raises:
        ConversionError: says what was found and lists what is supported.
    """
    kind = config.get("model_type")
    if kind == ThexBertConfig.model_type:
        raise ConversionError(
            f"{name!r} is a THE-X model already: use it as it is, or convert the model that it "
            "was made from."
        )
    family = find_family(str(kind))
    if family is None:
        raise ConversionError(f"{name!r} cannot be converted: model_type {kind!r}. {supported()}")
    classes = family.classes[str(kind)]
    architectures = config.get("architectures") or []
    heads = [classes[entry] for entry in architectures if entry in classes]
    act = config.get(family.activation, "gelu")
    position = config.get("position_embedding_type") or "absolute"
    buckets = config.get(DISTANCE_BUCKETS, MPNET_BUCKETS)
    count = family.sizes["num_hidden_layers"]
    layers = config.get(count, 1)
    problems = {
        f"architectures {architectures}": not heads,
        f"{family.activation} {act!r}": act not in ACTIVATIONS,
        f"position_embedding_type {position!r}": position != "absolute",
        f"{DISTANCE_BUCKETS} {buckets!r}, where transformers computes with {MPNET_BUCKETS}": (
            DISTANCE_BUCKETS in family.sizes and buckets != MPNET_BUCKETS
        ),
        f"{count} {layers!r}": not isinstance(layers, int) or layers < 1,
        "is_decoder": bool(config.get("is_decoder")),
        "add_cross_attention": bool(config.get("add_cross_attention")),
        "pruned_heads": bool(config.get("pruned_heads")),
        "quantization_config": bool(config.get("quantization_config")),
    }
    wrong = [problem for problem, present in problems.items() if present]
    if wrong:
        raise ConversionError(f"{name!r} cannot be converted: {', '.join(wrong)}. {supported()}")
    return heads[0]


def names_of(id2label: Any, name: str) -> list[str]:
    """The names of labels 0, 1, ... in order.

    Args:
        id2label: of a ``config.json``; keys are numbers, or numbers as text.
        name: of the checkpoint, for messages.

    Raises:
        ConversionError: it is no such table, or two labels have one name.
    """
    try:
        table = {int(number): label for number, label in id2label.items()}
    except (AttributeError, TypeError, ValueError):
        raise ConversionError(
            f"id2label of {name!r} should map numbers to names; got {id2label!r}. Correct it in "
            "config.json."
        ) from None
    if sorted(table) != list(range(len(table))) or len(table) != len(id2label):
        raise ConversionError(
            f"id2label of {name!r} should name the labels 0 to {len(table) - 1}, the rows of the "
            f"classifier; got {id2label!r}. Correct id2label and label2id in config.json."
        )
    labels = [table[number] for number in range(len(table))]
    wrong = [label for label in labels if not isinstance(label, str | int) or str(label) == ""]
    if wrong or len({str(label) for label in labels}) < len(labels):
        raise ConversionError(
            f"id2label of {name!r} should give each label a name of its own; got {labels}. "
            "Correct it in config.json."
        )
    return [str(label) for label in labels]


def check_labels(config: Mapping[str, Any], name: str) -> None:
    """Refuse a ``config.json`` whose labels cannot be told apart or contradict each other.

    A ``label2id`` that is missing, or has other names, says nothing: ``id2label`` counts, as in
    transformers.

    Args:
        config: the configuration as read.
        name: of the checkpoint, for messages.

    Raises:
        ConversionError: says what is wrong with which field.
    """
    problem = config.get("problem_type")
    if problem is not None and problem not in PROBLEM_TYPES:
        raise ConversionError(
            f"problem_type of {name!r} should be {', '.join(PROBLEM_TYPES)} or null; got "
            f"{problem!r}. Correct it in config.json."
        )
    if config.get("id2label") is None:
        return
    labels = names_of(config["id2label"], name)
    back = config.get("label2id")
    ids = {label: number for number, label in enumerate(labels)}
    pairs = (
        [(str(label), str(number)) for label, number in back.items()]
        if isinstance(back, Mapping)
        else []
    )
    same = {label for label, _ in pairs} == set(ids)
    if same and any(number != str(ids[label]) for label, number in pairs):
        raise ConversionError(
            f"id2label and label2id of {name!r} contradict each other: {config['id2label']!r} "
            f"and {back!r}. Correct the wrong one in config.json."
        )


def label_fields(config: Any, task: str) -> dict[str, Any]:
    """The fields of a configuration of ours for the labels of a loaded model.

    A single answer for a text is a number, by the rule of transformers' own losses, and is said
    to be one, since a pipeline would make a probability of it otherwise.

    Args:
        config: of the loaded model.
        task: ``"sequence"`` or ``"tokens"``.

    Raises:
        ConversionError: the labels are no names for 0, 1, ..., or it predicts several numbers.
    """
    labels = names_of(config.id2label, str(getattr(config, "_name_or_path", "") or "the source"))
    problem = config.problem_type
    if problem is None and len(labels) == 1 and task == SEQUENCE:
        problem = REGRESSION
    if problem == REGRESSION and len(labels) > 1:
        raise ConversionError(
            f"the model predicts {len(labels)} numbers (problem_type regression); one is "
            "supported. If these are classes, correct problem_type in config.json."
        )
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
        "problem_type": problem,
    }
