"""How far models' values go on texts that nobody wrote.

``python benchmarks/robustness.py DEV.tsv.gz --sources THE_X_SOURCE POLYNOMIAL_SOURCE``: in clear,
every word of the vocabulary (letters only, at least three) 1, 2, 4 and 14 times, the development
texts as they are, and 3,000 of them shuffled or concatenated; the sources are the unconverted
models, if they are at hand. ``--models`` names others than the bundled ones. Writes
results/robustness.json and results/robustness.md, or of another ``--name``. Takes some minutes.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import torch
from common import surroundings, write
from tqdm.auto import tqdm
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import thex_hf
from thex_hf.conversion.data.reading import read_texts
from thex_hf.modeling.calibrate import computed
from thex_hf.modeling.configuration_thex_bert import RANGE_KEYS
from thex_hf.modeling.opening import open_model

TIMES = (1, 2, 4, 14)
BATCH = 128


def strange_texts(tokenizer: Any, dev: list[str], seed: int) -> dict[str, list[str]]:
    """The texts by kind: words repeated, and development texts out of order."""
    words = sorted(w for w in tokenizer.get_vocab() if w.isalpha() and len(w) > 2)
    kinds = {f"{len(words)} words, {n} times": [" ".join([w] * n) for w in words] for n in TIMES}
    draw = random.Random(seed)
    shuffled = [" ".join(draw.sample(t.split(), len(t.split()))) for t in draw.choices(dev, k=1500)]
    joined = [" ".join(draw.choices(dev, k=draw.randrange(2, 6))) for _ in range(1500)]
    kinds[f"{len(dev)} development texts"] = dev
    return {**kinds, "1500 development texts, shuffled": shuffled, "1500, 2 to 5 joined": joined}


@torch.no_grad()
def measure(model: Any, tokenizer: Any, texts: list[str], source: Any) -> dict[str, Any]:
    """Largest logit, shares beyond the calibrated ranges, and labels unlike the source's."""
    limits = [torch.tensor([entry[k] for k in RANGE_KEYS]) for entry in model.config.ranges]
    largest, beyond, far, other, excess = 0.0, 0, 0, 0, 0.0
    for start in tqdm(range(0, len(texts), BATCH), leave=False):
        enc = tokenizer(
            texts[start : start + BATCH],
            padding=True,
            truncation=True,
            max_length=128,
            return_tensors="pt",
        )
        mask = enc["attention_mask"]
        stream = model.embed(enc["input_ids"], enc.get("token_type_ids"))
        traces = model.thex_bert.run_layers(stream * mask.unsqueeze(-1), mask)
        logits = model.classify(traces[-1].layer_norm, mask)
        share = torch.zeros(len(mask))
        for number, (trace, limit) in enumerate(zip(traces, limits, strict=True)):
            own = computed(model, number, trace)
            for name, most in zip(RANGE_KEYS, limit, strict=True):
                values = own[name].abs()
                if name == "scores":
                    values = values * mask[:, None, : values.shape[2], None]
                    values = values * mask[:, None, None, :]
                else:
                    values = values * mask[:, : values.shape[1], None]
                share = torch.maximum(share, values.flatten(1).amax(1) / most)
        largest = max(largest, float(logits.abs().max()))
        excess = max(excess, float(share.max()))
        beyond, far = beyond + int((share > 1).sum()), far + int((share > 2).sum())
        if source is not None:
            told = source(**enc).logits.argmax(-1)
            other += int((told != logits.argmax(-1)).sum())
    return {
        "texts": len(texts),
        "largest_logit": largest,
        "largest_value_in_ranges": excess,
        "beyond_range": beyond,
        "beyond_twice_the_range": far,
        "label_unlike_source": None if source is None else other,
    }


def row(form: str, kind: str, found: dict[str, Any]) -> list[str]:
    """One line of the table."""
    count, other = found["texts"], found["label_unlike_source"]
    return [
        form,
        kind,
        f"{found['largest_logit']:.2f}",
        f"{100 * found['beyond_range'] / count:.2f} %",
        f"{found['beyond_twice_the_range']}",
        f"{found['largest_value_in_ranges']:.2f}",
        "" if other is None else f"{100 * other / count:.2f} %",
    ]


def main() -> None:
    """Measure both models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dev", type=Path)
    parser.add_argument("--sources", type=Path, nargs="*", default=[])
    parser.add_argument("--models", nargs="*", default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="robustness")
    options = parser.parse_args()
    place = surroundings()
    dev = list(read_texts(options.dev, label_names=("0", "1")).texts)
    record: dict[str, Any] = {"surroundings": place, "seed": options.seed}
    table = [
        ["form", "texts", "largest logit", "beyond the range", "beyond twice the range",
         "largest value, ranges", "label unlike the source's"]
    ]  # fmt: skip
    names = options.models or [*map(thex_hf.bundled_checkpoint, ("the-x", "polynomial"))]
    for number, name in enumerate(names):
        model, tokenizer = (
            open_model(name),
            AutoTokenizer.from_pretrained(name, trust_remote_code=False),
        )
        form, source = model.config.form, None
        if options.sources:
            source = AutoModelForSequenceClassification.from_pretrained(
                options.sources[number], trust_remote_code=False
            ).eval()
        for kind, texts in strange_texts(tokenizer, dev, options.seed).items():
            found = measure(model, tokenizer, texts, source)
            record.setdefault(form, {})[kind] = found
            table.append(row(form, kind, found))
            print(" | ".join(table[-1]), flush=True)
    write(options.name, record, table)


if __name__ == "__main__":
    main()
