"""Texts that nobody wrote, on ciphertexts: each gives the clear model's label or an error of ours.

``python benchmarks/strange_execution.py DEV.tsv.gz [--protocol refresh] [--texts 200]``: texts
drawn evenly from those of robustness.py, executed and compared with the clear model. Writes
results/strange-PROTOCOL.json and .md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from common import surroundings, write
from robustness import strange_texts
from tqdm.auto import tqdm
from transformers import AutoTokenizer, pipeline

import thex_hf
from thex_hf.circuits.dispatch import FORMS
from thex_hf.conversion.data.reading import read_texts

MOST_TOKENS = 32


def drawn(tokenizer: Any, dev: list[str], count: int, seed: int) -> list[str]:
    """As many texts of each kind, at random, of those with at most ``MOST_TOKENS`` tokens."""
    draw = np.random.default_rng(seed)
    kinds = strange_texts(tokenizer, dev, seed)
    found: list[str] = []
    for place, texts in enumerate(kinds.values()):
        wanted = (count - len(found)) // (len(kinds) - place)
        order = (texts[i] for i in draw.permutation(len(texts)))
        short = (text for text in order if len(tokenizer(text)["input_ids"]) <= MOST_TOKENS)
        found += [next(short) for _ in range(wanted)]
    return found


def main() -> None:
    """Run one protocol."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dev", type=Path)
    parser.add_argument("--protocol", default="client-aided", choices=list(FORMS))
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--batch", type=int, default=1, help="texts at once")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    place = surroundings()
    model = thex_hf.bundled_checkpoint(FORMS[options.protocol])
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    dev = list(read_texts(options.dev, label_names=("0", "1")).texts)
    texts = drawn(tokenizer, dev, options.texts, options.seed)
    classify = pipeline(
        "thex-text-classification", model=model, protocol=options.protocol, on_error="skip"
    )
    clear = classify(texts, fhe="disable")
    refused = [report.error for report in classify.reports]
    executed, reports = [], []
    for start in tqdm(range(0, len(texts), options.batch)):
        some = texts[start : start + options.batch]
        executed += classify(some, fhe="execute", batch_size=options.batch)
        reports += classify.reports
    same = [a is not None and b is not None and a["label"] == b["label"]
            for a, b in zip(executed, clear, strict=True)]  # fmt: skip
    errors = [report.error for report in reports]
    other = [texts[i] for i, own in enumerate(executed) if own is not None and not same[i]]
    record = {
        "surroundings": place,
        "protocol": options.protocol,
        "seed": options.seed,
        "texts": len(texts),
        "same_label_as_clear": sum(same),
        "refused": sum(error is not None for error in errors),
        "refused_in_clear": sum(error is not None for error in refused),
        "other_label": other,
        "errors": sorted({error for error in errors if error}),
        "server_seconds": sum(report.seconds.server for report in reports),
    }
    head = ["protocol", "texts", "label as in clear", "refused", "another label"]
    row = [options.protocol, len(texts), sum(same), record["refused"], len(other)]
    write(f"strange-{options.protocol}", record, [head, [str(x) for x in row]])
    print(row)


if __name__ == "__main__":
    main()
