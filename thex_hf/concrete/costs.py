"""What a text costs under Concrete: every map once on zeros, with throwaway keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from thex_hf.concrete.session import BUCKETS, ConcreteSession
from thex_hf.protocol.costs import Estimate
from thex_hf.protocol.progress import progress


def estimate_texts(session: ConcreteSession, sizes: Sequence[int]) -> list[Estimate]:
    """Costs of texts of each size in tokens.

    Every map runs once on the rows of the smallest bucket; seconds and bytes of a map grow with
    its rows. Takes about as long as one short text, and the keys of the session.

    Raises:
        PlanError: too many tokens, or a model of another form or head.
        ChildError: a worker died.
    """
    client, server = session.roles()
    small = session.plan(BUCKETS[0])
    ready = session.prepare(small)
    seconds, up, down = {}, {}, {}
    with progress(len(small.maps), "timing circuits") as bar:
        for name, own in small.maps.items():
            frame = own.frame
            server.seconds = 0.0
            request = client.encrypt(frame, np.zeros((frame.rows, sum(frame.widths)), np.int64))
            reply = server.run(name, request)
            seconds[name], up[name], down[name] = server.seconds, len(request), len(reply)
            bar.update()
    out = []
    for size in sizes:
        large = session.plan(size)
        ratios = [
            (name, other.frame.rows / own.frame.rows)
            for (name, own), other in zip(small.maps.items(), large.maps.values(), strict=True)
        ]
        out.append(
            Estimate(
                tokens=large.tokens,
                protocol="client-aided",
                ring_degree=0,
                modulus_bits=0,
                levels=0,
                rounds=len(large.maps),
                key_switches=0,
                key_bytes=ready.key_bytes,
                up_bytes=_total(up, ratios),
                down_bytes=_total(down, ratios),
                plaintext_bytes=0,
                prepare_seconds=ready.prepare,
                server_seconds=sum(seconds[name] * ratio for name, ratio in ratios),
            )
        )
    return out


def _total(bytes_of: Mapping[str, int], ratios: Sequence[tuple[str, float]]) -> int:
    return round(sum(bytes_of[name] * ratio for name, ratio in ratios))
