"""The server's circuit of a whole polynomial encoder: a generator that yields what it refreshes."""

from __future__ import annotations

from collections.abc import Generator

from thex_hf.circuits.context import CircuitSteps, Context, Handles, Reply
from thex_hf.circuits.polynomial.maps import FeedForward, PolynomialLayers
from thex_hf.circuits.polynomial.refresh_schedule import SingleRefreshSchedule, refresh
from thex_hf.circuits.single.last_layer import (
    attend_cls,
    cls_values,
    head_logits,
    logits,
    next_query,
    next_query_kept,
)
from thex_hf.circuits.single.layer import attend, flat, next_stream, queries, skew, split, squares
from thex_hf.ckks.packing.matmul import fill_groups

Streams = list[Handles]


def single_encoder(
    run: Context, refreshes: SingleRefreshSchedule, maps: PolynomialLayers, request: list[Handles]
) -> CircuitSteps:
    """Run the encoder on an encrypted request.

    Args:
        run: engine, cache, shape and ranges of what leaves.
        refreshes: where to refresh the stream.
        maps: folded weights.
        request: the stream's packings, then those of ``mask / n`` and of the mask.

    Yields the blinded stream at each refresh point, is sent the client's reply, and returns the
    logits, flooded, at level 0.
    """
    given = len(refreshes.packings(0))
    streams, (*skew_mask, mask) = request[:given], request[given:]
    last = refreshes.shape.layers - 1
    query: Handles = []
    values: Handles = []
    for index, ffn in enumerate(maps.ffn):
        streams = yield from _attention(run, refreshes, index, maps, streams, skew_mask[0])
        end = 2 * index + 1
        if index + 1 == last and refreshes.early_query:
            after, query, values = _into_last(run, maps, index, streams[0], mask)
            streams = [after]
            continue
        refreshed = end in refreshes.points
        hidden = squares(run, f"{index}", ffn, streams[0])
        after = next_stream(run, f"{index}", ffn, streams[0], hidden, whole=not refreshed)
        streams = (yield from _refreshed(run, refreshes, end, after)) if refreshed else [after]
        if not refreshed:
            level = run.engine.level(after[0]) - 1
            streams.append([run.engine.mod_switch(a, level) for a in skew(run, after)])
    if isinstance(maps.head, FeedForward):
        streams = yield from _attention(run, refreshes, last, maps, streams, skew_mask[0])
        return run.flood(head_logits(run, maps.head, streams[0], mask), refreshes.answer)
    name, attention = f"{last}", maps.attention[last]
    if not query:
        level = run.engine.level(streams[1][0]) - 1
        query, values = run.in_parallel(
            lambda: flat(queries(run, name, attention, streams[1], "row", "edge")),
            lambda: flat(cls_values(run, name, attention, streams[0], mask, level)),
        )
    count = len(attention.query)
    row = attend_cls(run, name, attention, split(query, count), streams[0], split(values, count))
    if 2 * last in refreshes.points:
        row = (yield from _refreshed(run, refreshes, 2 * last, row))[0]
    return run.flood(logits(run, maps.head, row), refreshes.answer)


def _into_last(
    run: Context, maps: PolynomialLayers, index: int, stream: Handles, mask: Handles
) -> tuple[Handles, Handles, Handles]:
    """The last layer's stream, queries and values from the stream before FFN ``index``."""
    ffn, attention = maps.ffn[index], maps.attention[index + 1]
    name, after = f"{index}", f"{index + 1}"
    hidden, kept = run.in_parallel(
        lambda: squares(run, name, ffn, stream),
        lambda: next_query_kept(run, after, attention, ffn, stream),
    )

    def stream_and_values() -> Handles:
        following = next_stream(run, name, ffn, stream, hidden, whole=False)
        level = run.engine.level(following[0])
        return following + flat(cls_values(run, after, attention, following, mask, level))

    query, both = run.in_parallel(
        lambda: next_query(run, after, attention, ffn, kept, hidden), stream_and_values
    )
    return both[: len(stream)], query, both[len(stream) :]


def _attention(
    run: Context,
    refreshes: SingleRefreshSchedule,
    index: int,
    maps: PolynomialLayers,
    streams: Streams,
    mask: Handles,
) -> Generator[list[Handles], Reply, Streams]:
    """``x + attention`` in ``dup``, refreshed when that is a refresh point."""
    stream, skewed = streams
    attended = attend(run, f"{index}", maps.attention[index], stream, skewed, mask)
    engine = run.engine
    total = [
        engine.add(
            fill_groups(engine, refreshes.shape.geometry, a), engine.mod_switch(x, engine.level(a))
        )
        for a, x in zip(attended, stream, strict=True)
    ]
    if 2 * index in refreshes.points:
        return (yield from _refreshed(run, refreshes, 2 * index, total))
    return [total]


def _refreshed(
    run: Context, refreshes: SingleRefreshSchedule, stage: int, stream: Handles
) -> Generator[list[Handles], Reply, Streams]:
    """The stream in its packings of the next stage."""
    run.begin_stage("masks")
    return (yield from refresh(run.engine, stream, refreshes.part(stage)))
