"""Bounds of the HTTP service."""

from __future__ import annotations

from dataclasses import dataclass

from thex_hf.errors import OptionError


@dataclass(frozen=True)
class Settings:
    """What a client may ask of the service.

    Args:
        piece_bytes: of one piece of a key file.
        bodies: that are read at once.
        connections: open at once.
        idle_seconds: that a client may be silent while it sends a body.
        body_seconds: that a body may take in all.
        sweep_seconds: between two looks for keys that nobody uses.

    Raises:
        OptionError: a bound that nothing fits.
    """

    piece_bytes: int = 8 << 20
    bodies: int = 32
    connections: int = 256
    idle_seconds: float = 30.0
    body_seconds: float = 600.0
    sweep_seconds: float = 3600.0

    def __post_init__(self) -> None:
        """Check that every bound is above zero."""
        wrong = [name for name, value in vars(self).items() if value <= 0]
        if wrong:
            raise OptionError(f"bounds should be above zero: {', '.join(wrong)}")
