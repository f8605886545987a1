"""``thex-hf classify``: classify texts on ciphertexts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from thex_hf.cli.elsewhere import Token, Url, Verify, classify_with_half, server_of
from thex_hf.cli.output import Json, mebibytes, show_json
from thex_hf.errors import InputError


def classify(
    texts: Annotated[list[str], typer.Argument(help="Texts to classify.")],
    model: Annotated[
        str | None,
        typer.Option(help="Folder or Hub name of a THE-X model; the bundled one if none."),
    ] = None,
    backend: Annotated[
        str, typer.Option(help="Engine for --fhe execute; remote for a server elsewhere.")
    ] = "seal",
    url: Url = None,
    token: Token = None,
    verify: Verify = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="client-aided, refresh or one-shot; what suits the model if none."),
    ] = None,
    fhe: Annotated[str, typer.Option(help="execute, simulate or disable.")] = "execute",
    softmax: Annotated[
        str | None, typer.Option(help="estimate, exact or estimate-on-server; the model's if none.")
    ] = None,
    relu: Annotated[
        str, typer.Option(help="client, or server for the last layer's on backend concrete.")
    ] = "client",
    ring: Annotated[
        int | None, typer.Option(help="Ring degree N for refresh and one-shot.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(help="Processes of the server; all usable cores if none.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="Directory to keep keys in; in memory if none.")
    ] = None,
    agreement: Annotated[
        bool, typer.Option("--agreement", help="Compare with the clear model.")
    ] = False,
    truncation: Annotated[
        bool, typer.Option("--truncation", help="Cut long texts instead of refusing them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Classify TEXTS; by default the encoder runs on encrypted data."""
    from thex_hf.client.half import is_half

    server = server_of(backend, url, token, verify)
    show = _print_json if as_json else _show
    if not texts:
        raise InputError("give at least one text to classify")
    if server is not None and model is not None and is_half(model):
        refused = {
            "agreement": agreement,
            "truncation": truncation,
            f"fhe {fhe}": fhe != "execute",
            "protocol": protocol is not None,
        }
        classify_with_half(model, server, texts, keys=keys, refused=refused, show=show)
        return
    from transformers import pipeline

    from thex_hf.backends.registry import find_backend
    from thex_hf.encrypted.circuits import FORMS
    from thex_hf.modeling.opening import open_model, open_tokenizer
    from thex_hf.pipelines.bundled import bundled_checkpoint
    from thex_hf.pipelines.options import FHE_MODES, PROTOCOLS, choose_protocol, one_of

    one_of("fhe", fhe, FHE_MODES)
    form = FORMS[one_of("protocol", protocol, PROTOCOLS)] if protocol else "the-x"
    if server is None:
        find_backend(backend)
    elif not (model or protocol):
        form = server.form()
    name = model or bundled_checkpoint(form)
    loaded = open_model(name)
    if server is None:
        protocol = choose_protocol(protocol, loaded.config.form)
    classifier = pipeline(
        "thex-text-classification",
        model=loaded,
        tokenizer=open_tokenizer(name, loaded.config.vocab_size),
        backend=backend,
        protocol=protocol,
        keys=keys,
        softmax=softmax,
        relu=relu,
        ring=ring,
        processes=processes,
        **(server.options() if server else {}),
    )
    for text in texts:
        result = classifier(text, fhe=fhe, agreement=agreement, truncation=truncation)[0]
        show(text, {**result, **classifier.report.to_json()})


def _print_json(text: str, record: dict[str, Any]) -> None:
    show_json(record)


def _show(text: str, record: dict[str, Any]) -> None:
    seconds, sizes = record["seconds"], record["bytes"]
    spent = f", {record['levels']} levels, {record['key_switches']} key switches"
    typer.echo(f"{record['label']}  {record['score']:.4f}  {text}")
    typer.echo(
        f"  {record['fhe']} on {record['backend']}, {record['protocol']}: "
        f"{record['tokens']} tokens padded to {record['bucket']}, {record['rounds']} rounds"
        + (spent if record["key_switches"] else "")
    )
    typer.echo(
        f"  seconds: keys {seconds['keygen']:.2f} and encoding {seconds['prepare']:.2f} (once), "
        f"client {seconds['client']:.2f}, server {seconds['server']:.2f}"
    )
    typer.echo(
        f"  bytes: keys {mebibytes(sizes['keys'])} (once), up {mebibytes(sizes['up'])}, "
        f"down {mebibytes(sizes['down'])}"
    )
    if "agreement" in record:
        compared = record["agreement"]
        same = "same label" if compared["same_label"] else f"clear label {compared['label']}"
        typer.echo(
            f"  clear model: {same}, largest logit difference "
            f"{compared['largest_logit_difference']:.1e}"
        )
