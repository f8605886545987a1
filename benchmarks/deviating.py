"""What an owner holds who deviates from ``refresh`` and abandons every run at its first visit.

    python benchmarks/deviating.py --columns 5 --runs 1000

The client encrypts nothing but one unit vector where keys and values are read, and multiplies its
encrypted mask by 2^41: the attention output of the first layer then is a column of
``sum_h k_h O_h V_h``, lifted as far as the modulus carries. It takes the mean of what it decrypts
over all runs. Compared are the masks of 30 bits that ``refresh`` had before (drawn here in the same
way and added to the same values) with what the server does now.

What the circuit computes before it masks is the same in every run of one request; so it is
computed once for each column, and masked anew, with a fresh encryption of zero, for each run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import surroundings, write
from numpy.typing import NDArray

from thex_hf.backends.registry import get_backend
from thex_hf.bundled import bundled_checkpoint
from thex_hf.circuits.dispatch import plan_for
from thex_hf.circuits.masks import draw
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.ckks.packing.layout import Layout
from thex_hf.modeling.opening import open_model
from thex_hf.protocol.client import ClientRun
from thex_hf.protocol.keys import key_request
from thex_hf.protocol.server import ServedModel, ServerRun
from thex_hf.weights import EncoderWeights

Array = NDArray[np.float64]

LIFT = 2.0**41


@dataclass
class Deviating(ClientRun):
    """Sends one unit vector, and a mask that is far too large."""

    column: int = 0

    def _inputs(self) -> list[list[bytes]]:
        schedule, shape = self.plan.schedule, self.plan.shape
        unit = np.zeros((shape.tokens, shape.hidden))
        unit[0, self.column] = 1.0
        mask = np.zeros((shape.tokens, 1))
        mask[0] = LIFT
        contents = [np.zeros_like(unit), *[unit] * (len(schedule.request) - 1)]
        contents += [mask] * len(schedule.averaging_masks)
        parts = []
        for values, (layout, level) in zip(contents, schedule.inputs, strict=True):
            assert isinstance(layout, Layout)
            whole = np.broadcast_to(values, (shape.tokens, layout.features))
            parts.append(self._encrypt(layout.pack(whole[: layout.tokens]), level))
        return parts


def wanted(weights: EncoderWeights, column: int) -> Array:
    """The column of the first layer that the attack is after."""
    layer, terms = weights.layers[0], weights.layers[0].polynomial
    assert terms is not None
    size = weights.hidden // weights.heads
    total: Array = np.zeros(weights.hidden)
    for head in range(weights.heads):
        own = slice(head * size, (head + 1) * size)
        score = layer.query_bias[own] @ layer.key[own, column] / np.sqrt(size)
        share = terms.score_scale[head] * (score + terms.score_shift[head]) ** terms.power
        total = total + share * (layer.output[:, own] @ layer.value[own, column])
    return total


def main() -> None:
    """Attack, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--columns", type=int, default=5)
    parser.add_argument("--runs", type=int, default=1000, help="of all columns together")
    args = parser.parse_args()
    record: dict[str, Any] = {"surroundings": surroundings(), "lift": LIFT, **vars(args)}
    model = open_model(bundled_checkpoint("polynomial"))
    weights = model.encoder_weights()
    plan = plan_for(weights, 16, model.config.ranges, PlanOptions("refresh"))
    backend = get_backend("seal")
    secret, evaluation = backend.generate(key_request(plan))
    client = backend.client(plan.parameters, secret)
    server: Any = backend.server(plan.parameters, evaluation, plan.rotations)
    served, layout = ServedModel(weights), plan.schedule.round_trips[0].parts[0].sends
    assert isinstance(layout, Layout)
    bits, each = plan.bits.stream[0], args.runs // args.columns
    blind, held = server.blind, list[Any]()
    estimates: dict[str, list[list[Array]]] = {"30 bits": [], "the whole modulus": []}
    seconds, truths = 0.0, []

    def watched(handles: list[Any]) -> Any:
        held.append(handles)
        return blind(handles)

    for column in range(args.columns):
        server.blind = watched
        run = Deviating(plan, client, evaluation.key_id, np.zeros((1, weights.hidden)))
        run.column = column
        ServerRun(served, plan, server, evaluation.key_id).start(run.request())
        server.blind, handles = blind, held.pop()
        true = layout.unpack([client.decrypt(server.dump(a)) for a in handles])
        truths.append(wanted(weights, column))
        old = [true + draw(layout, bits).matrix for _ in range(each)]
        begin, new = time.perf_counter(), []
        for _ in range(each):
            seen = [client.decrypt(server.dump(a)) for a in blind(handles)[0]]
            new.append(layout.unpack(seen))
        seconds += time.perf_counter() - begin
        for name, found in (("30 bits", old), ("the whole modulus", new)):
            estimates[name].append([one.mean(axis=0) / LIFT for one in found])
    rows = [["masks", "runs a column", "correlation with the column", "relative error"]]
    for name, columns in estimates.items():
        for runs in sorted({1, 10, each}):
            pairs = [_score([*c[:runs]], t) for c, t in zip(columns, truths, strict=True)]
            correlation, error = np.median(np.abs(pairs), axis=0)
            record[f"{name}, {runs}"] = {"correlation": correlation, "relative_error": error}
            rows.append([name, str(runs), f"{correlation:.4f}", f"{error:.3g}"])
    record["seconds_a_masking"] = seconds / args.runs
    write("deviating", record, rows)


def _score(estimates: Sequence[Array], truth: Array) -> tuple[float, float]:
    estimate = np.mean(estimates, axis=0)
    error = float(np.linalg.norm(estimate - truth) / np.linalg.norm(truth))
    return float(np.corrcoef(estimate, truth)[0, 1]), error


if __name__ == "__main__":
    main()
