"""The head of a model card: what the Hub's search, filters and tables of results read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult
from huggingface_hub.repocard import metadata_load
from huggingface_hub.repocard_data import eval_results_to_model_index

from thex_hf.circuits.protocols import PROTOCOL_FACTS, protocols_of
from thex_hf.modeling.cards.measures import is_partial
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.tasks import hub_metric, task_of

TAGS = ("thex", "fhe", "homomorphic-encryption")
SCHEMES = ("ckks", "bfv")
"""Tags of what encrypts: circuits run on CKKS, the tickets of ``prepared`` are made with BFV."""
MADE_BY = "thex_hf"
"""In ``args`` of every metric that is ours, so that a refresh replaces no one else's."""

LICENSE = ("license", "license_link", "license_name")
CARRIED = ("base_model", "datasets", "language", *LICENSE)
"""Fields that a report has of the source's card."""
PLACES = ("config", "split", "revision")
"""What is said of a data set besides its name and id."""
_ID = re.compile(r"(?:[\w-]+/)?[\w.-]+", re.ASCII)
"""What the Hub takes as the id of a data set in results."""

WORDS = {"disable": "in clear", "simulate": "simulated", "execute": "encrypted"}


def read_head(path: Path) -> dict[str, Any] | None:
    """The metadata of a card, empty where it has none; None where they cannot be read."""
    try:
        head: dict[str, Any] = metadata_load(path) or {}
        for model in head.get("model-index") or []:
            dict(model)["results"]  # a list of results under another form is not ours to edit
    except Exception:  # whatever the YAML reader makes of it
        return None
    return head


def fresh_head(
    head: Mapping[str, Any],
    config: ThexBertConfig,
    report: Mapping[str, Any] | None,
    measures: Mapping[str, Any] | None,
    title: str,
    metadata: Mapping[str, Any],
) -> dict[str, Any]:
    """The metadata with our fields filled in and our results replaced.

    Args:
        head: as they are now; fields that stand there stay, but for our own results and, beside
            our other tags, those of the scheme.
        config: of the model.
        report: of its conversion; it has the fields of the source's card.
        measures: scores; without any of all texts, the report's.
        title: name of the model in its results.
        metadata: further fields, used where ``head`` lacks them.
    """
    task = task_of(config)
    ours = {"library_name": "thex_hf", "pipeline_tag": task, **_carried(report), **metadata}
    if "license" in head or "license" in metadata:  # the source's does not explain that one
        ours = {name: ours[name] for name in ours if name not in LICENSE or name in metadata}
    out = dict(head) | {name: ours[name] for name in sorted(ours) if name not in head}
    if "tags" in head:
        out["tags"] = _true_tags(head["tags"], tags_of(config))
    results = _others(head)
    name = head["model-index"][0].get("name", title) if results else title
    known = record_in(report, "dev_data") or _of_older_report(out.get("datasets"))
    found = _results(config, report, measures, known)
    if found:
        results += eval_results_to_model_index(title, found)[0]["results"]
    out.pop("model-index", None)
    if results:
        out["model-index"] = [{"name": name, "results": results}]
    return out


def tags_of(config: ThexBertConfig) -> list[str]:
    """Our tags for a model: which schemes are among them depends on what runs its form."""
    facts = [PROTOCOL_FACTS[name] for name in protocols_of(config.form)]
    return [*TAGS, *dict.fromkeys("ckks" if fact.circuit else "bfv" for fact in facts)]


def record_in(report: Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    """A record inside of a report; an empty one where there is none."""
    found = (report or {}).get(name)
    return found if isinstance(found, Mapping) else {}


def _carried(report: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields of the source's card that a report has."""
    card = record_in(report, "card")
    return {name: card[name] for name in CARRIED if card.get(name)}


def _true_tags(tags: Any, ours: Sequence[str]) -> Any:
    """The tags of a card, the schemes among ours made true; those of one's own as they are."""
    if not isinstance(tags, list) or not all(tag in tags for tag in TAGS):
        return tags
    said = [tag for tag in tags if tag in SCHEMES]
    true = [tag for tag in ours if tag in SCHEMES]
    if not said or sorted(said) == sorted(true):
        return tags
    return [tag for tag in tags if tag not in SCHEMES] + true


def _others(head: Mapping[str, Any]) -> list[Any]:
    """The results in a head that we did not write."""
    kept = []
    for entry in [row for model in head.get("model-index") or [] for row in model["results"]]:
        all_of = entry.get("metrics") or []
        metrics = [metric for metric in all_of if not _ours(metric)]
        if metrics or not all_of:
            kept.append({**entry, "metrics": metrics})
    return kept


def _ours(metric: Mapping[str, Any]) -> bool:
    arguments = metric.get("args")
    return isinstance(arguments, Mapping) and arguments.get("made_by") == MADE_BY


def _data_set(known: Mapping[str, Any]) -> dict[str, Any]:
    """The data set of a result, from ``texts`` of the measures or ``dev_data`` of the report.

    Its type is an id on the Hub, or ``custom`` for texts that are not there: the Hub refuses a
    card without one, and what has not the form of an id.
    """
    kind = str(known.get("type") or "custom")
    return {
        "dataset_type": kind if _ID.fullmatch(kind) else "custom",
        "dataset_name": known.get("name") or kind,
        **{f"dataset_{name}": known[name] for name in PLACES if known.get(name)},
    }


def _of_older_report(datasets: Any) -> dict[str, Any]:
    """The data set of a report that does not say one: the only one in the head, if there is one."""
    names = [datasets] if isinstance(datasets, str) else list(datasets or [])
    if len(names) == 1:
        return {"type": names[0], "name": re.sub(r"^.*/", "", str(names[0]))}
    return {"type": "custom", "name": "development texts"}


def _results(
    config: ThexBertConfig,
    report: Mapping[str, Any] | None,
    measures: Mapping[str, Any] | None,
    known: Mapping[str, Any],
) -> list[EvalResult]:
    """One entry a score of all texts that were given, or the one of the conversion report.

    A score of a part of the texts is none: a table of results would show it as if it were one of
    all of them.
    """
    measured = measures or {}
    whole = [row for row in measured.get("scores") or [] if not is_partial(row, measured)]
    if whole:
        dataset = _data_set(measured["texts"])
        return [
            _result(config, {**row, "metric": name, "value": value}, dataset)
            for row in whole
            for name, value in (row.get("metrics") or {row["metric"]: row["value"]}).items()
            if value is not None
        ]
    if not report or report.get("converted") is None:
        return []
    row = {
        "metric": report["metric"],
        "value": report["converted"] / 100,
        "fhe": "disable",
        "texts": report["dev_texts"],
    }
    return [_result(config, row, _data_set(known))]


def _result(config: ThexBertConfig, row: Mapping[str, Any], dataset: dict[str, Any]) -> EvalResult:
    kind = WORDS[row["fhe"]]
    protocol = row.get("protocol")
    arguments = {"made_by": MADE_BY, "fhe": row["fhe"], "texts": row.get("texts")}
    return EvalResult(
        task_type=task_of(config),
        metric_type=hub_metric(row["metric"]),
        metric_name=f"{row['metric']}, {kind}" + (f" ({protocol})" if protocol else ""),
        metric_value=round(float(row["value"]), 4),
        metric_args={**arguments, **({"protocol": protocol} if protocol else {})},
        **dataset,
    )
