"""The polynomial circuit on plain numbers, through its whole schedule."""

import numpy as np
from exact_engine import ExactEngine
from reference import polynomial_logits, random_polynomial_weights

from thex_hf.backends.registry import get_backend
from thex_hf.circuits.dispatch import plan_for
from thex_hf.circuits.flood import Flood
from thex_hf.circuits.masks import RangeBits
from thex_hf.circuits.polynomial.folding import fold_polynomial
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.circuits.shape import Schedule
from thex_hf.circuits.single.planner import single_circuit
from thex_hf.ckks.plaintext_cache import PlaintextCache
from thex_hf.protocol.keys import key_request
from thex_hf.protocol.server import ServedModel

# sizes of the model, ring, bucket, true length
CASES = {
    "one ciphertext": ({}, 8192, 32, 20),
    "two blocks": ({"hidden": 96, "heads": 4, "intermediate": 150}, 2048, 16, 16),
    "two tiles": ({"hidden": 16, "heads": 2, "intermediate": 40}, 1024, 32, 21),
    "odd heads": ({"hidden": 48, "heads": 3, "intermediate": 65, "labels": 5}, 2048, 16, 9),
    "one layer": ({"layers": 1, "labels": 3}, 2048, 16, 1),
    "many labels": ({"layers": 1, "hidden": 16, "labels": 20, "intermediate": 30}, 1024, 16, 5),
    "three layers": ({"layers": 3, "hidden": 16, "intermediate": 24}, 1024, 16, 11),
    "power four": ({"power": 4}, 2048, 16, 12),
    "power six": ({"power": 6, "layers": 3, "hidden": 16, "intermediate": 24}, 1024, 16, 12),
    "centred norms": ({"centred": True}, 2048, 16, 12),
}

FAINT = Flood(30, -30)
SMALLEST = {"layers": 1, "hidden": 16, "intermediate": 16}


def pack_request(schedule: Schedule, embeddings, tokens):
    padded = np.zeros((tokens, embeddings.shape[1]))
    padded[: len(embeddings)] = embeddings
    mask = np.zeros((tokens, 1))
    mask[: len(embeddings)] = 1 / len(embeddings)
    for layout, level in schedule.request:
        yield layout.pack(padded[: layout.tokens]), level
    for layout, level in schedule.averaging_masks:
        yield layout.pack(np.repeat(mask, layout.features, axis=1)), level
    for layout, level in schedule.token_masks:
        yield layout.pack(np.repeat(mask > 0, layout.features, axis=1) * 1.0), level


def real_halves():
    """A small model under real encryption at 128 bits, with rests: both sides and their plan."""
    backend, weights = get_backend("seal"), random_polynomial_weights(**SMALLEST)
    plan = plan_for(weights, 16, [{"attention_out": 7.0}], PlanOptions("refresh", ring=8192))
    secret, evaluation = backend.generate(key_request(plan))
    client = backend.client(plan.parameters, secret)
    server = backend.server(plan.parameters, evaluation, plan.rotations)
    return ServedModel(weights), plan, client, server, evaluation.key_id


def run_exactly(weights, refreshes, length, seed=1, flood=FAINT, spoil=lambda vector: vector):
    """Logits of the circuit on numbers, the engine, and what the client decrypted.

    ``spoil`` changes the slots of every reply before they are encrypted.
    """
    engine = ExactEngine(refreshes.shape.geometry.slots)
    embeddings = np.random.default_rng(seed).normal(size=(length, weights.hidden)) * 0.7
    bits = RangeBits((), (4,) * (2 * len(weights.layers)))
    circuit = single_circuit(refreshes, bits, fold_polynomial(weights), flood)

    def encrypt(vectors, level):
        return [engine.encrypt(v, level) for v in vectors]

    schedule = refreshes.schedule
    request = [
        encrypt(v, level) for v, level in pack_request(schedule, embeddings, refreshes.shape.tokens)
    ]
    steps, seen = circuit(engine, PlaintextCache(), request), []
    try:
        sent = next(steps)
        for round_trip in schedule.round_trips:
            (part,), (handles,) = round_trip.parts, sent
            assert [engine.level(a) for a in handles] == [part.level] * part.sends.ciphertexts
            vectors = [a[0] for a in handles]
            seen.append(vectors)
            reply = [
                encrypt([spoil(v) for v in move.apply(vectors)], level)
                for move, level in part.moves
            ]
            sent = steps.send([reply])
    except StopIteration as stop:
        answer = stop.value
    assert [engine.level(a) for a in answer] == [0] * schedule.answer.ciphertexts
    wanted = polynomial_logits(weights, embeddings)
    return [a[0] for a in answer], wanted, engine, seen
