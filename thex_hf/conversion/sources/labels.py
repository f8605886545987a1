"""The labels of a checkpoint: one name for each row of its classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thex_hf.conversion.sources.family import SEQUENCE
from thex_hf.errors import ConversionError
from thex_hf.modeling.tasks import PROBLEM_TYPES, REGRESSION


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
