"""The prepared protocol in simulation: the network on integers, without tickets.

A number may wrap around as it may with a ticket. Then the text is computed again by other
roundings, as the client takes another ticket.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from thex_hf._progress import progress
from thex_hf.circuits.protocols import PROTOCOL_FACTS
from thex_hf.circuits.shape import bucket
from thex_hf.ckks.engine import Vector
from thex_hf.errors import RangeError, TextError
from thex_hf.prepared.clear import ClearRun
from thex_hf.prepared.plan import PROTOCOL, PreparedPlan, prepared_plan
from thex_hf.protocol.client import check_embeddings
from thex_hf.protocol.prepared_client import WRAPS, check_wrapped, read_rows
from thex_hf.protocol.result import Outcome, Result
from thex_hf.weights import EncoderWeights


class PreparedSimulation:
    """Computes what the protocol computes: the same integers, rounded by drawn shares.

    Args:
        weights: the converted encoder.
        softmax: of a model of the THE-X form.

    Raises:
        PlanError: another softmax than the client finishes.
    """

    wrap_probability: float
    """Of all texts so far, the sum of the probabilities that a number wraps around."""

    def __init__(self, weights: EncoderWeights, softmax: str = "estimate") -> None:
        self._weights, self._softmax, self.wrap_probability = weights, softmax, 0.0
        self._plans: dict[int, PreparedPlan] = {}

    def plan(self, tokens: int) -> PreparedPlan:
        """The plan for a text of ``tokens`` tokens. Raises PlanError: too many."""
        size = bucket(tokens, PROTOCOL_FACTS[PROTOCOL].buckets)
        if size not in self._plans:
            self._plans[size] = prepared_plan(self._weights, size, softmax=self._softmax)
        return self._plans[size]

    def run(self, embeddings: Vector) -> Result:
        """Classify one text from its embeddings ``(tokens, d)``.

        Raises:
            InputError: they do not fit the model.
            RangeError: a number wrapped around, or the text is unlike all that the model knows.
        """
        begin = time.perf_counter()
        plan = self.plan(len(embeddings))
        check_embeddings(plan, embeddings)
        for wraps in range(WRAPS + 1):
            network = ClearRun(plan.network, plan.numbers)
            logits = read_rows(plan, network.run(embeddings), len(embeddings))
            self.wrap_probability += network.wrap_probability
            try:
                check_wrapped(logits, overflown=network.overflown)
                break
            except RangeError:
                if wraps == WRAPS:
                    raise
        seconds = time.perf_counter() - begin
        return Result(logits, plan, plan.rounds, 0, 0, 0.0, server_seconds=seconds, wraps=wraps)

    def run_many(self, embeddings: Sequence[Vector]) -> list[Outcome]:
        """Classify several texts: in their order a result, or why that text has none."""
        outcomes: list[Outcome] = []
        with progress(len(embeddings), "classifying") as bar:
            for text in embeddings:
                try:
                    outcomes.append(self.run(text))
                except TextError as error:
                    outcomes.append(error)
                bar.update()
        return outcomes
