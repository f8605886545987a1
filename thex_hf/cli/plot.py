"""``thex-hf plot``: figures of what a model costs and what its conversion changed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from thex_hf._choices import one_of
from thex_hf._paths import user_path
from thex_hf.circuits.protocols import CIRCUITS, PROTOCOLS
from thex_hf.cli.options import Json, Protocol, Ring, check_data, listed, offer, show_json
from thex_hf.errors import InputError, OptionError

TAKES = {
    "cost": ("protocol", "tokens", "ring"),
    "levels": ("protocol", "tokens", "ring"),
    "stages": ("protocol",),
    "protocols": ("protocol", "tokens", "data"),
    "scores": ("protocol", "data", "source", "limit"),
    "norms": (),
}
"""Kinds of figures, and the options of each."""
SEVERAL = ("stages", "scores")
"""Kinds that compare models."""


def plot(
    kind: Annotated[str, typer.Argument(help=f"{listed(TAKES)}.", autocompletion=offer(*TAKES))],
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="Folder or Hub name; several for stages and scores; the bundled one if none.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write: .png, .svg, .pdf and others.")
    ] = None,
    protocol: Protocol = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=512,
            help="Text length. cost, levels: 32 if none, 128 at most. protocols: all if none.",
        ),
    ] = None,
    ring: Ring = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="scores: labelled texts (TSV, CSV, JSONL or a datasets name). protocols: output "
            "of estimate --json, or - for standard input."
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="scores: folder or Hub name of the model before conversion.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="scores: so many texts, spread evenly; 200 if none.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw a figure, or print the numbers behind it with --json.

    cost: operations by stage of the circuit. levels: how levels are used up, step by step. stages:
    score after each stage of a conversion. protocols: seconds and bytes. scores: attention scores
    by layer. norms: how near those of a normalised model come to dividing by the deviation. Needs
    matplotlib, which the extra plots brings.
    """
    one_of("kind", kind, TAKES)
    if protocol is not None:
        one_of("protocol", protocol, PROTOCOLS)
    wanted = Wanted(models or [], protocol, tokens, ring, data, source, limit)
    _refuse(kind, wanted)
    if out is None and not as_json:
        raise OptionError("name the file to draw into: --out FILE.png; or print numbers: --json")
    if kind == "scores":
        check_data(data)
    from thex_hf.reports.plots.canvas import check_place, save

    if out is not None:
        check_place(out)
    records, draw = READERS[kind](wanted)
    if out is not None:
        save(draw(records), out)
    if as_json:
        for record in records:
            show_json({"figure": kind, **record.to_json()})
    else:
        typer.echo(f"wrote {out}")


def _refuse(kind: str, wanted: Wanted) -> None:
    """Refuse what a kind has no use for.

    Raises:
        OptionError: names it.
    """
    every = {name for names in TAKES.values() for name in names}
    for name in sorted(every - set(TAKES[kind])):
        if getattr(wanted, name) is not None:
            raise OptionError(f"--{name} is not for {kind}, which takes {_flags(TAKES[kind])}")
    if kind == "protocols" and wanted.models:
        raise OptionError("protocols takes no model: what it draws comes from --data")
    if kind not in SEVERAL and len(wanted.models) > 1:
        raise OptionError(f"{kind} takes one model, got {len(wanted.models)}")


def _flags(names: tuple[str, ...]) -> str:
    return ", ".join(f"--{name}" for name in names) or "none of these options"


if TYPE_CHECKING:
    from thex_hf.circuits.plan import Plan

Drawn: TypeAlias = tuple[list[Any], Callable[[list[Any]], Any]]


@dataclass(frozen=True)
class Wanted:
    """The models and options of one figure."""

    models: list[str]
    protocol: str | None
    tokens: int | None
    ring: int | None
    data: str | None
    source: str | None
    limit: int | None


def _names(wanted: Wanted) -> list[str]:
    """The models named, or the bundled one of the form that the protocol needs."""
    from thex_hf.bundled import bundled_checkpoint
    from thex_hf.options import RunOptions

    form = RunOptions(protocol=wanted.protocol).bundled_form()
    return wanted.models or [bundled_checkpoint(form)]


def _label(name: str) -> str:
    """A model's name without the folders before it."""
    return Path(name).resolve().name if Path(name).is_dir() else name


def _plan(wanted: Wanted) -> tuple[Plan, str]:
    """The plan of the model asked for, and the model's name."""
    from thex_hf.circuits.dispatch import plan_for
    from thex_hf.circuits.shape import bucket
    from thex_hf.modeling.opening import open_model
    from thex_hf.options import RunOptions, choose_protocol

    (name,) = _names(wanted)
    model = open_model(name)
    weights, config = model.float().encoder_weights(), model.config
    protocol = choose_protocol(wanted.protocol, config.form)
    if protocol not in CIRCUITS:
        raise OptionError(
            f"protocol {protocol!r} runs no circuit on ciphertexts, so there are no levels and "
            f"stages to draw; take one of {', '.join(CIRCUITS)}"
        )
    options = RunOptions(protocol=protocol, ring=wanted.ring)
    options.check_engine()
    tokens = bucket(wanted.tokens or 32)
    return plan_for(weights, tokens, config.ranges, options.plan(config.softmax)), _label(name)


def _cost(wanted: Wanted) -> Drawn:
    from thex_hf.reports.plots.plan import draw_cost, read_cost

    return [read_cost(*_plan(wanted))], lambda costs: draw_cost(costs[0])


def _levels(wanted: Wanted) -> Drawn:
    from thex_hf.reports.plots.plan import draw_levels, read_levels

    return [read_levels(*_plan(wanted))], lambda levels: draw_levels(levels[0])


def _stages(wanted: Wanted) -> Drawn:
    from thex_hf.cli.options import model_folder
    from thex_hf.reports.plots.stages import draw_stages, read_stages

    return [read_stages(model_folder(name)) for name in _names(wanted)], draw_stages


def _protocols(wanted: Wanted) -> Drawn:
    from thex_hf.circuits.shape import bucket
    from thex_hf.reports.plots.protocols import HOW, draw_protocols, read_protocols

    if wanted.data is None:
        raise InputError(f"give costs to draw with --data FILE. Make them with: {HOW}")
    sizes = wanted.tokens and (wanted.tokens, bucket(wanted.tokens))
    costs = [
        cost
        for cost in read_protocols(_text(wanted.data), wanted.data)
        if wanted.protocol in (None, cost.protocol) and (not sizes or cost.tokens in sizes)
    ]
    if not costs:
        raise InputError(f"{wanted.data} has no costs of that protocol and length")
    return costs, draw_protocols


def _text(data: str) -> str:
    """A file's text, or that of standard input for ``-``."""
    try:
        return (
            sys.stdin.read() if data == "-" else user_path("data", data).read_text(encoding="utf-8")
        )
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{data} should be a file of costs, and cannot be read: {error}"
        ) from error


def _scores(wanted: Wanted) -> Drawn:
    from thex_hf.modeling.opening import open_model, open_tokenizer
    from thex_hf.reports.plots import scores

    if wanted.data is None:
        raise InputError("give the texts to run: --data FILE, or a name such as glue/sst2")
    texts, limit = scores.score_texts(wanted.data), wanted.limit or scores.TEXTS
    names = _names(wanted)
    models = [open_model(name).float() for name in names]
    found = [
        scores.measure_scores(
            model,
            open_tokenizer(name, model.config.vocab_size),
            texts,
            _label(name),
            limit=limit,
        )
        for name, model in zip(names, models, strict=True)
    ]
    if wanted.source is not None:
        before, tokenizer = scores.open_source(wanted.source, models[0])
        good = scores.intervals_of(models[0])
        own = scores.measure_scores(
            before, tokenizer, texts, _label(wanted.source), limit=limit, intervals=good
        )
        found.insert(0, own)
    return found, scores.draw_scores


def _norms(wanted: Wanted) -> Drawn:
    from thex_hf.modeling.opening import open_model
    from thex_hf.reports.plots.norms import draw_norms, read_norms

    (name,) = _names(wanted)
    return read_norms(open_model(name).float(), _label(name)), draw_norms


READERS: dict[str, Callable[[Wanted], Drawn]] = {
    "cost": _cost,
    "levels": _levels,
    "stages": _stages,
    "protocols": _protocols,
    "scores": _scores,
    "norms": _norms,
}
"""By the names in :data:`thex_hf.reports.plots.KINDS`."""
