"""Write the model card of a THE-X checkpoint, and keep our part of it fresh.

A card is ``README.md``. What lies between :data:`BEGIN` and :data:`END` is ours and written anew at
every save; the rest is the user's and left alone, and so is a README without these marks. Its head
is what the Hub's search, filters and tables of results read.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from huggingface_hub import EvalResult
from huggingface_hub.repocard import metadata_load, metadata_save
from huggingface_hub.repocard_data import eval_results_to_model_index
from jinja2 import Environment, StrictUndefined

from thex_hf._shown import printable
from thex_hf.circuits.protocols import PROTOCOL_FACTS, protocols_of
from thex_hf.modeling.cards.facts import facts
from thex_hf.modeling.cards.measures import REPORT_NAME, model_digest, read_measures, read_record
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.tasks import hub_metric, task_of

TEMPLATE = Path(__file__).with_name("card_template.md")
README = "README.md"
BEGIN = "<!-- thex_hf: generated -->"
END = "<!-- thex_hf: end -->"
NOTE = "<!-- Written anew at every save. Your own text belongs outside these two marks. -->"
TAGS = ("thex", "fhe", "homomorphic-encryption")
SCHEMES = ("ckks", "bfv")
"""Tags of what encrypts: circuits run on CKKS, the tickets of ``prepared`` are made with BFV."""
MADE_BY = "thex_hf"
"""In ``args`` of every metric that is ours, so that a refresh replaces no one else's."""

WORDS = {"disable": "in clear", "simulate": "simulated", "execute": "encrypted"}
REPORTED = {"source", "metric", "converted", "train_texts", "dev_texts", "seed"}
"""Fields without which a dictionary is no conversion report."""

ACTING = "\\`*[]|~$"
"""What Markdown acts on inside a line, besides HTML; names have no need of it."""

_OURS = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
_TITLE = re.compile(r"^# (.+?)\s*$", re.MULTILINE)
_REPORTED = re.compile(r"<!-- conversion report of weights ([0-9a-f]+) -->")


def write_card(
    folder: Path,
    report: dict[str, Any] | None = None,
    *,
    measures: dict[str, Any] | None = None,
    title: str | None = None,
    notes: str = "",
    metadata: dict[str, Any] | None = None,
    tags: Sequence[str] = (),
) -> Path:
    """Write ``README.md`` into a checkpoint folder, or refresh the part of it that is ours.

    Args:
        folder: holds the checkpoint's ``config.json`` and weights.
        report: a conversion report as a dictionary; by default that of ``conversion.json``, as long
            as the weights are those it is about.
        measures: scores and costs, with the names in ``docs/model_cards.md``; by default those of
            ``measures.json``, if they are about these weights.
        title: heading, and the name to load the model by; by default the present card's, or the
            folder's name.
        notes: Markdown for the user's part of a new card; an existing card's is left alone.
        metadata: further fields for the head, such as ``license`` or ``datasets``; a field that
            the card has already is kept.
        tags: of a new card, besides ours.

    Returns:
        The path of ``README.md``; a file without our marks is left as it is.
    """
    path = folder / README
    old = _read(path)
    if old is not None and len(_OURS.findall(old)) != 1:
        return path
    report, digest = _report(folder, report, old)
    measures = read_measures(folder) if measures is None else measures
    if measures and "figures" in measures:  # a folder that was loaded and saved again has none
        there = [figure for figure in measures["figures"] if (folder / figure[0]).is_file()]
        measures = {**measures, "figures": there}
    config = ThexBertConfig(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
    part = _OURS.search(old or "")
    heading = _TITLE.search(part.group()) if part else None
    title = title or (plain(heading.group(1)) if heading else folder.resolve().name)
    words = facts(config, each_text(report, inline), each_text(measures, inline), title)
    body = _body(words, digest)
    if old is None or part is None:
        text = body + "\n" + (f"\n## Notes\n\n{notes}\n" if notes else "")
    else:
        text = old[: part.start()] + body + old[part.end() :]
    _write(path, text)
    head = read_head(path)
    if head is not None:  # else it is not YAML, and not ours to repair
        report, measures, title = (each_text(one, printable) for one in (report, measures, title))
        every = list(dict.fromkeys([*tags_of(config), *tags]))
        metadata = {"tags": every, **(metadata or {})}
        fresh = fresh_head(head, config, report, measures, title, metadata)
        if fresh != head:
            metadata_save(path, fresh)
    return path


def is_ours(folder: Path) -> bool:
    """Whether a folder's README has a part that :func:`write_card` writes anew."""
    text = _read(folder / README)
    return text is not None and len(_OURS.findall(text)) == 1


def _body(values: dict[str, Any], digest: str) -> str:
    """Our part, marks included. Nothing that is filled in acts as markup."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=False)
    filters = {
        "code": lambda name: f"`{name}`",
        "inline": inline,
        "literal": literal,
        "target": target,
    }
    environment.filters |= filters
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    text = template.render(**values).strip().replace("<!--", "&lt;!--")
    marks = [BEGIN, NOTE] + ([f"<!-- conversion report of weights {digest} -->"] if digest else [])
    return "\n".join([*marks, "", text, "", END])


def _report(
    folder: Path, given: dict[str, Any] | None, old: str | None
) -> tuple[dict[str, Any] | None, str]:
    """The report to show, and the digest of the weights that the last report was about.

    ``conversion.json`` does not say which weights it is about; the card remembers it.
    """
    stored = read_record(folder, REPORT_NAME) if given is None else given
    if stored is None or not stored.keys() >= REPORTED:
        return None, ""
    digest = model_digest(folder)
    remembered = _REPORTED.search(old or "")
    if given is None and remembered and remembered.group(1) != digest:
        return None, remembered.group(1)
    return stored, digest


def _read(path: Path) -> str | None:
    """The card as it is, line ends included; None where there is none."""
    if not path.exists():
        return None
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)


def inline(text: str) -> str:
    """The text on one line, as a reader is to see it, in prose, a heading, a table or code.

    What acts in Markdown or HTML is written as a character reference; :func:`plain` reads it back.
    """
    shown = html.escape(printable(text), quote=False)
    return "".join(f"&#{ord(char)};" if char in ACTING else char for char in shown)


def plain(text: str) -> str:
    """What :func:`inline` wrote, as it was but for the escapes of :func:`printable`."""
    return html.unescape(text)


def literal(text: str) -> str:
    """The text as a string of Python on one line of a code block."""
    quoted = json.dumps(printable(text), ensure_ascii=False)
    return "".join(f"\\u{ord(char):04x}" if char in "<>`" else char for char in quoted)


def target(path: str) -> str:
    """A path that went through :func:`inline`, as the target of a link."""
    return quote(plain(path))


def each_text(value: Any, change: Callable[[str], str]) -> Any:
    """JSON values with every text in them changed, names of fields included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {each_text(name, change): each_text(entry, change) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [each_text(entry, change) for entry in value]
    return value


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
        report: of its conversion.
        measures: scores; without any, the report's.
        title: name of the model in its results.
        metadata: further fields, used where ``head`` lacks them.
    """
    task = task_of(config)
    ours = {"library_name": "thex_hf", "pipeline_tag": task, **metadata}
    out = dict(head) | {name: ours[name] for name in sorted(ours) if name not in head}
    if "tags" in head:
        out["tags"] = _true_tags(head["tags"], tags_of(config))
    results = _others(head)
    name = head["model-index"][0].get("name", title) if results else title
    found = _results(config, report, measures, _dataset(out.get("datasets")))
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


def _dataset(datasets: Any) -> dict[str, Any]:
    """Name and type of the data set in a head; data of one's own if it does not say one."""
    names = [datasets] if isinstance(datasets, str) else list(datasets or [])
    if len(names) == 1:
        return {"dataset_type": names[0], "dataset_name": re.sub(r"^.*/", "", names[0])}
    return {"dataset_type": "custom", "dataset_name": "development texts"}


def _results(
    config: ThexBertConfig,
    report: Mapping[str, Any] | None,
    measures: Mapping[str, Any] | None,
    dataset: dict[str, Any],
) -> list[EvalResult]:
    """One entry a score that was measured, or the one of the conversion report."""
    scores = list((measures or {}).get("scores") or [])
    if scores:
        texts = dict((measures or {}).get("texts") or {})
        if texts.get("type"):
            named = ("config", "split")
            dataset = {
                "dataset_type": texts["type"],
                "dataset_name": texts.get("name") or texts["type"],
                **{f"dataset_{name}": texts[name] for name in named if texts.get(name)},
            }
        return [
            _result(config, {**row, "metric": name, "value": value}, dataset)
            for row in scores
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
    return [_result(config, row, dataset)]


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
