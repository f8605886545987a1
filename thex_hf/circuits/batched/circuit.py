"""The server's circuit of a whole batch: a generator that yields what it refreshes."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from thex_hf.circuits.batched.attention import attend, attend_cls
from thex_hf.circuits.batched.context import BatchContext, FeaturePairs
from thex_hf.circuits.batched.folding import BatchLayers, PairFeedForward, PairHead, stacked
from thex_hf.circuits.context import CircuitSteps, Handles, Reply
from thex_hf.circuits.polynomial.powers import double_real, multiply_parts
from thex_hf.circuits.polynomial.refresh_schedule import refresh
from thex_hf.ckks.engine import Handle, Vector


def batched_encoder(run: BatchContext, maps: BatchLayers, request: list[Handles]) -> CircuitSteps:
    """Run the encoder on an encrypted batch.

    Args:
        run: engine, cache, refresh schedule and ranges of what leaves.
        maps: folded weights.
        request: the stream's packings, then ``mask / n``.

    Yields the blinded state at each refresh point, is sent the client's reply, and returns the
    logits, flooded, at level 0: one ciphertext a label, zero but for token 0.
    """
    refreshes = run.refreshes
    streams, (mask,) = request[:-1], request[-1]
    for index, ffn in enumerate(maps.ffn):
        stage = 2 * index
        stream = run.pairs(streams[0])
        attended = attend(run, maps.attention[index], stream.at(refreshes.levels[stage]), mask)
        context = yield from _refreshed(run, stage, attended)
        streams = [feed_forward(run, ffn, stream, context)]
        del stream, context
        if stage + 1 in refreshes.points:
            streams = yield from refresh(run.engine, streams[0], refreshes.part(stage + 1))
    stream = run.pairs(streams[0])
    row = run.pairs(run.broadcast_cls(streams[0]) if refreshes.broadcasts_cls else streams[1])
    start = run.engine.level(row.handles[0])
    attended = attend_cls(run, maps.attention[-1], stream.at(start), row, mask)
    del stream, streams
    context = yield from _refreshed(run, refreshes.last, attended)
    return run.flood(logits(run, maps.head, row, context))


def _refreshed(
    run: BatchContext, stage: int, context: Handles
) -> Generator[list[Handles], Reply, FeaturePairs]:
    """The context, refreshed when its stage is a refresh point."""
    if stage in run.refreshes.points:
        (context,) = yield from refresh(run.engine, context, run.refreshes.part(stage))
    return run.pairs(context)


def feed_forward(
    run: BatchContext, ffn: PairFeedForward, stream: FeaturePairs, context: FeaturePairs
) -> Handles:
    """The next stream from that before attention and from the context. Levels: 3."""
    engine = run.engine
    level = engine.level(context.handles[0])
    joined = stream.at(level).followed_by(context)
    count = len(ffn.up.bias)
    results = run.apply(stacked([ffn.up, ffn.keep]), joined)
    kept = [engine.mod_switch(a, level - 3) for a in results[count:]]
    hidden, gain = results[:count], engine.scale_ratio(level - 1)
    del joined, results
    squares = [multiply_parts(engine, a, a) for a in hidden]
    down, conjugated = ffn.down / gain, ffn.down_conjugate / gain
    sums = run.apply_both(down, conjugated, np.zeros(len(down)), squares)
    return [engine.add(a, b) for a, b in zip(sums, kept, strict=True)]


def logits(run: BatchContext, head: PairHead, row: FeaturePairs, context: FeaturePairs) -> Handles:
    """One handle a label. Levels: 3."""
    engine = run.engine
    level = engine.level(context.handles[0])
    joined = row.at(level).followed_by(context)
    gain = engine.scale_ratio(level - 1)
    results = run.apply(stacked([head.row.divided_by(gain), *head.forms]), joined)
    size = len(head.row.bias)
    row_handles, forms = results[:size], results[size:]
    out = []
    for label in range(len(head.bias)):
        terms = forms[label * size : (label + 1) * size]
        total = run.add_all([engine.mul(a, b) for a, b in zip(row_handles, terms, strict=True)])
        out.append(double_real(engine, run.relinearise_rescale(total)))
    return [
        _plus(run, a, float(b)) for a, b in zip(run.keep_first_token(out), head.bias, strict=True)
    ]


def _plus(run: BatchContext, a: Handle, number: float) -> Handle:
    """Add a number for token 0 of every text."""
    vector: Vector = np.where(np.arange(run.engine.slots) < run.refreshes.texts, number, 0.0)
    plain = run.engine.encode(vector, run.engine.level(a), factor=False)
    return run.engine.add_plain(a, plain)
