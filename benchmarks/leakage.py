"""What averaging answers to one request tells of the circuit's error.

``python benchmarks/leakage.py [--texts 12] [--side-by-side 1]``. Bundled polynomial checkpoint.
Each row takes an answer before its flood and adds floods 1, 10, 100 and 1,000 times, as a server
would that is sent one request again and again. Shown is the correlation of the mean with the
circuit's error, beside what should be there: 1 is known, 0 is hidden. Other slots: one text on
ciphertexts (``seal``), real parts of slots without a logit or a copy of one, and all imaginary
parts. Logits: the errors of many texts, simulated, since an answer has but two; the mean of 300
draws. Before: noise of 2^-8 in both parts of every slot. Seconds are the server's, of processor
time, weights encoded on the way. Writes results/leakage.json and results/leakage.md. Takes some
minutes, and up to 6 GB a process.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import numpy as np
from common import surroundings, write

import thex_hf
from thex_hf.backends.registry import get_backend
from thex_hf.circuits.dispatch import plan_for
from thex_hf.circuits.flood import Flood
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.ckks.engine import ClientEngine, ComplexVector, ServerEngine, Vector
from thex_hf.ckks.packing.layout import Layout
from thex_hf.protocol.client import ClientRun
from thex_hf.protocol.keys import key_request
from thex_hf.protocol.messages import Message
from thex_hf.protocol.server import ServedModel, ServerRun
from thex_hf.weights import EncoderWeights

TOKENS = 32
ANSWERS = (1, 10, 100, 1000)
TRIALS = 300
CASES = [
    ("one-shot", 32768, ("light", "strong")),
    ("one-shot", 16384, ("light",)),
    ("refresh", 32768, ("light",)),
    ("refresh", 16384, ("light", "strong")),
    ("refresh", 8192, ("light",)),
]
Draw = Callable[[], ComplexVector]


class Session:
    """A plan with its keys, on one backend; answers come without a flood."""

    def __init__(self, weights: EncoderWeights, plan: Plan, backend: str) -> None:
        quiet = {**plan.options, "flood_bits": 1100, "waste_bits": -1100}
        self.plan, self._model = replace(plan, options=quiet), ServedModel(weights)
        engines = get_backend(backend)
        secret, keys = engines.generate(key_request(plan))
        self.client: ClientEngine = engines.client(plan.parameters, secret)
        self.server: ServerEngine = engines.server(plan.parameters, keys, plan.rotations)
        self.key_id, self.key_bytes = keys.key_id, keys.size

    def answer(self, text: Vector) -> tuple[bytes, dict[str, Any]]:
        """The one ciphertext of an answer, and what the run cost."""
        run = ClientRun(self.plan, self.client, self.key_id, text)
        side = ServerRun(self._model, self.plan, self.server, self.key_id)
        message: bytes | None = run.request()
        up, down, seconds = 0, 0, 0.0
        while message is not None:
            begin = time.process_time()
            sent = side.reply(message) if up else side.start(message)
            seconds += time.process_time() - begin
            up, down = up + len(message), down + len(sent)
            message = run.receive(sent)
        (found,) = Message.from_bytes(sent).parts[0]
        return found, {"server_seconds": seconds, "up_bytes": up, "down_bytes": down}


def averaged(error: ComplexVector, draw: Draw) -> dict[int, ComplexVector]:
    """What means of so many flooded answers have beside the logits."""
    out, total = {}, np.zeros(len(error), np.complex128)
    for count in range(1, max(ANSWERS) + 1):
        total += draw()
        if count in ANSWERS:
            out[count] = error + total / count
    return out


def others(weights: EncoderWeights, plan: Plan, text: Any) -> dict[str, Any]:
    """Slots without a logit, on ciphertexts: flat, and as it is."""
    session = Session(weights, plan, "seal")
    bare, costs = session.answer(text)
    answer, flood, slots = plan.schedule.answer, Flood.of(plan.options), plan.parameters.slots
    assert isinstance(answer, Layout)
    waste = np.ravel(answer.maps()[0]) < 0  # without copies of logits, which are no error
    error = session.client.decrypt_complex(bare)

    def flat() -> ComplexVector:
        return Flood(8, -8).draw(answer)[0]

    found: dict[str, Any] = {**costs, "key_bytes": session.key_bytes, "slots": slots}
    found["error_std"] = float(np.std(error.imag))
    for name, draw in (("flat", flat), ("now", lambda: flood.draw(answer)[0])):
        means = averaged(error, draw)
        found[name] = {
            count: (
                correlation(mean.real[waste], error.real[waste]),
                correlation(mean.imag, error.imag),
            )
            for count, mean in means.items()
        }
    return found


def logits(weights: EncoderWeights, plan: Plan, texts: list[Any], wanted: Any) -> dict[str, Any]:
    """The logits' own slots, simulated, over many texts."""
    session, answer = Session(weights, plan, "clear"), plan.schedule.answer
    found = [session.answer(text)[0] for text in texts]
    read = [answer.unpack([session.client.decrypt(data)])[0] for data in found]
    errors = (np.array(read) - wanted).ravel()
    generator, out = np.random.default_rng(0), dict[str, Any]()
    for name, bits in (("flat", 8), ("now", plan.options["flood_bits"])):
        out[name] = {}
        for count in ANSWERS:  # the mean of so many is as good as normal from ten on
            draws = generator.uniform(-1, 1, (TRIALS, min(count, 10), errors.size)).mean(axis=1)
            noise = draws * 2.0**-bits * np.sqrt(min(count, 10) / count)
            out[name][count] = float(np.mean([correlation(errors + n, errors) for n in noise]))
    flood = 2.0 ** -plan.options["flood_bits"] / np.sqrt(3)
    rms = float(np.sqrt(np.mean(errors**2)))
    return {**out, "error_rms": rms, "measured_bits": float(np.log2(flood / rms))}


def correlation(a: Any, b: Any) -> float:
    """Of two samples."""
    return float(np.corrcoef(a, b)[0, 1])


def main() -> None:
    """Run all cases and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=12)
    parser.add_argument("--side-by-side", type=int, default=1)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    place = surroundings()
    model = thex_hf.ThexBertForSequenceClassification.from_pretrained(
        thex_hf.bundled_checkpoint("polynomial")
    ).double()
    weights, ranges = model.encoder_weights(), model.config.ranges
    generator = np.random.default_rng(0)
    ids = [
        generator.integers(2000, 10000, size=(1, n)) for n in generator.integers(6, 32, given.texts)
    ]
    with torch.no_grad():
        texts = [model.embed(torch.tensor(row))[0].numpy() for row in ids]
        wanted = np.array([model(input_ids=torch.tensor(row)).logits[0].numpy() for row in ids])
    jobs = [(weights, ranges, case, texts, wanted) for case in CASES]
    rows: list[Any] = []
    with ProcessPoolExecutor(given.side_by_side, get_context("spawn")) as pool:
        for found in as_completed([pool.submit(rows_of, *job) for job in jobs]):
            rows = sorted([*rows, *found.result()], key=lambda row: row["order"])
            write("leakage", {"surroundings": place, "rows": rows}, table(rows))


def rows_of(weights: EncoderWeights, ranges: Any, case: Any, texts: Any, wanted: Any) -> Any:
    """All figures of one ring, for each flood."""
    protocol, ring, floods = case
    out: list[Any] = []
    for flood in floods:
        plan = plan_for(weights, TOKENS, ranges, PlanOptions(protocol, ring=ring, flood=flood))
        row = {"order": [protocol == "one-shot", ring, flood], "protocol": protocol}
        row |= {"ring": ring, "flood": flood, **plan.options}
        row["logits"] = logits(weights, plan, texts, wanted)
        row["others"] = out[0]["others"] if out else others(weights, plan, texts[0])
        out.append(row)
    print(out, flush=True)
    return out


def table(rows: list[dict[str, Any]]) -> list[list[str]]:
    """One line for each case and place."""
    head = ["protocol", "N", "flood", "where", "noise", "error", *(f"{n:,}" for n in ANSWERS)]
    lines = [
        [*head, "before: " + ", ".join(f"{n:,}" for n in ANSWERS), "server s", "MB", "keys MB"]
    ]
    for row in rows:
        spent = row["others"]
        costs = [
            f"{spent['server_seconds']:.1f}",
            f"{(spent['up_bytes'] + spent['down_bytes']) / 1e6:.1f}",
            f"{spent['key_bytes'] / 1e6:.0f}",
        ]
        name = [row["protocol"], str(row["ring"]), row["flood"]]
        own = row["logits"]
        places = [
            ("logits", -row["flood_bits"], own["error_rms"], own["now"], own["flat"]),
            *(
                (where, row["waste_bits"], spent["error_std"],
                 {n: pair[part] for n, pair in spent["now"].items()},
                 {n: pair[part] for n, pair in spent["flat"].items()})
                for part, where in enumerate(("other slots", "imaginary parts"))
            ),
        ]  # fmt: skip
        for index, (where, bits, error, now, before) in enumerate(places):
            shown = [f"{value:.2f}" for value in now.values()]
            then = ", ".join(f"{value:.2f}" for value in before.values())
            tail = [*shown, then, *(costs if index == 0 else [""] * 3)]
            lines.append([*name, where, f"2^{bits}", f"2^{np.log2(error):.1f}", *tail])
    return lines


if __name__ == "__main__":
    main()
