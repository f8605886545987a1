"""The raw residues of SEAL's plaintexts, read and written.

As in :mod:`.seal_words` they are read from what SEAL saves and written as an uncompressed
frame, which SEAL validates. Where nothing can decompress, words are read one by one.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from thex_hf.backends.modular import Words
from thex_hf.backends.seal_context import FRAME_SLACK, SealContext
from thex_hf.backends.seal_frame import frame
from thex_hf.backends.seal_io import from_bytes, to_bytes
from thex_hf.backends.seal_words import inflated, inflater

_FIELDS = struct.Struct("<4QQd")  # level, number of words, scale; then a frame of the words


class PlainFormat:
    """Reads and writes plaintexts in NTT form at the nominal scale. Holds no key."""

    def __init__(self, seal: SealContext) -> None:
        self._seal = seal
        self._degree = seal.parameters.ring_degree
        self._like = to_bytes(seal.api.Plaintext().save)

    def read(self, plaintext: Any, level: int) -> Words:
        """The words, of shape ``(level + 1, N)``.

        Raises:
            PlanError: this SEAL writes plaintexts in another way than we know.
        """
        shape = (level + 1, self._degree)
        count = (level + 1) * self._degree
        if inflater() is None:
            return np.fromiter(map(plaintext.data, range(count)), np.uint64, count).reshape(shape)
        raw = inflated(to_bytes(plaintext.save), _FIELDS.size + 24 + 8 * count)
        return np.frombuffer(raw, "<u8", count, _FIELDS.size + 24).reshape(shape)

    def write(self, words: Words, level: int) -> Any:
        """A plaintext of ``(level + 1, N)`` words; SEAL checks them."""
        plaintext = self._seal.api.Plaintext()
        inner = frame(struct.pack("<Q", words.size) + words.tobytes(), like=self._like)
        fields = _FIELDS.pack(*self._seal.ids[level], words.size, self._seal.parameters.scale)
        data = frame(fields + inner, like=self._like)

        def load(path: str) -> None:
            plaintext.load(self._seal.context, path)

        from_bytes(load, data, what="plaintext", limit=8 * words.size + FRAME_SLACK)
        return plaintext
