"""What a model card says: the values that ``card_template.md`` is filled with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thex_hf.modeling.cards.checklist import checklist, words_of
from thex_hf.modeling.cards.measures import STAGES
from thex_hf.modeling.cards.tables import cost_rows, costs_note, score_rows, texts_words
from thex_hf.modeling.configuration_thex_bert import RANGE_KEYS, ThexBertConfig
from thex_hf.modeling.tasks import is_regression, task_of

PROTOCOLS: dict[str, tuple[str, ...]] = {
    "the-x": ("client-aided",),
    "polynomial": ("refresh", "one-shot"),
    "unconverted": (),
}
"""Protocols that models of each form serve."""

ACTIVATIONS = {
    "relu": ("relu", "client, during a visit"),
    "quadratic": ("a x^2 + b x + c, learned in each layer", "server"),
    "gelu": ("gelu", "not encrypted"),
}
NORMS = {
    "affine": "gamma * x + beta",
    "centred": "gamma * (x - mean(x)) + beta",
    "layernorm": "exact",
}
LEARNS = {
    "client-aided": (
        "the padded length",
        "the logits, attention scores and feed-forward values before their activation",
        "text",
    ),
    "refresh": (
        "the padded length; the number of true tokens is encrypted",
        "the logits, and values from inside under masks that are uniform modulo the whole modulus",
        "text and model",
    ),
    "one-shot": (
        "the padded length; the number of true tokens is encrypted",
        "the logits and nothing from inside: it sends one message and gets one",
        "text and model",
    ),
}
"""What each protocol shows to the server and to the client, and what it protects."""


def _learns(protocol: str, measured: Mapping[str, Any]) -> list[str]:
    server, client, protected = LEARNS[protocol]
    client = words_of(measured).client_learns.get(protocol, client)
    return [f"`{protocol}`", server, client, protected]


def facts(
    config: ThexBertConfig,
    report: Mapping[str, Any] | None,
    measures: Mapping[str, Any] | None,
    title: str,
) -> dict[str, Any]:
    """All values of the template.

    Args:
        config: of the model.
        report: of its conversion, or None.
        measures: scores and costs, or None.
        title: heading, and the name to load the model by.
    """
    measured = dict(measures or {})
    task, protocols = task_of(config), PROTOCOLS[config.form]
    scores = list(measured.get("scores") or [])
    metric = scores[0]["metric"] if scores else (report or {}).get("metric", "accuracy")
    activation, place = ACTIVATIONS[config.activation]
    return {
        "title": title,
        "intro": _intro(config, report),
        "task": task,
        "form": config.form,
        "protocols": protocols,
        "config": config,
        "regression": is_regression(config),
        "reads": _reads(config),
        "activation": activation,
        "activation_place": place,
        "softmax": _softmax(config),
        "softmax_place": "server" if config.softmax == "power" else "client and server",
        "norm": NORMS[config.norm],
        "report": report,
        "stages": _stages(report or {}),
        "metric": metric,
        "scores": score_rows(scores, protocols, report, metric),
        "texts": texts_words(measured.get("texts")),
        "costs": cost_rows(measured, protocols),
        "costs_note": costs_note(measured),
        "learns": [_learns(name, measured) for name in protocols],
        "figures": measured.get("figures") or [],
        "checklist": checklist(config, report, measured, protocols),
        "range_keys": RANGE_KEYS,
    }


def _intro(config: ThexBertConfig, report: Mapping[str, Any] | None) -> str:
    kind = {
        "token-classification": "token classifier",
        "text-classification": "text classifier",
        "feature-extraction": "encoder",
    }[task_of(config)]
    if is_regression(config):
        kind = "text regression model"
    source = (report or {}).get("source", "a fine-tuned BERT")
    origin = f"Made with `thex_hf` from `{source}`"
    paper = "THE-X (Chen et al., Findings of ACL 2022)"
    if config.form == "polynomial":
        return (
            f"A BERT {kind} in polynomial form: its encoder, without comparison and without "
            "division, can run on text encrypted with CKKS homomorphic encryption, all of it on "
            f"the server. {origin}, after {paper}."
        )
    if config.form == "the-x":
        return (
            f"A BERT {kind} in the form of {paper}: its encoder can run on text encrypted with "
            f"CKKS homomorphic encryption. {origin}."
        )
    return (
        f"A BERT {kind} on the way to the form of {paper}. It is **not fully converted** and "
        "cannot run on encrypted text."
    )


def _reads(config: ThexBertConfig) -> str:
    if task_of(config) == "token-classification":
        return "the row of every token"
    return {"cls": "the `[CLS]` row", "mean": "the mean over the rows of true tokens"}[
        config.pooling
    ]


def _softmax(config: ThexBertConfig) -> str:
    return {
        "estimate": "ReLU((x/2+1)^3) times a learned reciprocal of the row sum",
        "power": f"(x + c)^{config.attention_power} / (R n), c and R learned for each head",
        "exact": "exact",
    }[config.softmax]


def _stages(report: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Words and score of each stage in order; older reports have some outside ``stages``."""
    found = dict(report.get("stages") or {})
    if not found:
        found = {name: report[name] for name in STAGES if report.get(name) is not None}
    return [
        (STAGES.get(name, str(name).replace("_", " ")), value)
        for name, value in found.items()
        if isinstance(value, int | float)
    ]
