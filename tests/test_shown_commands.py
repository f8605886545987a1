"""Every ``thex-hf`` command in README and docs is one that the command line takes.

Commands in blocks are parsed whole, without being run; of those inside a sentence, which may be
cut short, the subcommand and the names of the options are looked up.
"""

from __future__ import annotations

import re
import shlex

import pytest
import typer
from test_docs import PAGES, blocks, name

from thex_hf.cli.main import commands

TOP = typer.main.get_command(commands)
IN_BLOCK = re.compile(r"^(?:\$ )?(?:.*&& ?|[A-Z_]+=\S+ )?(?:\S*/)?thex-hf ([^>\n]+)", re.MULTILINE)
IN_TEXT = re.compile(r"`thex-hf\s+([^`]+)`")
FENCE = re.compile(r"^```.*?^```\s*?$", re.MULTILINE | re.DOTALL)


def shown(page):
    """Arguments of each command in the shell's blocks of a page."""
    for language, text, _, _ in blocks(page):
        if language in ("bash", "text"):
            joined = re.sub(r"\\\n\s*", "", text)
            yield from (shlex.split(found, comments=True) for found in IN_BLOCK.findall(joined))


def mentioned(page):
    """Words of each command inside a sentence."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    yield from (found.split() for found in IN_TEXT.findall(text))


def descend(words):
    """The subcommand that the first words name, and the words after them."""
    command, words = TOP, list(words)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        found = command.commands.get(words[0])
        assert found is not None, f"thex-hf has no {words[0]!r}"
        command, words = found, words[1:]
    return command, words


SHOWN = [(page, words) for page in PAGES for words in shown(page)]
MENTIONED = [(page, words) for page in PAGES for words in mentioned(page)]


def label(value):
    return name(value) if hasattr(value, "parts") else " ".join(value)


@pytest.mark.parametrize(("page", "words"), SHOWN, ids=label)
def test_a_shown_command_is_understood(page, words):
    command, rest = descend(words)
    command.make_context(command.name, rest)  # parses and does not invoke


@pytest.mark.parametrize(("page", "words"), MENTIONED, ids=label)
def test_options_of_a_mentioned_command_exist(page, words):
    command, rest = descend(words)
    known = {flag for parameter in command.params for flag in (*parameter.opts, "--help")}
    assert {word.rstrip(".,;") for word in rest if word.startswith("--")} <= known


def test_there_are_commands_to_check():
    """The patterns find what is there: nearly every page shows one."""
    assert len(SHOWN) >= 25
    assert len(MENTIONED) >= 15
    assert {"classify", "convert", "serve", "evaluate", "card"} <= {words[0] for _, words in SHOWN}


def test_a_misspelt_option_is_noticed():
    command, rest = descend(["classify", "--agrement", "a text"])
    with pytest.raises(Exception, match="No such option: --agrement"):
        command.make_context(command.name, rest)
