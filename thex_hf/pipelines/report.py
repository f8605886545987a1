"""What one classified text cost, and how its answer compares with the clear model's.

:class:`LastReports` keeps those of each thread's last call.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from thex_hf.ckks.engine import Vector


@dataclass(frozen=True)
class Seconds:
    """Wall-clock seconds. ``keygen`` and ``prepare`` are one-time costs: 0 when paid before.

    ``prepare`` is of the encoding of weights, or under ``prepared`` of a batch of tickets.
    """

    keygen: float = 0.0
    prepare: float = 0.0
    client: float = 0.0
    server: float = 0.0


@dataclass(frozen=True)
class Bytes:
    """``keys``: evaluation keys, uploaded once; ``up`` and ``down``: this text's messages.

    All 0 unless ``fhe="execute"``: nothing else makes ciphertexts. ``prepare_up`` and
    ``prepare_down`` are of the text's ticket, sent when it was prepared; None where there is none.
    """

    keys: int = 0
    up: int = 0
    down: int = 0
    prepare_up: int | None = None
    prepare_down: int | None = None

    def to_json(self) -> dict[str, int]:
        """Plain JSON values; those of a ticket only where there is one."""
        return {name: count for name, count in asdict(self).items() if count is not None}


@dataclass(frozen=True)
class Window:
    """One window of a long text.

    ``tokens`` and ``bucket`` as in :class:`Report`; ``logits`` are its own, before those of all
    windows were pooled; ``key_bytes`` are those of the evaluation keys that it was sent under,
    which windows of one padded length share.
    """

    tokens: int
    bucket: int
    logits: list[Any]
    key_bytes: int = 0


@dataclass(frozen=True)
class Agreement:
    """The clear model on the same text, when asked for.

    ``label`` is what the clear model says: of several labels at once all that apply, of a token
    classifier those of all tokens but the special ones, in order. ``same_label`` tells whether the
    report's logits say just that; ``same_tokens`` is the share of such tokens with the same label,
    None if texts are classified. The difference is over all logits.
    """

    label: str
    same_label: bool
    largest_logit_difference: float
    same_tokens: float | None = None


@dataclass(frozen=True)
class Report:
    """One text's report.

    Args:
        logits: in the model's label order; of a token classifier one such list for each true
            token, special ones included.
        tokens: true tokens, known to the client only.
        bucket: padded length, all that the server learns of it.
        protocol: ``client-aided``, ``refresh``, ``one-shot`` or ``prepared``.
        backend: engine that ran; ``torch`` with ``fhe="disable"``.
        fhe: ``disable``, ``simulate`` or ``execute``.
        seconds: see :class:`Seconds`.
        rounds: requests from client to server.
        bytes: see :class:`Bytes`.
        levels: levels of a fresh ciphertext.
        key_switches: rotations, conjugations and relinearisations on the server.
        batch: texts in the same request; seconds and bytes are this text's share.
        ring_degree: N; 0 when no circuit ran.
        modulus_bits: bits of the whole modulus, within the 128-bit limit of N.
        tickets: left for texts of this padded length, under ``prepared``; else None.
        wraps: tickets that were spent on this text before the one that answered it, since a number
            wrapped around; None as ``tickets``.
        agreement: see :class:`Agreement`.
        windows: of a text that was classified with ``window=``, see :class:`Window`; None: it was
            not. Seconds, bytes, rounds, key switches and wraps are then those of all windows;
            the bucket, levels and tickets are those of the largest.
        error: why the text has no answer; its logits are empty then, and the numbers 0.
    """

    logits: list[Any]
    tokens: int
    bucket: int
    protocol: str
    backend: str
    fhe: str
    seconds: Seconds = field(default_factory=Seconds)
    rounds: int = 0
    bytes: Bytes = field(default_factory=Bytes)
    levels: int = 0
    key_switches: int = 0
    batch: int = 1
    ring_degree: int = 0
    modulus_bits: int = 0
    tickets: int | None = None
    wraps: int | None = None
    agreement: Agreement | None = None
    windows: list[Window] | None = None
    error: str | None = None

    @property
    def requests(self) -> list[Window]:
        """What went to the server for this text: its windows, or the one that it is as a whole."""
        if self.windows is not None:
            return self.windows
        return [Window(self.tokens, self.bucket, self.logits, self.bytes.keys)]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; what may be None only where it is not."""
        fields = {**asdict(self), "bytes": self.bytes.to_json()}
        return {name: value for name, value in fields.items() if value is not None}


def joined(windows: Sequence[Report], logits: list[Any], tokens: int) -> Report:
    """The report of a text from those of its windows.

    Args:
        windows: at least one.
        logits: of the text.
        tokens: of the text.
    """
    largest = max(windows, key=lambda one: one.bucket)
    of_largest = [one for one in windows if one.bucket == largest.bucket]
    sizes = [one.bytes for one in windows]
    return replace(
        largest,
        logits=logits,
        tokens=tokens,
        seconds=Seconds(
            *(sum(getattr(x.seconds, one.name) for x in windows) for one in fields(Seconds))
        ),
        rounds=sum(one.rounds for one in windows),
        bytes=Bytes(
            keys=sum({one.keys for one in sizes}),  # one size for each key set
            up=sum(one.up for one in sizes),
            down=sum(one.down for one in sizes),
            prepare_up=_sum(one.prepare_up for one in sizes),
            prepare_down=_sum(one.prepare_down for one in sizes),
        ),
        key_switches=sum(one.key_switches for one in windows),
        batch=max(one.batch for one in windows),
        tickets=None if largest.tickets is None else min(one.tickets or 0 for one in of_largest),
        wraps=_sum(one.wraps for one in windows),
        windows=[Window(one.tokens, one.bucket, one.logits, one.bytes.keys) for one in windows],
    )


def _sum(counts: Iterable[int | None]) -> int | None:
    """Of those that there are; None if there are none."""
    found = [count for count in counts if count is not None]
    return sum(found) if found else None


class LastReports:
    """The reports of each thread's last call; no thread sees those of another."""

    def __init__(self) -> None:
        self._own = threading.local()

    def begin(self) -> list[Report]:
        """A new call of this thread: the list that its reports will go to."""
        self._own.reports = []  # not emptied: who holds the old list keeps it
        return self.last()

    def last(self) -> list[Report]:
        """Of this thread's last call; empty if there was none."""
        if not hasattr(self._own, "reports"):
            self._own.reports = []
        reports: list[Report] = self._own.reports
        return reports

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy has no reports yet."""
        return type(self), ()


SEVERAL = "multi_label_classification"


def compare(
    clear: Vector, encrypted: Vector, config: Any, special: Sequence[int] | None = None
) -> Agreement:
    """Tell whether two answers name the same labels, and how far their logits are apart.

    Args:
        clear: logits ``(labels,)`` of the clear model, or ``(n, labels)`` if it classifies tokens.
        encrypted: the circuit's, of the same shape.
        config: the model's configuration.
        special: of each token, 1 for those that are no part of the text; None: there are none.
    """
    names: Mapping[int, str] = config.id2label
    difference = float(np.abs(clear - encrypted).max())
    if clear.ndim == 2:
        real = np.ones(len(clear), bool) if special is None else np.asarray(special) == 0
        best, mine = clear[real].argmax(-1), encrypted[real].argmax(-1)
        share = float((best == mine).mean()) if len(best) else 1.0
        label = " ".join(str(names[int(i)]) for i in best)
        return Agreement(label, share == 1.0, difference, share)
    if config.problem_type == SEVERAL:
        wanted = np.flatnonzero(clear > 0)
        label = ", ".join(str(names[int(i)]) for i in wanted)
        return Agreement(label, bool(((clear > 0) == (encrypted > 0)).all()), difference)
    best_label, encrypted_label = int(clear.argmax()), int(encrypted.argmax())
    return Agreement(str(names[best_label]), best_label == encrypted_label, difference)
