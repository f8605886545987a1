"""The tables of a model card: scores in clear, simulated and encrypted, and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thex_hf.modeling.cards.checklist import NOT_MEASURED, machine_words

ARITHMETIC = {"disable": "clear", "simulate": "simulated", "execute": "encrypted"}
NONE = "none"


def score_rows(
    scores: Sequence[Mapping[str, Any]],
    protocols: Sequence[str],
    report: Mapping[str, Any] | None,
    metric: str,
) -> list[list[str]]:
    """One row for the clear model, and two a protocol; nothing is left out silently."""
    found = {(row["fhe"], row.get("protocol")): row for row in scores}
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
    texts = row.get("texts")
    difference = row.get("largest_logit_difference")
    return [
        *start,
        str(texts),
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


def texts_words(texts: Mapping[str, Any] | None) -> str:
    """Which texts were scored; empty if none."""
    if not texts:
        return ""
    name = " ".join(str(texts[key]) for key in ("name", "config", "split") if texts.get(key))
    return f"{name}, {texts['available']} in all; where fewer were scored, spread evenly over them"


def cost_rows(measured: Mapping[str, Any], protocols: Sequence[str]) -> list[list[str]]:
    """Rows for each protocol, as estimated and as measured; one that says so where neither was."""
    rows = []
    for name in protocols:
        own = [row for row in measured.get("costs") or [] if row["protocol"] == name]
        rows += [_cost_row(row) for row in own] or [[f"`{name}`", NOT_MEASURED, *[""] * 10]]
    return rows


def _cost_row(row: Mapping[str, Any]) -> list[str]:
    client = row.get("client_seconds")
    return [
        f"`{row['protocol']}`",
        str(row["tokens"]),
        str(row["ring_degree"] or NONE),
        f"{row['modulus_bits']} of {row['modulus_limit']}" if row["ring_degree"] else NONE,
        str(row["levels"]),
        str(row["rounds"]),
        str(row["key_switches"]),
        *(_megabytes(row[name]) for name in ("key_bytes", "up_bytes", "down_bytes")),
        f"{row['server_seconds']:.2f} s" + ("" if row.get("executed") else " (estimated)"),
        NOT_MEASURED if client is None else f"{client:.2f} s",
    ]


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def costs_note(measured: Mapping[str, Any]) -> str:
    """Where the costs come from, or how to get them."""
    if not measured.get("costs"):
        return (
            "`thex-hf card FOLDER` fills this table in: parameters and rounds follow from the "
            "plan, bytes and seconds from timing the primitives on the machine it runs on."
        )
    return (
        f"On {machine_words(measured)}. Parameters, rounds and key switches follow from the plan. "
        "Bytes are those of keys and ciphertexts made there. Estimated seconds are the "
        "primitives' times added up, for one thread; the others are means over texts that were "
        "encrypted one at a time. Network time comes on top."
    )
