"""Accuracy of a checkpoint on SST-2 dev: clear, simulated, and a sample encrypted.

``python benchmarks/accuracy.py DEV.tsv.gz [--protocol refresh] [--ring N] [--execute 50]``; the
file has a header row and columns ``label`` and ``text``; of a model that is not bundled with
``--model FOLDER --name NAME``. Writes results/accuracy.json and results/accuracy.md, or
accuracy-PROTOCOL[-FLOOD][-NAME]. Takes about ten minutes, ``one-shot`` half an
hour, ``prepared`` five minutes for all texts (``--execute 872``).
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from common import surroundings, write
from tqdm.auto import tqdm
from transformers import pipeline

import thex_hf  # registers the task
from thex_hf.conversion.data.reading import read_texts

BATCH = 10


class Wraps(logging.Handler):
    """Counts texts under ``prepared`` in which a number wrapped around, by the client's log."""

    seen = 0

    def emit(self, record: logging.LogRecord) -> None:
        """One line of it."""
        self.seen += "wrapped around" in record.getMessage()


def run(classifier: Any, texts: list[str], fhe: str) -> list[Any]:
    """Reports of all texts in one mode."""
    reports = []
    for start in tqdm(range(0, len(texts), BATCH), desc=fhe):
        some = texts[start : start + BATCH]
        classifier(some, fhe=fhe, agreement=fhe != "disable", batch_size=BATCH, on_error="skip")
        reports += classifier.reports
    return reports


def served(reports: list[Any]) -> list[Any]:
    """Reports of the texts that were not refused."""
    return [report for report in reports if not report.error]


def accuracy(reports: list[Any], labels: np.ndarray) -> float:
    """Per cent right; a text that was refused is not."""
    guesses = [-1 if report.error else np.argmax(report.logits) for report in reports]
    return float(100 * np.mean(guesses == labels))


def differences(reports: list[Any]) -> dict[str, float]:
    """How far logits are from the clear model's, where there are any."""
    answered = served(reports)
    values = [report.agreement.largest_logit_difference for report in answered]
    return {
        "largest": max(values),
        "median": median(values),
        "same_label": sum(report.agreement.same_label for report in answered),
        "texts": len(reports),
        "refused": len(reports) - len(answered),
    }


def main() -> None:
    """Run all three modes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dev", type=Path)
    parser.add_argument("--execute", type=int, default=50)
    parser.add_argument("--simulate", type=int, default=None, help="how many; all if none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bucket", type=int, help="execute texts of this padded length only")
    parser.add_argument("--model", default=None)
    parser.add_argument("--name", default=None, help="of that model, for the file")
    parser.add_argument("--protocol", default="client-aided")
    parser.add_argument("--ring", type=int, default=None)
    parser.add_argument("--flood", default=None, help="light or strong")
    options = parser.parse_args()
    place = surroundings()
    data = read_texts(options.dev, label_names=("0", "1"))
    texts, labels = list(data.texts), np.asarray(data.labels).astype(int)
    form = "the-x" if options.protocol == "client-aided" else "polynomial"
    model = options.model or thex_hf.bundled_checkpoint(form)
    classifier = pipeline(
        "thex-text-classification", model=model, device=-1, protocol=options.protocol,
        ring=options.ring, flood=options.flood,
    )  # fmt: skip
    clear = run(classifier, texts, "disable")
    order = np.random.default_rng(options.seed).permutation(len(texts))
    picked, chosen = order[: options.simulate], order
    if options.bucket:
        chosen = np.array([i for i in order if clear[i].bucket == options.bucket])
    chosen = chosen[: options.execute]
    simulated = run(classifier, [texts[i] for i in picked], "simulate")
    wraps = Wraps()
    logging.getLogger("thex_hf.client").addHandler(wraps)
    logging.getLogger("thex_hf.client").setLevel(logging.INFO)
    begin = time.perf_counter()
    executed = run(classifier, [texts[i] for i in chosen], "execute")
    seconds = (time.perf_counter() - begin) / len(executed)
    both = dict(zip(picked, simulated, strict=True))
    sample = [both[i] for i in chosen if i in both]
    record = {
        "surroundings": place,
        "protocol": options.protocol,
        "flood": options.flood,
        "ring_degree": served(executed)[0].ring_degree,
        "texts": len(texts),
        "clear": accuracy(clear, labels),
        "clear_same_texts": accuracy([clear[i] for i in picked], labels[picked]),
        "simulate": accuracy(simulated, labels[picked]),
        "simulate_difference": differences(simulated),
        "execute_seed": options.seed,
        "execute": accuracy(executed, labels[chosen]),
        "execute_difference": differences(executed),
        "execute_seconds_a_text": seconds,
        "execute_bucket": options.bucket,
        "simulate_difference_same_texts": differences(sample),
        "execute_server_seconds_median": median(r.seconds.server for r in served(executed)),
        "buckets": {str(b): sum(r.bucket == b for r in clear) for b in (16, 32, 64, 128)},
        "clear_refused": len(clear) - len(served(clear)),
    }
    table = [
        ["mode", "texts", "accuracy %", "refused", "same label as clear",
         "largest logit difference", "median"]
    ]  # fmt: skip
    refused = str(record["clear_refused"])
    table.append(["disable", str(len(texts)), f"{record['clear']:.2f}", refused, "", "", ""])
    for mode, count in (("simulate", len(picked)), ("execute", len(chosen))):
        gap = record[f"{mode}_difference"]
        table.append(
            [mode, str(count), f"{record[mode]:.2f}", str(gap["refused"]),
             f"{gap['same_label']} of {gap['texts']}",
             f"{gap['largest']:.1e}", f"{gap['median']:.1e}"]
        )  # fmt: skip
    if options.protocol == "prepared":
        record["wraps_predicted"] = classifier.runner.session("simulate").wrap_probability
        record["wraps_seen"] = wraps.seen
    suffix = "" if options.protocol == "client-aided" else f"-{options.protocol}"
    suffix += f"-{options.flood}" if options.flood else ""
    suffix += f"-{options.name}" if options.name else ""
    write(f"accuracy{suffix}", record, table)
    print("\n".join(" ".join(row) for row in table))


if __name__ == "__main__":
    main()
