"""Score the bundled model with evaluate's evaluator, and say what encryption changed.

By default the circuit runs on plain numbers (``--fhe simulate``): about 15 s in all, imports
included, and 0.7 GB of memory on a 2-core machine. ``--fhe execute`` runs on real
ciphertexts: about 30 s and 1.1 GB. Needs ``pip install 'thex_hf[evaluate]'``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from datasets import Dataset
from evaluate import evaluator
from transformers import pipeline

import thex_hf.evaluation  # makes the task known to evaluate

ROWS = {
    "text": ["a warm and funny film", "great fun", "a dull mess", "bleak and far too long"],
    "label": [1, 1, 0, 0],
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the example; ``argv`` as on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fhe", default="simulate", choices=("execute", "simulate", "disable"))
    parser.add_argument("--metric", nargs="+", default=["accuracy", "f1"])
    options = parser.parse_args(argv)

    pipe = pipeline("thex-text-classification", model=thex_hf.bundled_checkpoint())
    found = evaluator("thex-text-classification").compute(
        pipe, Dataset.from_dict(ROWS), metric=options.metric, fhe=options.fhe
    )
    costs = found.pop("thex")
    for name, value in found.items():
        print(f"{name}: {value:.3f}")
    print(
        f"{costs['fhe']}, {costs['protocol']}: {costs['rounds']} rounds, a text "
        f"{costs['seconds']['server']:.2f} s on the server, {costs['bytes']['up'] / 1e6:.1f} MB up"
    )
    if "agreement" in costs:
        print(
            f"same label as in clear: {costs['agreement']:.0%}; logits differ by "
            f"{costs['max_logit_difference']:.1e} at most"
        )


if __name__ == "__main__":
    main()
