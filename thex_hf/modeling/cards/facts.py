"""What a model card says: the values and tables that ``card_template.md`` is filled with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thex_hf.circuits.protocols import PROTOCOL_FACTS, protects_model, protocols_of
from thex_hf.modeling.cards.checklist import (
    NOT_MEASURED,
    checklist,
    counted,
    machine_words,
    words_of,
)
from thex_hf.modeling.cards.measures import STAGES, is_partial
from thex_hf.modeling.configuration_thex_bert import RANGE_KEYS, ThexBertConfig
from thex_hf.modeling.tasks import is_regression, task_of
from thex_hf.tasks import TASKS

ACTIVATIONS = {
    "relu": ("relu", "client, during a visit"),
    "quadratic": ("a x^2 + b x + c, learned in each layer", "server"),
    "gelu": ("gelu", "not encrypted"),
}
NORMS = {
    "affine": "gamma * x + beta",
    "centred": "gamma * (x - mean(x)) + beta",
    "chebyshev": "gamma * (x - mean(x)) * P(variance(x)) + beta, P a learned polynomial",
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
    "prepared": (
        "the padded length, and numbers under masks that are uniform modulo a prime",
        "the logits, and numbers under such masks; before a text is known, ciphertexts cross",
        "text and model",
    ),
}
"""What each protocol shows to the server and to the client, and what it protects."""
OPENED = (
    LEARNS["prepared"][0],
    "the logits, attention scores and feed-forward values before their activation; before a text "
    "is known, ciphertexts cross",
    "text",
)
"""The same where a protocol shows the client what is inside a model of that form."""

SHARED = "client and server, on shares"
"""Where everything is computed in a model that only ``prepared`` runs."""
ARITHMETIC = {"disable": "clear", "simulate": "simulated", "execute": "encrypted"}
NONE = "none"


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
    task, protocols = task_of(config), protocols_of(config.form)
    scores, costs = list(measured.get("scores") or []), list(measured.get("costs") or [])
    scored, weighed = (shown_protocols(config.form, rows) for rows in (scores, costs))
    metric = scores[0]["metric"] if scores else (report or {}).get("metric", "accuracy")
    activation, place = ACTIVATIONS[config.activation]
    shared = SHARED if config.form == "normalised" else None
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
        "activation_place": shared or place,
        "softmax": _softmax(config),
        "softmax_place": shared or ("server" if config.softmax == "power" else "client and server"),
        "norm": NORMS[config.norm] + _degrees(config),
        "linear_place": shared or "server",
        "protects_model": any(protects_model(name, config.form) for name in protocols),
        "report": report,
        "stages": _stages(report or {}),
        "metric": metric,
        "scores": score_rows(measured, scored, report, metric),
        "scores_lack": _lacking(protocols, scored, "this card has no score under it"),
        "texts": texts_words(measured),
        "costs": cost_rows(measured, weighed),
        "costs_lack": _lacking(protocols, weighed, "this card has no costs under it"),
        "costs_note": costs_note(measured),
        "learns": [_learns(name, config.form, measured) for name in protocols],
        "figures": measured.get("figures") or [],
        "checklist": checklist(config, report, measured, protocols),
        "range_keys": RANGE_KEYS,
    }


def _learns(protocol: str, form: str, measured: Mapping[str, Any]) -> list[str]:
    opened = PROTOCOL_FACTS[protocol].opens == form
    server, client, protected = OPENED if opened else LEARNS[protocol]
    client = words_of(measured).client_learns.get(protocol, client)
    return [f"`{protocol}`", server, client, protected]


def _intro(config: ThexBertConfig, report: Mapping[str, Any] | None) -> str:
    kind = {task.name: task.words for task in TASKS}.get(task_of(config), "encoder")
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
    if config.form == "normalised":
        return (
            f"A BERT {kind} in normalised form: its encoder, in which polynomials stand for "
            "activation, softmax and the division of layer norms, runs on numbers that client and "
            "server share. All that is encrypted, with BFV homomorphic encryption, is prepared "
            f"before a text is known. {origin}, after {paper}."
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
    if task_of(config) in {task.name for task in TASKS if task.every_token}:
        return "the row of every token"
    return {"cls": "the `[CLS]` row", "mean": "the mean over the rows of true tokens"}[
        config.pooling
    ]


def _degrees(config: ThexBertConfig) -> str:
    """Of the polynomials in norms, where there are any."""
    every = [degree for pair in config.degrees for degree in pair]
    if not any(every):
        return ""
    if len(set(every)) == 1:
        return f" of degree {every[0]}"
    first, second = (", ".join(map(str, degrees)) for degrees in zip(*config.degrees, strict=True))
    none = "; 0: no division" if 0 in every else ""
    return (
        f"; its degrees by layer: after attention {first}; after the feed-forward part {second}"
        f"{none}"
    )


def _softmax(config: ThexBertConfig) -> str:
    return {
        "estimate": "ReLU((x/2+1)^3) times a learned reciprocal of the row sum",
        "power": f"(x + c)^{config.attention_power} / (R n), c and R learned for each head",
        "exact": "exact",
    }[config.softmax]


def _stages(report: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Words and score of each stage in order; older reports have some outside ``stages``."""
    stages = dict(report.get("stages") or {})
    if not stages:
        stages = {name: report[name] for name in STAGES if report.get(name) is not None}
    return [
        (STAGES.get(name, str(name).replace("_", " ")), value)
        for name, value in stages.items()
        if isinstance(value, int | float)
    ]


def shown_protocols(form: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The protocols that a table has rows of.

    Args:
        form: of the model.
        rows: what was measured.

    Returns:
        Those that are made for the form, measured or not; others that serve it once they are.
    """
    protocols, measured = protocols_of(form), {row.get("protocol") for row in rows}
    made = [name for name in protocols if PROTOCOL_FACTS[name].form == form] or protocols
    return [name for name in protocols if name in made or name in measured]


def _lacking(protocols: Sequence[str], shown: Sequence[str], why: str) -> str:
    """A sentence on the protocols that a table has no row of; empty if there are none."""
    names = " and ".join(f"`{name}`" for name in protocols if name not in shown)
    return f"{names} can serve the model too; {why}." if names else ""


def score_rows(
    measured: Mapping[str, Any],
    protocols: Sequence[str],
    report: Mapping[str, Any] | None,
    metric: str,
) -> list[list[str]]:
    """One row for the clear model, and two a protocol; nothing is left out silently."""
    found = {
        (row["fhe"], row.get("protocol")): {**row, "counted": counted(row, measured)}
        for row in measured.get("scores") or []
    }
    clear = found.get(("disable", None))
    known = report if report and report.get("metric") == metric else {}
    if clear is None and known.get("converted") is not None:
        clear = {"value": known["converted"] / 100, "texts": known["dev_texts"]}
    rows = [_score_row("disable", "", clear)]
    for name in protocols:
        rows += [_score_row(fhe, name, found.get((fhe, name))) for fhe in ("simulate", "execute")]
    return rows


def _score_row(fhe: str, protocol: str, row: Mapping[str, Any] | None) -> list[str]:
    start = [ARITHMETIC[fhe], f"`{protocol}`" if protocol else ""]
    if row is None:
        return [*start, "", NOT_MEASURED, "", ""]
    difference = row.get("largest_logit_difference")
    return [
        *start,
        str(row.get("counted", row.get("texts"))),
        NOT_MEASURED if row.get("value") is None else f"{row['value']:.4f}",
        _same(row),
        "" if difference is None else f"{difference:.1e}",
    ]


def _same(row: Mapping[str, Any]) -> str:
    """How often the answer was that of the clear model; empty if nobody compared them."""
    share = row.get("agreement")
    if share is None:
        return ""
    if row.get("agreement_of", "texts") == "texts":
        return f"{round(share * row['texts'])} of {row['texts']}"
    return f"{100 * share:.2f} % of {row['agreement_of']}"


def texts_words(measured: Mapping[str, Any]) -> str:
    """Which texts were scored; empty if none."""
    texts = measured.get("texts")
    if not texts:
        return ""
    name = " ".join(str(texts[key]) for key in ("name", "config", "split") if texts.get(key))
    revision = f" (revision {texts['revision']})" if texts.get("revision") else ""
    words = f"{name}{revision}, {texts['available']} in all"
    if not any(is_partial(row, measured) for row in measured.get("scores") or []):
        return words
    return (
        f"{words}. A score of fewer, spread evenly over them, is partial: the metadata of this "
        "card do not have it"
    )


def cost_rows(measured: Mapping[str, Any], protocols: Sequence[str]) -> list[list[str]]:
    """Rows for each protocol, as estimated and as measured; one that says so where neither was."""
    rows = []
    for name in protocols:
        own = [row for row in measured.get("costs") or [] if row["protocol"] == name]
        rows += [_cost_row(row) for row in own] or [[f"`{name}`", NOT_MEASURED, *[""] * 10]]
    return rows


def _cost_row(row: Mapping[str, Any]) -> list[str]:
    client, how = row.get("client_seconds"), "" if row.get("executed") else " (estimated)"
    return [
        f"`{row['protocol']}`",
        str(row["tokens"]),
        str(row["ring_degree"] or NONE),
        f"{row['modulus_bits']} of {row['modulus_limit']}" if row["ring_degree"] else NONE,
        str(row["levels"]),
        str(row["rounds"]),
        str(row["key_switches"]),
        *(_megabytes(row[name]) for name in ("key_bytes", "up_bytes", "down_bytes")),
        f"{row['server_seconds']:.2f} s{how}",
        NOT_MEASURED if client is None else f"{client:.2f} s{how}",
    ]


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def costs_note(measured: Mapping[str, Any]) -> str:
    """Where the costs come from, or how to get them."""
    tickets = "".join(map(_ticket_words, measured.get("costs") or []))
    if not measured.get("costs"):
        return (
            "`thex-hf card FOLDER` fills this table in: parameters and rounds follow from the "
            "plan, bytes and seconds from timing the primitives on the machine it runs on."
        )
    return (
        f"On {machine_words(measured)}. Parameters, rounds and key switches follow from the plan. "
        "Bytes are those of keys and ciphertexts made there. Estimated seconds are the "
        "primitives' times added up, for one thread; the others are means over texts that were "
        f"encrypted one at a time. Network time comes on top.{tickets}"
    )


def _ticket_words(row: Mapping[str, Any]) -> str:
    """What preparing a ticket costs, where a row of costs says so."""
    if "ticket_seconds" not in row:
        return ""
    crossing = row["ticket_up_bytes"] + row["ticket_down_bytes"]
    return (
        f" Under `{row['protocol']}` a ticket for {row['tokens']} tokens is prepared before, "
        f"{row['batch_tickets']} at a time: {row['ticket_seconds']:.2f} s (estimated), "
        f"{_megabytes(crossing)} of traffic, {_megabytes(row['ticket_disk_bytes'])} of disk each."
    )
