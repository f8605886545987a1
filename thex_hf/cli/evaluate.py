"""``thex-hf evaluate``: score a model on labelled texts, in clear, simulated or encrypted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from thex_hf._choices import FHE_MODES, check_on_error, one_of
from thex_hf.cli.elsewhere import Token, Url, Verify, server_of
from thex_hf.cli.options import (
    Backend,
    Flood,
    Json,
    Keys,
    Pool,
    Processes,
    Protocol,
    Relu,
    Ring,
    Softmax,
    Stride,
    WeightsMemory,
    Window,
    check_choices,
    check_data,
    complete_fhe,
    complete_on_error,
    given_windows,
    listed,
    megabytes,
    show_json,
)
from thex_hf.errors import InputError

if TYPE_CHECKING:
    from thex_hf.evaluation.score import Scores


def evaluate(
    model: Annotated[
        str | None,
        typer.Argument(help="Folder or Hub name of a THE-X model; the bundled one if none."),
    ] = None,
    data: Annotated[
        str,
        typer.Option(help="Labelled texts: TSV, CSV, JSONL (.gz), Parquet; a datasets name."),
    ] = "",
    split: Annotated[str, typer.Option(help="Split of a named data set.")] = "validation",
    fhe: Annotated[
        str, typer.Option(help=f"{listed(reversed(FHE_MODES))}.", autocompletion=complete_fhe)
    ] = "simulate",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only so many texts, spread evenly; all if none.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Metric or GLUE task; may be given again; what suits the model if none."),
    ] = None,
    protocol: Protocol = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Texts at once: more are faster.")
    ] = None,
    processes: Processes = None,
    weights_memory: WeightsMemory = None,
    keys: Keys = None,
    backend: Backend = "seal",
    url: Url = None,
    token: Token = None,
    verify: Verify = None,
    softmax: Softmax = None,
    relu: Relu = "client",
    ring: Ring = None,
    flood: Flood = None,
    window: Window = None,
    stride: Stride = None,
    pool: Pool = None,
    on_error: Annotated[
        str,
        typer.Option(
            help="A text that is missing or cannot be served: raise, or skip the row.",
            autocompletion=complete_on_error,
        ),
    ] = "raise",
    as_json: Json = False,
) -> None:
    """Score MODEL on labelled texts, and compare it with itself in clear.

    Needs the extra: pip install 'thex_hf[evaluate]'.
    """
    if not data:
        raise InputError("give the labelled texts: --data FILE, or a name such as glue/sst2")
    server = server_of(backend, url, token, verify)
    one_of("fhe", fhe, FHE_MODES)
    check_on_error(on_error)
    windows = given_windows(window, stride, pool)
    check_data(data)
    if server is None:
        check_choices(
            backend, protocol, softmax=softmax, relu=relu, ring=ring, flood=flood, keys=keys,
            processes=processes, weights_memory=weights_memory,
        )  # fmt: skip
    from thex_hf.evaluation.score import evaluate_model

    scores = evaluate_model(
        model,
        data,
        split=split,
        fhe=fhe,
        limit=limit,
        metrics=metric,
        batch_size=batch_size,
        protocol=protocol,
        processes=processes,
        weights_memory=weights_memory,
        keys=keys,
        backend=backend,
        softmax=softmax,
        relu=relu,
        ring=ring,
        flood=flood,
        on_error=on_error,
        **windows,
        **(server.options() if server else {}),
    )
    if as_json:
        show_json({**scores.to_json(), "data": data})
    else:
        _show(scores)


def _show(scores: Scores) -> None:
    costs = scores.costs
    texts = f"{scores.texts} of {scores.texts_in_data} texts"
    cut = f", {scores.cut} cut to 128 tokens" if scores.cut else ""
    cut += f" in {costs['windows']} windows" if "windows" in costs else ""
    typer.echo(f"{scores.model}: {texts}{cut}, {costs['fhe']}, {costs['protocol']}")
    heads = [costs["fhe"]] + (["in clear"] if scores.clear_metrics is not None else [])
    for skipped in scores.skipped:
        typer.echo(f"left out: {skipped}")
    typer.echo(f"{'':26}" + "".join(f"{head:>10}" for head in heads) + "   95 % interval")
    for name, value in scores.metrics.items():
        row = [value] if scores.clear_metrics is None else [value, scores.clear_metrics[name]]
        _row(name, row, scores.intervals.get(name))
    for kind, figures in scores.entities.items():
        _row(f"f1 of {kind} ({figures['number']})", [figures["f1"]], None)
    if scores.agreement is not None:
        _row(
            "agreement with clear",
            [scores.agreement],
            scores.intervals.get("agreement"),
            len(heads),
        )
    if scores.max_logit_difference is not None:
        typer.echo(f"{'largest logit difference':26}{scores.max_logit_difference:>10.1e}")
    _show_costs(scores)


def _row(
    name: str, values: list[float], interval: tuple[float, float] | None, columns: int = 0
) -> None:
    cells = "".join(f"{value:>10.4f}" for value in values)
    blank = " " * 10 * max(0, columns - len(values))
    ends = f"   {interval[0]:.4f} to {interval[1]:.4f}" if interval else ""
    typer.echo(f"{name:26}{cells}{blank}{ends}")


def _show_costs(scores: Scores) -> None:
    speed, seconds, sizes = scores.speed, scores.costs["seconds"], scores.costs["bytes"]
    typer.echo(
        f"seconds: {speed['total_time_in_seconds']:.1f} in all, of these once: keys "
        f"{seconds['keygen']:.1f}, encoding {seconds['prepare']:.1f}; a text: client "
        f"{seconds['client']:.3f}, server {seconds['server']:.3f}"
    )
    if scores.costs["fhe"] == "execute":
        typer.echo(
            f"bytes: keys {megabytes(sizes['keys'])} (once); a text: up {megabytes(sizes['up'])}, "
            f"down {megabytes(sizes['down'])}, {scores.costs['rounds']} rounds"
        )
    if scores.costs.get("wraps"):
        typer.echo(
            f"wrapped around: {scores.costs['wraps']} times, each of which spent another ticket"
        )
    machine = scores.machine
    typer.echo(
        f"on {machine['processor']}, {machine['cores']} cores, load {machine['load_average']}"
    )
