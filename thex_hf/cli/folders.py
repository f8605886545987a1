"""Commands on a model's folder: ``calibrate``, ``card``, ``client-half``, ``endpoint-handler``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from thex_hf._choices import FHE_MODES, one_of
from thex_hf.circuits.protocols import PROTOCOLS
from thex_hf.cli.options import (
    Json,
    Processes,
    Ring,
    check_choices,
    check_data,
    complete_fhe,
    listed,
    megabytes,
    offer,
    offer_backends,
    show_json,
)

PARTIAL = (
    "a score of some of the texts only is marked as partial in the card, and left out of its "
    "model-index, the results that the Hub shows: score all of them for that, without --limit"
)


def calibrate(
    model: Annotated[Path, typer.Argument(help="Folder of a THE-X model.")],
    data: Annotated[
        str,
        typer.Argument(
            help="Texts such as the model will get: TSV, CSV, JSONL, .txt with a text a line (also "
            ".gz), Parquet, or a datasets name."
        ),
    ],
    split: Annotated[str, typer.Option(help="Split of a named data set.")] = "train",
    limit: Annotated[int, typer.Option(min=1, help="At most so many texts, spread evenly.")] = 2048,
    as_json: Json = False,
) -> None:
    """Measure how large values inside MODEL get, and write that into its config.json.

    The encrypted circuit is sized by it. Needed after any training that follows the conversion.
    """
    check_data(data)
    from thex_hf.conversion.calibration import calibrate as run

    calibration = run(model, data, split=split, limit=limit)
    if as_json:
        show_json(calibration.to_json())
        return
    for number, entry in enumerate(calibration.ranges):
        sizes = ", ".join(f"{name} {size:.2f}" for name, size in entry.items())
        typer.echo(f"layer {number}: {sizes}")
    typer.echo(f"largest logit {calibration.logit:.2f}; {calibration.texts} texts")
    typer.echo(
        f"{calibration.beyond} of {calibration.strange} texts such as a word repeated gave values "
        "beyond twice that range"
    )
    typer.echo(f"wrote {model / 'config.json'}")


def card(
    model: Annotated[Path, typer.Argument(help="Folder of a THE-X model.")],
    data: Annotated[
        str | None,
        typer.Option(help="Labelled texts, as for evaluate. Costs only if none."),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of a named data set.")] = "validation",
    fhe: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Score in this mode: {listed(reversed(FHE_MODES))}; may be given again. "
            "disable and simulate if none.",
            autocompletion=complete_fhe,
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Score so many texts, spread evenly; all if none.")
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this protocol; may be given again. All that suit if none.",
            autocompletion=offer(*PROTOCOLS),
        ),
    ] = None,
    tokens: Annotated[
        int,
        typer.Option(
            min=1, max=512, help="Text length whose costs are estimated; over 128 for prepared."
        ),
    ] = 32,
    ring: Ring = None,
    processes: Processes = None,
    backend: Annotated[str, typer.Option(help="Engine.", autocompletion=offer_backends())] = "seal",
    figures: Annotated[
        bool, typer.Option("--figures", help="Draw stages, levels and costs too (extra plots).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the model card of MODEL with measured scores and costs.

    Figures go into measures.json and the part of README.md between our marks. What you wrote
    outside of it stays, and so does a README without the marks.
    """
    for mode in fhe or ():
        one_of("fhe", mode, FHE_MODES)
    check_data(data)
    for name in protocol or (None,):
        check_choices(backend, name, ring=ring, processes=processes)
    from thex_hf.modeling.cards.card import README, is_ours
    from thex_hf.modeling.cards.measures import is_partial
    from thex_hf.reports.card import make_card

    measures = make_card(
        model,
        data,
        split=split,
        fhe=fhe or ("disable", "simulate"),
        limit=limit,
        protocols=protocol,
        tokens=tokens,
        ring=ring,
        processes=processes,
        backend=backend,
        figures=figures,
    )
    written = is_ours(model)
    if any(is_partial(row, measures) for row in measures["scores"]):
        typer.echo(PARTIAL, err=True)
    if as_json:
        show_json({**measures, "card": str(model / README), "card_written": written})
        return
    _show_measures(measures)
    if written:
        typer.echo(f"wrote {model / README}")
    else:
        typer.echo(
            f"{model / README} has no marks of thex_hf and was left alone; the figures are in "
            f"measures.json"
        )


def _show_measures(measures: dict[str, Any]) -> None:
    from thex_hf.modeling.cards.checklist import counted

    for row in measures["scores"]:
        value = "undefined" if row["value"] is None else f"{row['value']:.4f}"
        where = f"{row['fhe']} {row.get('protocol', '')}".strip()
        typer.echo(f"{where}: {row['metric']} {value} on {counted(row, measures)} texts")
    for row in measures["costs"]:
        how = "measured" if row.get("executed") else "estimated"
        typer.echo(
            f"{row['protocol']}, {row['tokens']} tokens: {row['rounds']} rounds, server "
            f"{row['server_seconds']:.2f} s ({how}), keys {megabytes(row['key_bytes'])}, up "
            f"{megabytes(row['up_bytes'])}, down {megabytes(row['down_bytes'])}"
        )


def client_half(
    model: Annotated[str, typer.Argument(help="Folder or Hub name of a THE-X model.")],
    output: Annotated[Path, typer.Argument(help="New folder for the client's half.")],
    as_json: Json = False,
) -> None:
    """Write tokenizer, embedding tables and labels of MODEL into a folder for clients.

    The encoder's weights stay out, and the folder is read without torch.
    """
    from thex_hf.cli.options import model_folder
    from thex_hf.client.half import ClientHalf, is_half

    folder = model_folder(model)
    half = ClientHalf.open(folder)
    if find_spec("torch") and not is_half(folder):
        from thex_hf.modeling.opening import open_model

        open_model(folder).encoder_weights()  # refuses a model that no server would run
    place = half.save(output)
    size = sum(path.stat().st_size for path in place.iterdir())
    if as_json:
        show_json({"folder": str(place), "bytes": size, "labels": list(half.labels)})
        return
    typer.echo(f"wrote {place}: {megabytes(size)}, {len(half.labels)} labels")


def endpoint_handler(
    folder: Annotated[Path, typer.Argument(help="Folder of a converted model.")],
    requirement: Annotated[
        str | None,
        typer.Option(
            "--requirement",
            help="What the endpoint installs, such as 'thex_hf @ git+https://...'; by default this "
            "version or a later one, from a package index.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace handler.py and requirements.txt.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write handler.py and requirements.txt into FOLDER; push it, then make an endpoint of it."""
    from thex_hf import __version__
    from thex_hf.endpoint.endpoint import save_handler

    paths = save_handler(folder, __version__, requirement=requirement, overwrite=overwrite)
    if as_json:
        show_json({"files": [str(path) for path in paths]})
        return
    for path in paths:
        typer.echo(f"wrote {path}")
