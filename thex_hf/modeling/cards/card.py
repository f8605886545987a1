"""Write the model card of a THE-X checkpoint, and keep our part of it fresh.

A card is ``README.md``. What lies between :data:`BEGIN` and :data:`END` is ours and written anew at
every save; the rest is the user's and left alone, and so is a README without these marks. Its head
is the subject of :mod:`thex_hf.modeling.cards.head`.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from huggingface_hub.repocard import metadata_save
from jinja2 import Environment, StrictUndefined

from thex_hf._shown import printable
from thex_hf.modeling.cards.facts import facts
from thex_hf.modeling.cards.head import fresh_head, read_head, tags_of
from thex_hf.modeling.cards.measures import REPORT_NAME, model_digest, read_measures, read_record
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig

TEMPLATE = Path(__file__).with_name("card_template.md")
README = "README.md"
BEGIN = "<!-- thex_hf: generated -->"
END = "<!-- thex_hf: end -->"
NOTE = "<!-- Written anew at every save. Your own text belongs outside these two marks. -->"
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
    earlier: Mapping[str, Any] | None = None,
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
        earlier: fields of the head that are another source's; they go where they stand unchanged.

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
        past = each_text(earlier or {}, printable)
        kept = {name: value for name, value in head.items() if past.get(name) != value}
        fresh = fresh_head(kept, config, report, measures, title, metadata)
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
