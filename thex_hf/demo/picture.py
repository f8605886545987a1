"""Bytes and numbers as small grey pictures, for the eye to compare."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray

from thex_hf._extras import require
from thex_hf.layout.engines import Vector

WIDTH = 96
"""Pixels in a row of bytes."""


def picture_of_bytes(data: bytes) -> str:
    """One byte a pixel, rows of :data:`WIDTH`, as a ``data:`` address; empty for too few bytes."""
    rows = len(data) // WIDTH
    if not rows:
        return ""
    return _png(np.frombuffer(data[: rows * WIDTH], np.uint8).reshape(rows, WIDTH))


def picture_of_numbers(values: Vector) -> str:
    """A matrix ``(rows, columns)`` as a ``data:`` address: its lowest number black."""
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low or 1.0) * 255.0
    return _png(scaled.round().astype(np.uint8))


def _png(pixels: NDArray[np.uint8]) -> str:
    image = require("PIL.Image", install="'thex_hf[demo]'", purpose="a picture of ciphertext")
    file = io.BytesIO()
    image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
