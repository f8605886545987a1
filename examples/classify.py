"""Classify two sentences with the bundled model and print what it cost.

By default the circuit runs on plain numbers (``--fhe simulate``): about 10 s in all, imports
included, and 0.6 GB of memory on a 2-core machine. ``--fhe execute`` runs on real
ciphertexts: about 20 s and 1 GB; a good part of it is keys and the encoding of weights,
which happen once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from transformers import pipeline

import thex_hf  # makes the task known to transformers

TEXTS = ("a warm , funny and beautifully acted film", "a dull and lifeless two hours")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the example; ``argv`` as on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", nargs="*", default=list(TEXTS))
    parser.add_argument("--fhe", default="simulate", choices=("execute", "simulate", "disable"))
    parser.add_argument("--keys", help="directory to keep keys in, for --fhe execute")
    options = parser.parse_args(argv)

    classify = pipeline(
        "thex-text-classification",
        model=thex_hf.bundled_checkpoint(),
        fhe=options.fhe,
        keys=options.keys,
        agreement=options.fhe != "disable",
    )
    results = classify(options.texts)
    for text, result, report in zip(options.texts, results, classify.reports, strict=True):
        print(f"{result['label']}  {result['score']:.3f}  {text}")
        print(
            f"  {report.tokens} tokens in bucket {report.bucket}, {report.rounds} rounds, "
            f"server {report.seconds.server:.2f} s, client {report.seconds.client:.2f} s, "
            f"{report.bytes.up / 1e6:.1f} MB up, {report.bytes.down / 1e6:.1f} MB down"
        )
        if report.agreement:
            print(
                f"  the clear model says {report.agreement.label}; logits differ by "
                f"{report.agreement.largest_logit_difference:.1e} at most"
            )


if __name__ == "__main__":
    main()
