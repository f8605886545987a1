"""SEAL's keys for a server: no longer than their levels, the public one with a seed in it.

A key-switching key has one digit for each prime, and each digit one residue for each
prime and the special one: its size grows with the square of the level it reaches. A key
that is used up to some level is made under that level's own context (the same primes
without the higher ones), from the same secret. SEAL names a level by its primes, so the
levels of both contexts are the same ones, and ciphertexts pass from one to the other.
"""

from __future__ import annotations

import ctypes
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from thex_hf.backends.seal.context import SealContext, SealHandle
from thex_hf.backends.seal.residues import inflater
from thex_hf.backends.seal.serialisation import frame, to_bytes
from thex_hf.errors import WireError

SPARE_KEYS = 4  # a server reads that many times the Galois keys it needs, and no more
_ENTRY = struct.Struct("<BQ")  # level and length of the SEAL frame that follows


class KeyMaker:
    """Makes serialised evaluation keys, seed-compressed, from one secret key.

    Args:
        seal: the whole context.
        secret: SEAL's secret key under it.
    """

    def __init__(self, seal: SealContext, secret: Any) -> None:
        self._seal = seal
        self._secret = secret

    def relinearisation(self, level: int) -> bytes:
        """A relinearisation key that reaches ``level``."""
        return pack({level: to_bytes(self._generator(level).create_relin_keys().save)})

    def galois(self, levels: Mapping[int, int]) -> bytes:
        """Keys for Galois elements, each with the level it reaches; empty for none."""
        elements = defaultdict(list)
        for element, level in levels.items():
            elements[level].append(element)
        made = {
            level: to_bytes(self._generator(level).create_galois_keys(elements[level]).save)
            for level in sorted(elements)
        }
        return pack(made)

    def public(self) -> bytes:
        """A public key with a seed in place of its second half.

        It is by definition an encryption of zero under all primes, and SEAL's ``rlwe.cpp``
        makes both the same way; the binding has the seeded form of the encryption only.
        """
        encryptor = self._seal.api.Encryptor(self._seal.context, self._secret)
        return to_bytes(encryptor.encrypt_zero_symmetric(self._seal.context.key_parms_id()).save)

    def _generator(self, level: int) -> Any:
        lower = self._seal.lower(level)
        secret = self._secret if lower is self._seal else self._lowered(lower)
        return self._seal.api.KeyGenerator(lower.context, secret)

    def _lowered(self, lower: SealContext) -> Any:
        """The secret key under fewer primes: the same polynomial, without their residues.

        Written field by field as SEAL's ``plaintext.cpp`` does, because the binding can
        read single words of a key but not set them.
        """
        plain, degree = self._secret.data(), self._seal.parameters.ring_degree
        special = len(self._seal.primes) * degree
        kept = [*range(len(lower.primes) * degree), *range(special, special + degree)]
        words = struct.pack(f"<Q{len(kept)}Q", len(kept), *map(plain.data, kept))
        fields = struct.pack("<4QQd", *lower.context.key_parms_id(), len(kept), 1.0)
        like = to_bytes(self._secret.save)
        data = frame(fields + frame(words, like=like), like=like)
        return lower.load("SecretKey", data, limit=len(data))


@dataclass(frozen=True)
class SwitchingKey:
    """One key, and how to apply it.

    Args:
        lower: the context of the key.
        keys: SEAL's GaloisKeys or RelinKeys under it.
        element: the Galois element; None to relinearise.
    """

    lower: SealContext
    keys: Any
    element: int | None

    @property
    def reach(self) -> int:
        """The highest level it can be used at."""
        return len(self.lower.ids) - 1

    def switch(self, a: SealHandle, out: Any) -> None:
        """Apply the key to ``a``, which it must reach; ``out`` becomes a ciphertext of size 2."""
        if self.element is None:
            self.lower.evaluator.relinearize(a.ciphertext, self.keys, out)
        else:
            self.lower.evaluator.apply_galois(a.ciphertext, self.element, self.keys, out)


def load_relinearisation(seal: SealContext, data: bytes) -> SwitchingKey:
    """The relinearisation key in ``data``. Raises WireError when there is none."""
    entries = unpack(seal, data, "RelinKeys")
    if len(entries) != 1:
        raise WireError(f"RelinKeys: expected one key, got {len(entries)}")
    ((level, one),) = entries.items()
    lower = seal.lower(level)
    return SwitchingKey(lower, lower.load("RelinKeys", one, limit=lower.key_limit(1)), None)


def load_galois(seal: SealContext, data: bytes, elements: Iterable[int]) -> dict[int, SwitchingKey]:
    """The keys for ``elements`` that ``data`` holds, by element.

    Raises:
        WireError: damaged, of other parameters, or far more keys than ``elements``.
    """
    wanted = list(elements)
    loaded: dict[int, SwitchingKey] = {}
    for level, one in unpack(seal, data, "GaloisKeys").items():
        lower = seal.lower(level)
        keys = lower.load("GaloisKeys", one, limit=lower.key_limit(SPARE_KEYS * len(wanted)))
        held = [element for element in wanted if keys.has_key(element)]
        loaded |= {element: SwitchingKey(lower, keys, element) for element in held}
    return loaded


def pack(frames: Mapping[int, bytes]) -> bytes:
    """SEAL frames by the level they reach, lowest first, as one string of bytes."""
    return b"".join(_ENTRY.pack(level, len(one)) + one for level, one in sorted(frames.items()))


def unpack(seal: SealContext, data: bytes, what: str) -> dict[int, bytes]:
    """The reverse of :func:`pack`.

    Raises:
        WireError: cut, extended, or levels that are out of order or do not exist.
    """
    frames: dict[int, bytes] = {}
    rest, last = memoryview(data), -1
    while rest:
        if len(rest) < _ENTRY.size:
            raise WireError(f"{what}: {len(rest)} bytes left, shorter than an entry: cut")
        level, length = _ENTRY.unpack_from(rest)
        if not last < level <= seal.parameters.top_level:
            raise WireError(
                f"{what}: level {level} after {last}, expected rising levels up to "
                f"{seal.parameters.top_level}; check that both sides use the same plan"
            )
        rest = rest[_ENTRY.size :]
        if length > len(rest):
            raise WireError(f"{what}: {length} bytes announced but {len(rest)} came: cut")
        frames[level], rest, last = bytes(rest[:length]), rest[length:], level
    return frames


_HEADER = 16
_COMPRESSION = 5
_COUNT = struct.Struct("<Q")
_AT = 89  # of the number of words, after level, form, sizes, scale and a header of their own


def load_public(seal: SealContext, data: bytes) -> Any:
    """SEAL's public key in ``data``.

    Where nothing can decompress (see :func:`.residues.inflater`) the seed is not checked.

    Raises:
        WireError: damaged, of other parameters, or with a second half that is written out.
    """
    public = seal.load("PublicKey", data, limit=seal.public_limit())
    one_half = (len(seal.primes) + 1) * seal.parameters.ring_degree
    head = _start(data, seal.public_limit())
    if head is not None and _COUNT.unpack_from(head, _AT)[0] != one_half:
        raise WireError(
            "the second half of the public key is written out, not a seed: a client that chose "
            "it could undo what hides the server's replies; make the keys with this package"
        )
    return public


def _start(data: bytes, limit: int) -> bytes | None:
    """The first fields of a frame that SEAL has read, or None where they cannot be had."""
    contents, compression = data[_HEADER:], data[_COMPRESSION]
    if compression == 0:
        return contents[: _AT + _COUNT.size]
    if compression == 1:
        return zlib.decompressobj().decompress(contents, _AT + _COUNT.size)
    inflate = inflater()
    if inflate is None:
        return None
    raw = bytearray(limit)
    target = (ctypes.c_char * limit).from_buffer(raw)
    size = inflate(target, limit, contents, len(contents))
    if not _AT + _COUNT.size <= size <= limit:
        raise WireError(f"PublicKey: {size} bytes after decompression, at most {limit} belong")
    return bytes(raw[: _AT + _COUNT.size])
