"""Score a data set on ciphertexts, spread over a cluster by Ray Data.

    pip install '.[client]' 'ray[data]'          # in a clone
    python examples/ray/scoring.py texts.tsv --url http://127.0.0.1:8000 --clients 4

Every client has keys of its own and talks to the same service, so the rate is the service's. The
file has two columns, label and text, with a head.
"""

from __future__ import annotations

import argparse
import csv
from typing import Any

import thex_hf


class Scorer:
    """One client; Ray makes as many as asked for."""

    def __init__(self, url: str, token: str | None) -> None:
        from thex_hf.client.client import ThexClient
        from thex_hf.client.half import ClientHalf
        from thex_hf.client.http import open_transport

        half = ClientHalf.open(thex_hf.bundled_checkpoint())
        self.client = ThexClient(half, open_transport(url, token))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Classify the text of a row."""
        answer = self.client.classify(str(row["text"]))
        number = self.client.half.labels.index(answer.label)
        return {**row, "predicted": number, "server_seconds": answer.result.server_seconds}


def score(rows: list[dict[str, Any]], url: str, clients: int, token: str | None = None) -> Any:
    """Rows with ``text`` and ``label`` to rows with ``predicted``; a Ray data set."""
    import ray

    found = ray.data.from_items(rows, override_num_blocks=max(1, min(len(rows), 4 * clients)))
    return found.map(
        Scorer, fn_constructor_args=(url, token), concurrency=clients, num_cpus=0.25
    ).materialize()


def main(argv: list[str] | None = None) -> None:
    """Score a file and print the accuracy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--url", required=True)
    parser.add_argument("--token")
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--limit", type=int, default=20)
    chosen = parser.parse_args(argv)
    with open(chosen.file, encoding="utf-8", newline="") as file:
        table = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(table)
        rows = [{"text": text, "label": int(label)} for label, text, *_ in table][: chosen.limit]
    found = score(rows, chosen.url, chosen.clients, chosen.token).take_all()
    right = sum(row["predicted"] == row["label"] for row in found)
    seconds = sorted(row["server_seconds"] for row in found)[len(found) // 2]
    print(f"{right} of {len(found)} right, {seconds:.2f} s a text (median, waiting included)")


if __name__ == "__main__":
    main()
