"""Texts of others in messages of ours: a terminal or log must not obey them."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text on one line, with all that is not to be seen written as ``\x1b`` or ``\u202e``.

    That is control characters, line ends, marks of writing direction and others without width,
    and lone surrogates.
    """
    return "".join(own if own.isprintable() else _escaped(own) for own in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
