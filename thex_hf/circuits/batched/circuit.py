"""The server's circuit of a whole batch: a generator that yields what it refreshes.

Attention is of every query, or of [CLS] only. Scores for shift ``s = a + g b`` (``g`` baby steps)
belong to query ``t`` and key ``t + s``. They are made, and used, turned back by ``g b``: queries
are turned back by giant steps once, keys and values forward by baby steps, and only finished sums
of values are turned by giant steps again.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np

from thex_hf.circuits.affine import Affine
from thex_hf.circuits.batched.context import BatchContext, FeaturePairs
from thex_hf.circuits.context import CircuitSteps, Handles, Reply
from thex_hf.circuits.polynomial.folding import (
    BatchLayers,
    PairAttention,
    PairFeedForward,
    PairHead,
    stacked,
)
from thex_hf.circuits.polynomial.powers import double_real, multiply, multiply_parts, power
from thex_hf.circuits.polynomial.refresh_schedule import refresh
from thex_hf.ckks.engine import Handle, Vector

BABY_COST, GIANT_COST = 4, 5  # key switches of a step: key and value, or query and two of a sum


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


def baby_steps(tokens: int) -> int:
    """Shifts that keys and values are turned by one by one: a power of two."""
    powers = [1 << k for k in range(tokens.bit_length())]
    return min(powers, key=lambda b: BABY_COST * b + GIANT_COST * (tokens // b))


def attend(run: BatchContext, maps: PairAttention, stream: FeaturePairs, mask: Handle) -> Handles:
    """Context of every query, before the output projection.

    Args:
        run: engine, cache and refresh schedule.
        maps: folded weights.
        stream: ``pairs`` at level L.
        mask: ``mask / n`` of every token, at a level high enough.

    Levels: 4, 5 or 6 for powers 2, 4 and 6.
    """
    query, key, value = _project(run, maps, stream)
    size = len(query) // maps.heads
    baby_count = baby_steps(run.refreshes.shape.tokens)
    giant_count = run.refreshes.shape.tokens // baby_count
    heads = [range(h * size, (h + 1) * size) for h in range(maps.heads)]
    weights, gain = [], 1.0
    for h, pairs in enumerate(heads):
        raised = [
            _attention_weights(run, maps, h, score)
            for score in _scores(run, query, key, pairs, baby_count, giant_count)
        ]
        weights.append([handle for handle, _ in raised])
        gain = raised[0][1]
    del query, key
    level = run.engine.level(weights[0][0])
    masked = _masked(run, value, mask, level, gain)
    return [
        _context(run, head_weights, next(masked), baby_count, giant_count)
        for head_weights, pairs in zip(weights, heads, strict=True)
        for _ in pairs
    ]


def attend_cls(
    run: BatchContext, maps: PairAttention, stream: FeaturePairs, row: FeaturePairs, mask: Handle
) -> Handles:
    """Context of [CLS], in the place of every token.

    Args:
        run: engine, cache and refresh schedule.
        maps: folded weights.
        stream: ``pairs`` at level L.
        row: ``row`` at level L.
        mask: ``mask / n`` of every token, at a level high enough.

    Levels: 4, 5 or 6.
    """
    engine = run.engine
    query = run.apply(_query_without_drift(run, maps.query, stream), row)
    results = run.apply(stacked([maps.key, maps.value]), stream)
    key, value = results[: len(query)], results[len(query) :]
    size = len(query) // maps.heads
    weights, gain = [], 1.0
    for h in range(maps.heads):
        head = range(h * size, (h + 1) * size)
        score = run.add_all([engine.mul(query[f], key[f]) for f in head])
        handle, gain = _attention_weights(run, maps, h, score)
        weights.append(handle)
    masked = _masked(run, value, mask, engine.level(weights[0]), gain)
    return [
        run.sum_tokens(run.relinearise_rescale(engine.mul(weights[f // size], a)))
        for f, a in enumerate(masked)
    ]


def _project(
    run: BatchContext, maps: PairAttention, stream: FeaturePairs
) -> tuple[Handles, Handles, Handles]:
    """Queries, keys and values. Levels: 1."""
    every = stacked([_query_without_drift(run, maps.query, stream), maps.key, maps.value])
    results = run.apply(every, stream)
    count = len(maps.query.bias)
    return results[:count], results[count : 2 * count], results[2 * count :]


def _query_without_drift(run: BatchContext, query: Affine, stream: FeaturePairs) -> Affine:
    """The query's map with the scale ratio of its product with the keys divided out."""
    return query.divided_by(run.engine.scale_ratio(run.engine.level(stream.handles[0]) - 1))


def token_rotations(run: BatchContext, a: Handle, step: int, count: int) -> Handles:
    """``a`` turned by ``0, step, 2 step, ...`` tokens, with one key."""
    out = [a]
    for _ in range(count - 1):
        out.append(run.engine.rotate(out[-1], step * run.refreshes.texts))
    return out


def _scores(
    run: BatchContext, query: Handles, key: Handles, pairs: range, baby_count: int, giant_count: int
) -> Handles:
    """Products of one head, not yet relinearised; giant by giant, turned back."""
    engine = run.engine
    sums: list[Handle | None] = [None] * (baby_count * giant_count)
    for f in pairs:
        back = token_rotations(run, query[f], -baby_count, giant_count)
        forth = token_rotations(run, key[f], 1, baby_count)
        for index, total in enumerate(sums):
            product = engine.mul(back[index // baby_count], forth[index % baby_count])
            sums[index] = product if total is None else engine.add(total, product)
    return sums


def _attention_weights(
    run: BatchContext, maps: PairAttention, head: int, products: Handle
) -> tuple[Handle, float]:
    """Attention weights of one head, before the mask; and their gain. Levels: 1 + the power's."""
    score = double_real(run.engine, run.relinearise_rescale(products))
    shifted = run.add_number(score, float(maps.shift[head]))
    return power(run.engine, shifted, maps.power, multiply)


def _masked(
    run: BatchContext, value: Handles, mask: Handle, level: int, gain: float
) -> Iterator[Handle]:
    """Values times ``mask / n`` at ``level``, one after the other.

    ``gain`` and the scale ratios of both products are divided out of the mask, by a number. Levels:
    2 from ``level``.
    """
    engine = run.engine
    divisor = gain * engine.scale_ratio(level + 1) * engine.scale_ratio(level)
    share = engine.mod_switch(mask, level + 2)
    (share,) = engine.combine([share], np.array([[1.0 / divisor]]), np.zeros(1))
    for a in value:
        yield run.relinearise_rescale(engine.mul(engine.mod_switch(a, level + 1), share))


def _context(
    run: BatchContext, weights: Handles, value: Handle, baby_count: int, giant_count: int
) -> Handle:
    """Sum over keys of weight times value, for one pair of features. Levels: 1."""
    engine = run.engine
    forth = token_rotations(run, value, 1, baby_count)
    total: Handle | None = None
    for giant in reversed(range(giant_count)):
        giant_weights = weights[giant * baby_count : (giant + 1) * baby_count]
        products = [engine.mul(a, b) for a, b in zip(giant_weights, forth, strict=True)]
        part = engine.relinearise(run.add_all(products))
        if total is not None:
            part = engine.add(part, engine.rotate(total, baby_count * run.refreshes.texts))
        total = part
    return engine.rescale(total)
