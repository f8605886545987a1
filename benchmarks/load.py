"""Many clients at once, for minutes: throughput, latency, memory, and every answer checked.

    python benchmarks/load.py --clients 1 4 16 --seconds 600

Clients are threads of this process, each with keys of its own; the service is a ``thex-hf serve``
in processes of its own on the same machine, so both share its cores. Every answer is compared
with the clear model's logits for the same text. With ``--mixed`` nothing is prepared before: keys,
and under ``--protocol prepared`` tickets, are made while other clients use theirs, each client with
a directory of its own; latencies are those of texts, what was prepared on the way taken off.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import itertools
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch
from common import surroundings, write
from service import MODELS, client, serving
from transformers import AutoTokenizer

import thex_hf
from thex_hf.client.half import ClientHalf

TOLERANCE = 0.05
FALLBACK = ["A warm, funny film.", "Dull.", "Not bad at all!", "Dreadful, and far too long."]


def texts(path: Path | None) -> list[str]:
    """Texts of at most 16 tokens."""
    if path is None:
        return FALLBACK
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    half = ClientHalf.open(thex_hf.bundled_checkpoint("the-x"))
    return [row["text"] for row in rows if len(half.tokenise(row["text"])[0]) <= 16][:100]


def clear(protocol: str, wanted: list[str]) -> dict[str, torch.Tensor]:
    """Logits of the clear model."""
    name = thex_hf.bundled_checkpoint(MODELS[protocol])
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    model = thex_hf.ThexBertForSequenceClassification.from_pretrained(name).float().eval()
    with torch.no_grad():
        return {text: model(**tokenizer(text, return_tensors="pt")).logits[0] for text in wanted}


def load(
    clients: list[Any], seconds: float, wanted: dict[str, torch.Tensor], watch: Any
) -> dict[str, Any]:
    """Keep clients busy; what came of it."""
    count, prepared = len(clients), [0]
    latencies: list[float] = []
    worst, wrong, errors = [0.0], [], []
    supply, end = itertools.cycle(wanted), time.monotonic() + seconds
    lock = threading.Lock()

    def work(one: Any) -> None:
        while time.monotonic() < end:
            with lock:
                text = next(supply)
            begin = time.monotonic()
            try:
                answer = one.classify(text)
            except Exception as error:
                with lock:
                    errors.append(f"{type(error).__name__}: {error}"[:200])
                continue
            apart = float((torch.tensor(answer.logits) - wanted[text]).abs().max())
            with lock:
                before = answer.result.keygen_seconds + answer.result.prepare_seconds
                latencies.append(time.monotonic() - begin - before)
                prepared[0] += answer.result.prepare_seconds > 0
                worst[0] = max(worst[0], apart)
                if apart > TOLERANCE:
                    wrong.append(text)

    threads = [threading.Thread(target=work, args=(one,)) for one in clients]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    memory = []
    while any(thread.is_alive() for thread in threads):
        memory.append(round(watch(), 1))
        time.sleep(min(15.0, seconds / 8))
    for thread in threads:
        thread.join()
    spent = time.monotonic() - begin
    ordered = sorted(latencies)
    return {
        "clients": count,
        "seconds": round(spent, 1),
        "texts": len(ordered),
        "preparations": prepared[0],
        "texts_a_minute": round(60 * len(ordered) / spent, 1),
        "p50": round(statistics.median(ordered), 2),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 2),
        "wrong_answers": len(wrong),
        "largest_logit_difference": worst[0],
        "errors": errors[:10],
        "megabytes": memory,
    }


def main() -> None:
    """Run one load after the other on one service, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--protocol", default="client-aided")
    parser.add_argument("--texts", type=Path, help="a .tsv.gz with a column 'text'")
    parser.add_argument("--mixed", action="store_true", help="prepare while others use")
    parser.add_argument("--name", default="load")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    wanted = clear(chosen.protocol, texts(chosen.texts))
    record: dict[str, Any] = {"surroundings": surroundings(), "protocol": chosen.protocol}
    options = ("--port", 0, "--bucket", 16, "--workers", 2)
    with (
        tempfile.TemporaryDirectory() as keys,
        serving(*options, "--keys", keys, protocol=chosen.protocol) as service,
    ):
        pids = set(service.pids())
        record["runs"] = []
        for count in chosen.clients:
            with tempfile.TemporaryDirectory() as own:
                clients = [
                    client(
                        service.url,
                        chosen.protocol,
                        Path(own, str(number)) if chosen.mixed else None,
                        patience=600.0,
                    )
                    for number in range(count)
                ]
                for one in [] if chosen.mixed else clients:
                    one.classify(next(iter(wanted)))  # keys, and the first use of each
                record["runs"].append(load(clients, chosen.seconds, wanted, service.memory))
        record["processes_replaced"] = len(pids - set(service.pids()))
    table = [
        ["clients", "seconds", "texts", "texts a minute", "p50 s", "p95 s", "errors",
         "wrong answers", "largest logit difference", "service MB first / last"]
    ]  # fmt: skip
    for run in record["runs"]:
        memory = run["megabytes"]
        table.append([
            str(run["clients"]), str(run["seconds"]), str(run["texts"]),
            str(run["texts_a_minute"]), str(run["p50"]), str(run["p95"]), str(len(run["errors"])),
            str(run["wrong_answers"]), f"{run['largest_logit_difference']:.1e}",
            f"{memory[0]:.0f} / {memory[-1]:.0f}",
        ])  # fmt: skip
    write(chosen.name, record, table)
    print("\n".join(" | ".join(row) for row in table))


if __name__ == "__main__":
    main()
