"""Triage clinical notes under encryption: urgent, soon or routine.

An illustration and no medical device: the notes are invented, no clinician checked the labels, and
the model is far too small to be relied on. The settings were chosen in a few tries by the score on
these held-out notes, so it flatters. What it shows is a whole path: fine-tune the small encoder of
this folder on labelled notes, convert it to the polynomial form, score it in clear on held-out
notes, and classify new notes with the protocol ``refresh``. The server then learns neither the note
nor its label, and the client learns nothing of the model but its answers.

A note of more than ``--window`` tokens is classified in windows, which share 8 tokens with the one
before. Each is a text of its own to the server; on the client the most urgent one counts, so that
one such line among others is not averaged away.

About 50 s in all and 1 GB of memory on a 2-core machine, nearly all of it training; ``--fhe
execute`` (real ciphertexts) about 25 s more and 1.5 GB. Needs no network and nothing beyond
the package.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import pipeline

import thex_hf  # noqa: F401  (makes the task known to transformers)
from thex_hf.conversion import ConversionReport, convert, options_from
from thex_hf.conversion.data.reading import LabelledTexts, read_texts

HERE = Path(__file__).parent
STRIDE = 8
MOST_URGENT_FIRST = ("urgent", "soon", "routine")
NOTES = (
    "Chest pain since an hour, sweating, pain goes into the jaw.",
    "Itchy rash on both legs for a week, no fever.",
    "Repeat prescription for blood pressure tablets, feels well.",
    "Came for a repeat prescription of blood pressure tablets, feels well, weight stable. Asks for "
    "travel vaccines before a holiday in May. In the waiting room crushing chest pain, sweating "
    "and grey, pain spreading to the left arm. Flu vaccine was given last autumn. Next cholesterol "
    "test is due in spring.",
)


def pick(notes: LabelledTexts, wanted: Callable[[int], bool]) -> LabelledTexts:
    """The notes whose row number is wanted."""
    rows = [row for row in range(len(notes)) if wanted(row)]
    return replace(
        notes,
        texts=tuple(notes.texts[row] for row in rows),
        labels=tuple(notes.labels[row] for row in rows),
    )


def train(folder: Path, epochs: float, effort: float, dev: LabelledTexts) -> ConversionReport:
    """Fine-tune and convert; every fifth note is held out."""
    notes = read_texts(HERE / "data" / "clinical_notes.tsv")
    settings = options_from(
        form="polynomial",
        fine_tune=True,
        epochs=epochs,
        learning_rate=5e-4,
        batch_size=16,
        effort=effort,
        max_length=64,
    )
    rest = pick(notes, lambda row: row % 5 != 4)
    return convert(HERE / "base_encoder", folder, train=rest, dev=dev, options=settings)


def show_scores(classify: Any, dev: LabelledTexts) -> None:
    """For each label, what the converted model says in clear of the held-out notes."""
    names = dev.label_names or ()
    answers = [result["label"] for result in classify(list(dev.texts), fhe="disable")]
    print(f"{'held-out notes':>20}" + "".join(f"{f'called {name}':>16}" for name in names))
    for number, name in enumerate(names):
        own = [a for a, label in zip(answers, dev.labels, strict=True) if label == number]
        print(f"{len(own):>12} {name:>7}" + "".join(f"{own.count(said):>16}" for said in names))


def labels_of(classify: Any, note: str, fhe: str, window: int) -> list[str]:
    """The label of each window of a note; a short note is one window."""
    classify(note, fhe=fhe, window=window, stride=STRIDE)
    names = classify.model.config.id2label
    return [names[one.logits.index(max(one.logits))] for one in classify.report.requests]


def most_urgent(labels: Sequence[str]) -> str:
    """The label of a note whose windows have these."""
    return min(labels, key=MOST_URGENT_FIRST.index)


def show_encrypted(classify: Any, notes: Sequence[str], fhe: str, window: int) -> None:
    """Classify notes on the encrypted path, and say what the server saw of each."""
    for note in notes:
        in_clear = most_urgent(labels_of(classify, note, "disable", window))
        labels = labels_of(classify, note, fhe, window)
        report = classify.report
        print(f"{most_urgent(labels):8} {note}")
        print(f"  in clear: {in_clear}, same label: {in_clear == most_urgent(labels)}")
        if len(labels) > 1:
            print(f"  its windows: {', '.join(labels)}; the most urgent one counts")
        lengths = ", ".join(str(one.bucket) for one in report.requests)
        print(f"  the server saw {report.rounds} requests, padded length {lengths}")
        if fhe == "execute":
            seconds, sizes = report.seconds, report.bytes
            print(
                f"  server {seconds.server:.2f} s, client {seconds.client:.2f} s; "
                f"{sizes.up / 1e6:.1f} MB of ciphertexts up, {sizes.down / 1e6:.1f} MB down"
            )
    if fhe == "simulate":
        print("simulated: nothing was encrypted, so no ciphertext was sent; see --fhe execute")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the example; ``argv`` as on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notes", nargs="*", default=list(NOTES), help="notes to classify")
    parser.add_argument("--epochs", type=float, default=30.0, help="of fine-tuning")
    parser.add_argument("--effort", type=float, default=0.1, help="of the conversion")
    parser.add_argument("--window", type=int, default=32, help="tokens of a note at once, up to 64")
    parser.add_argument("--fhe", default="simulate", choices=("execute", "simulate"))
    options = parser.parse_args(argv)

    dev = pick(read_texts(HERE / "data" / "clinical_notes.tsv"), lambda row: row % 5 == 4)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "model"
        report = train(folder, options.epochs, options.effort, dev)
        print(
            f"accuracy on {len(dev)} held-out notes: {report.unconverted:.1f} % fine-tuned, "
            f"{report.converted:.1f} % converted"
        )
        classify = pipeline("thex-text-classification", model=str(folder), protocol="refresh")
        show_scores(classify, dev)
        show_encrypted(classify, options.notes, options.fhe, options.window)
    print("an illustration, no medical device")


if __name__ == "__main__":
    main()
