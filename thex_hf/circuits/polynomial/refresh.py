"""A refresh: the server blinds ciphertexts, the client encrypts what it decrypts afresh."""

from __future__ import annotations

from collections.abc import Generator

from thex_hf.circuits.context import Handles, Reply
from thex_hf.circuits.schedule import Part
from thex_hf.ckks.engine import ServerEngine


def refresh(
    engine: ServerEngine, handles: Handles, part: Part
) -> Generator[list[Handles], Reply, list[Handles]]:
    """Blind handles, have them encrypted afresh, and take the blinding off.

    Args:
        engine: the server's.
        handles: all of one level.
        part: the round trip's only part: how they come back.

    Yields the blinded handles, is sent the client's reply, and returns, for each packing of the
    part, its handles at the packing's level.
    """
    blinded, blinding = engine.blind(handles)
    reply = yield [blinded]
    return [
        engine.unblind(fresh, blinding, move)
        for fresh, (move, _) in zip(reply[0], part.moves, strict=True)
    ]
