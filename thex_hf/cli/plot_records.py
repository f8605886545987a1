"""What ``thex-hf plot`` draws: for each kind the records, and the function that draws them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from thex_hf._paths import user_path
from thex_hf.errors import InputError

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
    from thex_hf.circuits.dispatch import FORMS
    from thex_hf.pipelines.bundled import bundled_checkpoint

    form = FORMS[wanted.protocol] if wanted.protocol else "the-x"
    return wanted.models or [bundled_checkpoint(form)]


def _label(name: str) -> str:
    """A model's name without the folders before it."""
    return Path(name).resolve().name if Path(name).is_dir() else name


def _plan(wanted: Wanted) -> tuple[Plan, str]:
    """The plan of the model asked for, and the model's name."""
    from thex_hf.circuits.dispatch import plan_for
    from thex_hf.circuits.shape import bucket
    from thex_hf.modeling.opening import open_model
    from thex_hf.pipelines.options import choose_protocol
    from thex_hf.pipelines.run_options import RunOptions

    (name,) = _names(wanted)
    model = open_model(name)
    weights, config = model.float().encoder_weights(), model.config
    protocol = choose_protocol(wanted.protocol, config.form)
    RunOptions(protocol=protocol, ring=wanted.ring).check_engine()
    plan = plan_for(
        weights,
        bucket(wanted.tokens or 32),
        config.ranges,
        protocol=protocol,
        softmax=config.softmax,
        ring_degree=wanted.ring,
    )
    return plan, _label(name)


def _cost(wanted: Wanted) -> Drawn:
    from thex_hf.reports.plots.cost import draw_cost, read_cost

    return [read_cost(*_plan(wanted))], lambda found: draw_cost(found[0])


def _levels(wanted: Wanted) -> Drawn:
    from thex_hf.reports.plots.levels import draw_levels, read_levels

    return [read_levels(*_plan(wanted))], lambda found: draw_levels(found[0])


def _stages(wanted: Wanted) -> Drawn:
    from thex_hf.cli.loading import model_folder
    from thex_hf.reports.plots.stages import draw_stages, read_stages

    return [read_stages(model_folder(name)) for name in _names(wanted)], draw_stages


def _protocols(wanted: Wanted) -> Drawn:
    from thex_hf.circuits.shape import bucket
    from thex_hf.reports.plots.protocols import HOW, draw_protocols, read_protocols

    if wanted.data is None:
        raise InputError(f"give costs to draw with --data FILE. Make them with: {HOW}")
    sizes = wanted.tokens and (wanted.tokens, bucket(wanted.tokens))
    found = [
        cost
        for cost in read_protocols(_text(wanted.data), wanted.data)
        if wanted.protocol in (None, cost.protocol) and (not sizes or cost.tokens in sizes)
    ]
    if not found:
        raise InputError(f"{wanted.data} has no costs of that protocol and length")
    return found, draw_protocols


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
    from thex_hf.reports.plots import running
    from thex_hf.reports.plots.scores import draw_scores

    if wanted.data is None:
        raise InputError("give the texts to run: --data FILE, or a name such as glue/sst2")
    texts, limit = running.score_texts(wanted.data), wanted.limit or running.TEXTS
    names = _names(wanted)
    models = [open_model(name).float() for name in names]
    found = [
        running.measure_scores(
            model,
            open_tokenizer(name, model.config.vocab_size),
            texts,
            _label(name),
            limit=limit,
        )
        for name, model in zip(names, models, strict=True)
    ]
    if wanted.source is not None:
        before, tokenizer = running.open_source(wanted.source, models[0])
        good = running.intervals_of(models[0])
        own = running.measure_scores(
            before, tokenizer, texts, _label(wanted.source), limit=limit, intervals=good
        )
        found.insert(0, own)
    return found, draw_scores


READERS: dict[str, Callable[[Wanted], Drawn]] = {
    "cost": _cost,
    "levels": _levels,
    "stages": _stages,
    "protocols": _protocols,
    "scores": _scores,
}
"""By the names in :data:`thex_hf.reports.plots.KINDS`."""
