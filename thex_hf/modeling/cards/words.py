"""Words of others in a card: names, sources and measures, none of which may act as markup."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from thex_hf._shown import printable

ACTING = "\\`*[]|~$"
"""What Markdown acts on inside a line, besides HTML; names have no need of it."""


def inline(text: str) -> str:
    """The text on one line, as a reader is to see it, in prose, a heading, a table or code.

    What acts in Markdown or HTML is written as a character reference; :func:`plain` reads it back.
    """
    shown = html.escape(printable(text), quote=False)
    return "".join(f"&#{ord(own)};" if own in ACTING else own for own in shown)


def plain(text: str) -> str:
    """What :func:`inline` wrote, as it was but for the escapes of :func:`printable`."""
    return html.unescape(text)


def literal(text: str) -> str:
    """The text as a string of Python on one line of a code block."""
    quoted = json.dumps(printable(text), ensure_ascii=False)
    return "".join(f"\\u{ord(own):04x}" if own in "<>`" else own for own in quoted)


def target(path: str) -> str:
    """A path that went through :func:`inline`, as the target of a link."""
    return quote(plain(path))


def each_text(value: Any, change: Callable[[str], str]) -> Any:
    """JSON values with every text in them changed, names of fields included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {each_text(name, change): each_text(own, change) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [each_text(own, change) for own in value]
    return value
