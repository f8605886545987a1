"""The ``client-aided`` circuit on plain numbers, through its whole schedule."""

import numpy as np
from exact_engine import ExactEngine

from thex_hf.circuits.client_aided.circuit import client_aided_encoder
from thex_hf.circuits.client_aided.planner import make_plan
from thex_hf.circuits.client_aided.projections import fold
from thex_hf.circuits.context import Context
from thex_hf.circuits.masks import RangeBits
from thex_hf.ckks.plaintext_cache import PlaintextCache
from thex_hf.protocol.client import answer_part


def bits_for(weights):
    layers = len(weights.layers)
    return RangeBits((2,) * layers, (0,) + (2,) * (layers - 1))


def run_exactly(weights, tokens, embeddings, softmax="estimate"):
    """The whole circuit on numbers; returns (plan, engine, sent vectors by part, answer)."""
    plan = make_plan(weights, tokens, bits_for(weights), softmax=softmax)
    engine = ExactEngine(plan.shape.geometry.slots)
    run = Context(engine, PlaintextCache(), plan.shape, plan.bits, softmax)
    padded = np.zeros((tokens, weights.hidden))
    padded[: len(embeddings)] = embeddings
    mask = (np.arange(tokens) < len(embeddings)).astype(float)

    def encrypt(vectors, level):
        return [engine.encrypt(v, level) for v in vectors]

    request = [encrypt(lay.pack(padded[: lay.tokens]), lv) for lay, lv in plan.schedule.request]
    steps = client_aided_encoder(run, fold(weights), request)
    handles, seen = next(steps), []
    for round_trip in plan.schedule.round_trips:
        reply = []
        for part, sent in zip(round_trip.parts, handles, strict=True):
            vectors = [a[0] for a in sent]
            seen.append((part, vectors))
            packed = answer_part(part, vectors, mask, softmax)
            reply.append([encrypt(v, lv) for v, (_, lv) in zip(packed, part.returns, strict=True)])
        try:
            handles = steps.send(reply)
        except StopIteration as stop:
            return plan, engine, seen, [a[0] for a in stop.value], mask, padded
    raise AssertionError("the circuit did not end with the schedule")
