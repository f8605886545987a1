"""The command line: collects the subcommands and turns our errors into plain messages."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from thex_hf._shown import printable
from thex_hf.cli.classify import classify
from thex_hf.cli.convert import convert
from thex_hf.cli.estimate import estimate
from thex_hf.cli.evaluate import evaluate
from thex_hf.cli.folders import calibrate, card, client_half, endpoint_handler
from thex_hf.cli.listening import demo, serve
from thex_hf.cli.machine import backend, info
from thex_hf.cli.options import check_arguments, speak_plainly
from thex_hf.cli.plot import plot
from thex_hf.cli.prepare import prepare
from thex_hf.errors import ThexError

HEAVY = ("torch", "transformers")
"""Libraries that a thin client does not have."""

commands = typer.Typer(
    name="thex-hf",
    help="Classify encrypted text with Hugging Face models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # brackets, as in 'thex_hf[evaluate]', are shown as they are
)
commands.add_typer(backend, name="backend")
commands.command()(calibrate)
commands.command()(card)
commands.command()(classify)
commands.command()(client_half)
commands.command()(convert)
commands.command()(demo)
commands.command()(endpoint_handler)
commands.command()(estimate)
commands.command()(evaluate)
commands.command()(info)
commands.command()(plot)
commands.command()(prepare)
commands.command()(serve)


def _print_version(wanted: bool) -> None:
    if wanted:
        from thex_hf import __version__

        typer.echo(__version__)
        raise typer.Exit


@commands.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show version."),
    ] = False,
) -> None:
    """Classify encrypted text with Hugging Face models."""


def app() -> None:
    """Run the command; an error of ours ends with exit code 1 and one message."""
    speak_plainly(sys.stdout, sys.stderr)
    try:
        check_arguments(sys.argv[1:])
        commands()
    except (ThexError, OSError) as error:
        lines = "\n".join(map(printable, str(error).split("\n")))
        sys.stderr.write(f"thex-hf: {type(error).__name__}: {lines}\n")
        raise SystemExit(1) from None
    except ModuleNotFoundError as error:
        if error.name not in HEAVY:
            raise
        sys.stderr.write(
            f"thex-hf: {error.name} is not installed. With the client's half of a model and no "
            f"torch there is 'thex-hf classify --backend remote --url ... --model HALF'; all else "
            f"needs: pip install torch transformers\n"
        )
        raise SystemExit(1) from None


if __name__ == "__main__":
    app()
