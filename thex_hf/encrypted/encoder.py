"""The server's circuit for a whole encoder: a generator that yields visits."""

from __future__ import annotations

from thex_hf.encrypted.context import Context, Handles
from thex_hf.encrypted.folding import FoldedLayer
from thex_hf.encrypted.program import Steps
from thex_hf.encrypted.schedule import stream_packings
from thex_hf.encrypted.server_layers import full_layer, last_layer, token_layer


def encode(run: Context, layers: tuple[FoldedLayer, ...], request: list[Handles]) -> Steps:
    """Run the encoder on an encrypted request.

    Yields the handles of each visit of :func:`thex_hf.encrypted.schedule.make_schedule`, in
    order, and is sent the client's replies. Returns the logits. Levels: see the schedule.
    """
    stream, second = request
    for index, layer in enumerate(layers[:-1]):
        after = yield from full_layer(run, index, layer, stream, second)
        hidden, mask = run.hide(run.shape.stream("solo"), after, run.bits.stream[index + 1])
        reply = yield [hidden]
        packings = stream_packings(run.shape, index + 1)
        stream, second = (
            run.reveal(handles, mask, layout)  # type: ignore[arg-type]
            for handles, (layout, _) in zip(reply[0], packings, strict=True)
        )
    final = last_layer if run.shape.head == "cls" else token_layer
    return (yield from final(run, len(layers) - 1, layers[-1], stream, second))
