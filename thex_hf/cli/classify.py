"""``thex-hf classify``: classify texts on ciphertexts."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from thex_hf._choices import FHE_MODES, one_of
from thex_hf._shown import printable
from thex_hf.circuits.protocols import PROTOCOLS
from thex_hf.cli.elsewhere import Token, Url, Verify, classify_with_half, half_facts, server_of
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
    complete_fhe,
    complete_on_error,
    given_windows,
    listed,
    megabytes,
    show_json,
)
from thex_hf.cli.outputs import Output, watched
from thex_hf.cli.texts import Found, Text, read_texts
from thex_hf.errors import OptionError, TextError
from thex_hf.tasks import TEXT


def classify(
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts to classify; - alone reads standard input, one text a line."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            "-f",
            help="Texts to classify: .txt, one a line; or .tsv, .csv, .jsonl (also .gz) or "
            ".parquet with a column text and perhaps text_pair.",
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Texts to classify: a datasets name or folder, or a file.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of a named data set.")] = "validation",
    column: Annotated[
        list[str] | None,
        typer.Option(help="Column of the texts, text if none; again: of second texts of pairs."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write answers to a .jsonl, .csv or .parquet file; the same command goes on where "
            "it was interrupted.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Folder or Hub name of a THE-X model; the bundled one if none."),
    ] = None,
    backend: Backend = "seal",
    url: Url = None,
    token: Token = None,
    verify: Verify = None,
    protocol: Protocol = None,
    fhe: Annotated[
        str, typer.Option(help=f"{listed(FHE_MODES)}.", autocompletion=complete_fhe)
    ] = "execute",
    softmax: Softmax = None,
    relu: Relu = "client",
    ring: Ring = None,
    flood: Flood = None,
    processes: Processes = None,
    weights_memory: WeightsMemory = None,
    keys: Keys = None,
    agreement: Annotated[
        bool, typer.Option("--agreement", help="Compare with the clear model.")
    ] = False,
    truncation: Annotated[
        bool, typer.Option("--truncation", help="Cut long texts instead of refusing them.")
    ] = False,
    window: Window = None,
    stride: Stride = None,
    pool: Pool = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="The scores of so many labels; of the best if none.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Texts at once: more are faster; 1 if none.")
    ] = None,
    on_error: Annotated[
        str,
        typer.Option(
            help="raise, or skip texts that cannot be classified and go on.",
            autocompletion=complete_on_error,
        ),
    ] = "raise",
    as_json: Json = False,
) -> None:
    """Classify TEXTS; by default the encoder runs on encrypted data."""
    if on_error not in ("raise", "skip"):
        raise OptionError(f"--on-error must be raise or skip, got {on_error!r}")
    skip = on_error == "skip"
    windows = given_windows(window, stride, pool)
    server = server_of(backend, url, token, verify)
    wanted = read_texts(texts or [], file, data=data, split=split, columns=column or (), skip=skip)
    several = top_k is not None
    out = Output.of(output, wanted, scores=several, agreement=agreement) if output else None
    if server is not None and model is not None and _is_half(model):
        refused = {
            "agreement": agreement,
            "truncation": truncation,
            f"fhe {fhe}": fhe != "execute",
            "softmax": softmax is not None,
            "relu": relu != "client",
            "ring": ring is not None,
            "flood": flood is not None,
            "processes": processes is not None,
            "weights-memory": weights_memory is not None,
            "top-k": several,
            "batch-size": batch_size is not None,
        }
        if out is not None:
            mark, facts = half_facts(model, protocol)
            wanted = out.begin(mark, {**facts, **windows})
        answers = classify_with_half(
            model, server, _able(wanted), keys=keys, protocol=protocol, refused=refused, skip=skip,
            windows=windows,
        )  # fmt: skip
        _give(wanted, answers, as_json, out)
        return
    one_of("fhe", fhe, FHE_MODES)
    _refuse_unused(
        fhe,
        keys=keys,
        processes=processes,
        weights_memory=weights_memory if fhe == "disable" else None,
        ring=ring if fhe == "disable" else None,
        flood=flood if fhe == "disable" else None,
    )
    if protocol is not None:
        one_of("protocol", protocol, PROTOCOLS)
    if server is None:
        check_choices(
            backend, protocol, softmax=softmax, relu=relu, ring=ring, flood=flood, keys=keys,
            processes=processes, weights_memory=weights_memory,
        )  # fmt: skip
    from transformers import pipeline

    from thex_hf.bundled import bundled_checkpoint
    from thex_hf.modeling.opening import open_model, open_tokenizer
    from thex_hf.options import RunOptions, choose_protocol

    asked = RunOptions(backend, protocol, softmax=softmax, relu=relu)
    name = model or bundled_checkpoint(
        server.form() if server and not protocol else asked.bundled_form()
    )
    loaded = open_model(name)
    if server is None:
        protocol = choose_protocol(protocol, loaded.config.form)
    classifier = pipeline(
        (TEXT if loaded.every_token else loaded.task).pipeline,
        model=loaded,
        tokenizer=open_tokenizer(name, loaded.config.vocab_size),
        backend=backend,
        protocol=protocol,
        keys=keys,
        softmax=softmax,
        relu=relu,
        ring=ring,
        flood=flood,
        processes=processes,
        weights_memory=weights_memory,
        **(server.options() if server else {}),
    )
    options = {"fhe": fhe, "agreement": agreement, "truncation": truncation, "on_error": on_error}
    options |= windows
    options |= {"top_k": top_k} if several else {}
    options |= {"batch_size": batch_size} if batch_size else {}
    if out is not None:
        wanted = out.begin(
            _mark(classifier),
            {
                **options,
                "backend": backend,
                "protocol": classifier.protocol,
                "softmax": softmax,
                "relu": relu,
                "ring": ring,
                "flood": flood,
            },
        )
    _give(wanted, _classify(classifier, _able(wanted), options), as_json, out)


def _is_half(model: str) -> bool:
    from thex_hf.client.half import is_half

    return is_half(model)


def _refuse_unused(fhe: str, **options: Any) -> None:
    """Refuse what is for ciphertexts only where there will be none."""
    for name, value in options.items():
        if fhe != "execute" and value is not None:
            raise OptionError(
                f"--{name.replace('_', '-')} has no use with --fhe {fhe}: leave it out"
            )


def _classify(classifier: Any, texts: Sequence[Text], options: dict[str, Any]) -> Iterator[Found]:
    """Records of texts as they are classified; all are checked before the first."""
    given = [text.given for text in texts]
    for row, error in classifier.check(given, **options).items():
        if options["on_error"] == "raise":
            raise texts[row - 1].refused(error)
    answers = classifier(iter(given), **{**options, "on_error": "skip"})
    for index, result in enumerate(answers):
        report = answers.reports[index]
        if isinstance(result, list):  # of several labels, the best one first
            result = {**result[0], "scores": result}
        if result is not None:
            yield {**result, **report.to_json()}
        elif options["on_error"] == "raise":
            raise texts[index].refused(TextError(report.error))
        else:
            yield TextError(report.error)


def _mark(classifier: Any) -> str:
    """What tells a model and its tokenizer from others that answer otherwise."""
    from thex_hf.conversion.digests import json_digest, tokenizer_digest
    from thex_hf.modeling.export import weights_digest

    model, config = classifier.model, classifier.model.config
    labels = [[int(key), name] for key, name in sorted(config.id2label.items())]
    return json_digest(
        [
            weights_digest(model, config),
            tokenizer_digest(classifier.tokenizer),
            labels,
            config.problem_type,
        ]
    )


def _able(texts: Sequence[Text]) -> list[Text]:
    """Those that could be read."""
    return [text for text in texts if text.fault is None]


def _give(
    texts: Sequence[Text], answers: Iterator[Found], as_json: bool, out: Output | None
) -> None:
    """Print the answers to texts that could be read, or write them to a file, and the faults."""
    records = (next(answers) if text.fault is None else text.fault for text in texts)
    if out is None and sys.stdout.isatty():  # it shows them as they come
        _print(texts, records, as_json)
        return
    if out is None:
        with closing(watched(records, len(texts))) as counted:
            _print(texts, counted, as_json)
        return
    out.write(records)
    counts = {"texts": len(out.texts), "before": out.before, "skipped": out.skipped}
    if as_json:
        show_json({"output": str(out.path), **counts})
        return
    before = f", {out.before} of them before" if out.before else ""
    typer.echo(f"wrote {out.path}: {counts['texts']} texts{before}")
    if out.skipped:
        typer.echo(f"{out.skipped} texts were not classified", err=True)


def _print(texts: Sequence[Text], records: Iterable[Found], as_json: bool) -> None:
    """Print each record as it comes, and how many texts were skipped."""
    skipped = 0
    for text, record in zip(texts, records, strict=True):
        if isinstance(record, TextError):
            skipped += 1
            if as_json:
                show_json({"error": str(record), "row": text.row})
            else:
                typer.echo(f"not classified: {text.refused(record)}")
        elif as_json:
            show_json(record)
        else:
            _show(str(text.text) if text.pair is None else f"{text.text} | {text.pair}", record)
    if skipped:
        typer.echo(f"{skipped} of {len(texts)} texts were not classified", err=True)


def _padded(record: Mapping[str, Any]) -> str:
    """To which lengths the text was padded, or how many of its windows to each."""
    windows = record.get("windows", ())
    if len(windows) < 2:
        return f"padded to {record['bucket']}"
    counts = Counter(window["bucket"] for window in windows)
    buckets = ", ".join(f"{bucket} ({count})" for bucket, count in counts.items())
    return f"in {len(windows)} windows padded to {buckets}"


def _show(text: str, record: Mapping[str, Any]) -> None:
    seconds, sizes = record["seconds"], record["bytes"]
    spent = f", {record['levels']} levels, {record['key_switches']} key switches"
    typer.echo(f"{printable(record['label'])}  {record['score']:.4f}  {text}")
    if "scores" in record:
        scores = (f"{printable(x['label'])} {x['score']:.4f}" for x in record["scores"])
        typer.echo(f"  {', '.join(scores)}")
    typer.echo(
        f"  {record['fhe']} on {record['backend']}, {record['protocol']}: "
        f"{record['tokens']} tokens {_padded(record)}, {record['rounds']} rounds"
        + (spent if record["key_switches"] else "")
    )
    once = "tickets" if "tickets" in record else "encoding"
    typer.echo(
        f"  seconds: keys {seconds['keygen']:.2f} and {once} {seconds['prepare']:.2f} (once), "
        f"client {seconds['client']:.2f}, server {seconds['server']:.2f}"
    )
    typer.echo(
        f"  bytes: keys {megabytes(sizes['keys'])} (once), up {megabytes(sizes['up'])}, "
        f"down {megabytes(sizes['down'])}"
    )
    if "tickets" in record:
        typer.echo(
            f"  its ticket, before: up {megabytes(sizes['prepare_up'])}, down "
            f"{megabytes(sizes['prepare_down'])}; {record['tickets']} tickets left"
            + (f"; {record['wraps']} more spent, since a number wrapped" if record["wraps"] else "")
        )
    if "agreement" in record:
        compared = record["agreement"]
        same = "same label" if compared["same_label"] else f"clear label {compared['label']}"
        typer.echo(
            f"  clear model: {same}, largest logit difference "
            f"{compared['largest_logit_difference']:.1e}"
        )
