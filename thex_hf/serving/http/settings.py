"""Bounds of the HTTP service."""

from __future__ import annotations

from dataclasses import dataclass

from thex_hf.errors import OptionError


@dataclass(frozen=True)
class Settings:
    """What a client may ask of the service.

    Args:
        piece_bytes: of one piece of a key file.
        json_bytes: of a body that is JSON.
        head_bytes: of the line and the headers of a request.
        bodies: that are held at once; for one owner's see
            :func:`thex_hf.serving.fairness.share_exhausted`.
        connections: open at once.
        connections_per_address: open at once from one address; behind a proxy, where all come from
            its address, as many as ``connections``.
        head_seconds: that the headers of a request may take, from the first byte or, on a new
            connection, from its beginning.
        keep_seconds: that a connection may be without a request.
        idle_seconds: that a client may be silent while it sends a body, or takes an answer.
        body_seconds: that a body may take in all.
        body_rate: bytes a second that a body comes with at least, once ``idle_seconds`` are over.
        linger_seconds: that what a client still sends is read for after it was refused.
        sweep_seconds: between two looks for keys that nobody uses.

    Raises:
        OptionError: a bound that nothing fits.
    """

    piece_bytes: int = 8 << 20
    json_bytes: int = 4 << 10
    head_bytes: int = 16 << 10
    bodies: int = 32
    connections: int = 256
    connections_per_address: int = 64
    head_seconds: float = 10.0
    keep_seconds: float = 60.0
    idle_seconds: float = 30.0
    body_seconds: float = 600.0
    body_rate: float = 4096.0
    linger_seconds: float = 2.0
    sweep_seconds: float = 3600.0

    def __post_init__(self) -> None:
        """Check that every bound is above zero."""
        wrong = [name for name, value in vars(self).items() if value <= 0]
        if wrong:
            raise OptionError(f"bounds should be above zero: {', '.join(wrong)}")

    @classmethod
    def of_connections(cls, most: int, per_address: int | None) -> Settings:
        """The usual bounds with other numbers of connections.

        Args:
            most: at once.
            per_address: from one address; a quarter of all if None.
        """
        if per_address is None:
            per_address = max(1, most // 4)
        return cls(connections=most, connections_per_address=per_address)
