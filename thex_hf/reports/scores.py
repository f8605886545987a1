"""Scores for a card: the model in clear, simulated and encrypted, on the same texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thex_hf.ckks.parameters import MAX_MODULUS_BITS_128
from thex_hf.modeling.modeling_thex_bert import ThexBertClassifier

if TYPE_CHECKING:
    from thex_hf.evaluation.score import Scores

FIRST = "overall_f1"
"""The metric of a card where there are several and this is among them: that of tags."""


def score_rows(
    model: ThexBertClassifier,
    tokenizer: Any,
    data: Any,
    *,
    protocols: Sequence[str],
    fhe: Sequence[str],
    limit: int | None,
    **options: Any,
) -> Iterator[dict[str, Any]]:
    """Score a model in each mode and under each protocol; the clear model once.

    Args:
        model: converted.
        tokenizer: its tokenizer.
        data: what :func:`thex_hf.evaluation.reading.read` returned.
        protocols: names.
        fhe: modes.
        limit: score so many texts, spread evenly; all if None.
        **options: of the pipeline.

    Yields:
        Rows of ``scores`` in the measures of a card.

    Raises:
        BackendUnavailable: ``thex_hf[evaluate]`` is not installed.
        ThexError: as :func:`thex_hf.evaluation.score.evaluate_model` raises.
    """
    from thex_hf.evaluation.opening import open_pipeline
    from thex_hf.evaluation.score import evaluate_model

    for number, protocol in enumerate(protocols):
        pipe = open_pipeline(None, model, tokenizer, protocol=protocol, **options)
        for mode in fhe:
            if mode != "disable" or number == 0:
                found = evaluate_model(pipe, data, fhe=mode, limit=limit)
                yield as_row(found, mode, protocol)


def as_row(found: Scores, mode: str, protocol: str) -> dict[str, Any]:
    """A row of ``scores`` from what the evaluation found; one of the metrics is the card's."""
    metrics = found.to_json()["metrics"]
    clear = found.to_json()["clear_metrics"]
    name = FIRST if FIRST in metrics else next(iter(metrics))
    row = {
        "fhe": mode,
        "metric": name,
        "value": metrics[name],
        "metrics": metrics,
        "texts": found.texts,
    }
    if mode == "disable":
        return row
    row |= {
        "protocol": protocol,
        "clear_value": clear[name] if clear else None,
        "largest_logit_difference": found.max_logit_difference,
    }
    if found.agreement is not None:
        row["agreement"] = found.agreement
        row["agreement_of"] = "words" if found.kind == "tags" else "texts"
    return row | ({"costs": found.costs} if mode == "execute" else {})


def executed_costs(row: dict[str, Any]) -> dict[str, Any]:
    """A row of ``costs`` from a row of ``scores`` whose texts were encrypted: means over them."""
    spent = row["costs"]
    return {
        "protocol": row["protocol"],
        "tokens": f"{', '.join(spent['buckets'])} (mean of {row['texts']} texts)",
        "executed": True,
        "modulus_limit": MAX_MODULUS_BITS_128.get(spent["ring_degree"], 0),
        **{
            name: spent[name]
            for name in ("ring_degree", "modulus_bits", "levels", "rounds", "key_switches")
        },
        "key_bytes": spent["bytes"]["keys"],
        "up_bytes": spent["bytes"]["up"],
        "down_bytes": spent["bytes"]["down"],
        "server_seconds": spent["seconds"]["server"],
        "client_seconds": spent["seconds"]["client"],
    }


def texts_of(data: str | Path, split: str, available: int) -> dict[str, Any]:
    """What to call a data set in a card: a file by its name only, others as the Hub does."""
    name = str(data)
    if Path(name).suffix or Path(name).exists():
        return {"name": Path(name).name, "type": "custom", "available": available}
    owner, _, config = name.partition("/")
    known = owner in ("glue", "super_glue") and config
    found = {"name": owner, "type": owner, "config": config} if known else {"type": name}
    return {"name": name, **found, "split": split, "available": available}
