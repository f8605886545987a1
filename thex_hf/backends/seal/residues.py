"""The raw residues of SEAL's ciphertexts and plaintexts, read and written.

The binding shows no buffers. Residues are read from what SEAL saves, decompressed by the
zstd inside SEAL's own library, and written as an uncompressed frame, which SEAL validates.
Where that library does not show its zstd, :func:`inflater` has nothing to give.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from thex_hf.backends.numerics.modular import Words
from thex_hf.backends.seal.context import FRAME_SLACK, SealContext
from thex_hf.backends.seal.serialisation import frame, from_bytes, to_bytes
from thex_hf.errors import PlanError

Inflate: TypeAlias = Callable[..., int]

_LIBRARY = "_sealapi_cpp"
_FRAME_HEADER = 16
_ZSTD = 2
_FIELDS = struct.Struct("<32sBQQQdQ16sQ")  # up to the number of words; the words follow


@lru_cache(maxsize=1)
def inflater() -> Inflate | None:
    """``ZSTD_decompress`` of SEAL's library, or None where it is not shown."""
    module = sys.modules.get(_LIBRARY) or sys.modules.get(f"tenseal.sealapi.{_LIBRARY}")
    if sys.byteorder != "little" or module is None:
        return None
    try:
        function = ctypes.CDLL(str(module.__file__)).ZSTD_decompress
    except (AttributeError, OSError):
        return None
    function.restype = ctypes.c_size_t
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    inflate: Inflate = function
    return inflate


class CiphertextFormat:
    """How ciphertexts of two parts at one level look in bytes.

    Args:
        seal: the context.
        limbs: primes of the level.
        sample: a ciphertext of that level; what is written looks like it.

    Raises:
        PlanError: this SEAL writes ciphertexts in another way than we know.
    """

    def __init__(self, seal: SealContext, limbs: int, sample: Any) -> None:
        self._seal = seal
        self.shape = (2, limbs, seal.parameters.ring_degree)
        self._count = 2 * limbs * seal.parameters.ring_degree
        self._size = _FIELDS.size + 8 * self._count
        saved = to_bytes(sample.save)
        self._like = saved[:_FRAME_HEADER]
        raw = inflated(saved, self._size)
        self._head = bytes(raw[: _FIELDS.size])
        _, _, parts, degree, primes, *_, count = _FIELDS.unpack(self._head)
        if (parts, primes, degree, count) != (*self.shape, self._count):
            raise PlanError(
                f"combine cannot read this SEAL's ciphertexts: parts, primes, degree, words are "
                f"{(parts, primes, degree, count)}, not {(*self.shape, self._count)}"
            )

    def read(self, ciphertext: Any) -> Words:
        """The words, of shape ``(2, limbs, N)``."""
        raw = inflated(to_bytes(ciphertext.save), self._size)
        return np.frombuffer(raw, "<u8", self._count, _FIELDS.size).reshape(self.shape)

    def write(self, words: Words) -> Any:
        """A ciphertext of these words; SEAL checks them."""
        ciphertext = self._seal.api.Ciphertext()
        data = frame(self._head + words.tobytes(), like=self._like)

        def load(path: str) -> None:
            ciphertext.load(self._seal.context, path)

        from_bytes(load, data, what="ciphertext", limit=self._seal.ciphertext_limit())
        return ciphertext


def inflated(saved: bytes, size: int) -> bytearray:
    """The contents of a frame that SEAL has saved; :func:`inflater` must have something to give.

    Args:
        saved: the frame.
        size: bytes that it must hold.

    Raises:
        PlanError: it holds more or fewer.
    """
    contents = saved[_FRAME_HEADER:]
    if saved[5] != _ZSTD:
        raw, held = bytearray(contents), len(contents)
    else:
        inflate = inflater()
        assert inflate is not None
        raw = bytearray(size)
        target = (ctypes.c_char * size).from_buffer(raw)
        held = inflate(target, size, contents, len(contents))
    if held != size:
        raise PlanError(f"expected {size} bytes from this SEAL, got {held}: it is an unknown one")
    return raw


_PLAIN_FIELDS = struct.Struct("<4QQd")  # level, number of words, scale; then a frame of the words


class PlaintextFormat:
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
        raw = inflated(to_bytes(plaintext.save), _PLAIN_FIELDS.size + 24 + 8 * count)
        return np.frombuffer(raw, "<u8", count, _PLAIN_FIELDS.size + 24).reshape(shape)

    def write(self, words: Words, level: int) -> Any:
        """A plaintext of ``(level + 1, N)`` words; SEAL checks them."""
        plaintext = self._seal.api.Plaintext()
        inner = frame(struct.pack("<Q", words.size) + words.tobytes(), like=self._like)
        fields = _PLAIN_FIELDS.pack(*self._seal.ids[level], words.size, self._seal.parameters.scale)
        data = frame(fields + inner, like=self._like)

        def load(path: str) -> None:
            plaintext.load(self._seal.context, path)

        from_bytes(load, data, what="plaintext", limit=8 * words.size + FRAME_SLACK)
        return plaintext
