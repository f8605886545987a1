"""Route messages to a bank's desks without the router reading them.

Fine-tunes the small encoder of this folder on 360 messages of ten intents (a sample of banking77,
see ``data/SOURCE.md``), converts it to THE-X form, scores it in clear on 90 held-out messages (by
which the settings were chosen, in a few tries), and routes new ones: ``top_k`` gives the likeliest
intents, and a message whose best score is low goes to a person. Routing happens on the client,
after decryption; the server never learns the desk.

About 100 s in all and 1 GB of memory on a 2-core machine, nearly all of it training; ``--fhe
execute`` (real ciphertexts) about 25 s more and 1.5 GB. Needs no network and nothing beyond
the package. THE-X as published protects the messages and not the model; for both,
convert with ``form="polynomial"`` as in ``clinical_notes.py``.
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
DESKS = {
    "card_arrival": "cards",
    "card_swallowed": "cards",
    "lost_or_stolen_card": "cards",
    "change_pin": "cards",
    "cash_withdrawal_charge": "fees",
    "exchange_rate": "fees",
    "top_up_failed": "payments",
    "transfer_not_received_by_recipient": "payments",
    "terminate_account": "accounts",
    "verify_my_identity": "accounts",
}
SURE = 0.5
MESSAGES = (
    "Somebody took my wallet and my card was in it",
    "My landlord says the rent I sent has not come",
    "Why did the machine charge me for taking out money?",
    "Good morning",
)


def pick(data: LabelledTexts, wanted: Callable[[int], bool]) -> LabelledTexts:
    """The messages whose row number is wanted."""
    rows = [row for row in range(len(data)) if wanted(row)]
    return replace(
        data,
        texts=tuple(data.texts[row] for row in rows),
        labels=tuple(data.labels[row] for row in rows),
    )


def train(folder: Path, epochs: float, effort: float) -> ConversionReport:
    """Fine-tune and convert; every fifth message is held out."""
    data = read_texts(HERE / "data" / "bank_intents.tsv")
    settings = options_from(
        form="the-x",
        fine_tune=True,
        epochs=epochs,
        learning_rate=5e-4,
        batch_size=16,
        effort=effort,
        max_length=64,
    )
    return convert(
        HERE / "base_encoder",
        folder,
        train=pick(data, lambda row: row % 5 != 4),
        dev=pick(data, lambda row: row % 5 == 4),
        options=settings,
    )


def desk_of(likeliest: list[dict[str, Any]]) -> str:
    """Where a message goes: to the desk of its best intent, or to a person."""
    best = likeliest[0]
    return DESKS[best["label"]] if best["score"] >= SURE else "a person"


def route(classify: Any, message: str, fhe: str, top_k: int) -> None:
    """Classify one message on the encrypted path and print where it goes."""
    likeliest = classify(message, fhe=fhe, top_k=top_k, agreement=True)
    report = classify.report
    print(f"{desk_of(likeliest):10} <- {message}")
    print("  " + ", ".join(f"{one['label']} {one['score']:.2f}" for one in likeliest))
    print(
        f"  {report.rounds} rounds, padded length {report.bucket}, same intent as in clear: "
        f"{report.agreement.same_label}"
    )
    if fhe == "execute":
        seconds, sizes = report.seconds, report.bytes
        print(
            f"  server {seconds.server:.2f} s, client {seconds.client:.2f} s; "
            f"{sizes.up / 1e6:.1f} MB of ciphertexts up, {sizes.down / 1e6:.1f} MB down"
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the example; ``argv`` as on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("messages", nargs="*", default=list(MESSAGES), help="to be routed")
    parser.add_argument("--epochs", type=float, default=10.0, help="of fine-tuning")
    parser.add_argument("--effort", type=float, default=0.05, help="of the conversion")
    parser.add_argument("--top-k", type=int, default=3, help="intents to show")
    parser.add_argument("--fhe", default="simulate", choices=("execute", "simulate"))
    options = parser.parse_args(argv)

    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "model"
        report = train(folder, options.epochs, options.effort)
        print(
            f"accuracy on {report.dev_texts} held-out messages: {report.unconverted:.1f} % "
            f"fine-tuned, {report.converted:.1f} % converted"
        )
        classify = pipeline("thex-text-classification", model=str(folder))
        for message in options.messages:
            route(classify, message, options.fhe, options.top_k)


if __name__ == "__main__":
    main()
