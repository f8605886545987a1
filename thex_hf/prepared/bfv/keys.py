"""A BFV public key with a seed in place of its second half.

SEAL's binding writes a public key out in full, and a server cannot tell whether the client
chose its second half. An encryption of zero it can write seeded, and under CKKS that *is* a
public key (see :meth:`thex_hf.backends.seal.keys.KeyMaker.public`). It does not depend on the
scheme: secret key, errors, primes and order of the words are the same for BFV. So the key is
made, sent and checked under the CKKS context of the same primes, and each side only exchanges
the name of the parameters in what SEAL has written.
"""

from __future__ import annotations

import struct
from typing import Any

from thex_hf.backends.seal.context import SealContext
from thex_hf.backends.seal.keys import KeyMaker, load_public
from thex_hf.backends.seal.residues import inflated, inflater
from thex_hf.backends.seal.serialisation import frame, to_bytes
from thex_hf.errors import BackendUnavailable
from thex_hf.prepared.bfv.context import BfvContext

_ID = struct.Struct("<4Q")
_PLAIN_HEAD = 32 + 8 + 8 + 16 + 8  # id, words, scale, inner header, words
_CIPHER_HEAD = 32 + 1 + 3 * 8 + 8 + 8 + 16 + 8  # id, form, sizes, scale, factor, header, words


def require_residues() -> None:
    """Raises BackendUnavailable where SEAL's residues cannot be read."""
    if inflater() is None:
        raise BackendUnavailable(
            "the protocol 'prepared' reads SEAL's residues, and this build of tenseal does not "
            "show the means; use another protocol"
        )


def seeded_public(context: BfvContext, secret: Any) -> bytes:
    """The public key of SEAL's BFV ``secret`` key, for :func:`read_public`."""
    size = _PLAIN_HEAD + 8 * _words(context)
    data = _renamed(to_bytes(secret.save), size, context.twin)
    twin = context.twin.load("SecretKey", data, limit=len(data))
    return KeyMaker(context.twin, twin).public()


def read_public(context: BfvContext, data: bytes) -> Any:
    """SEAL's BFV public key. Raises WireError unless it is one with a seed, of these primes."""
    public = load_public(context.twin, data)
    size = _CIPHER_HEAD + 2 * 8 * _words(context)
    renamed = _renamed(to_bytes(public.save), size, context.seal)
    return context.seal.load("PublicKey", renamed, limit=len(renamed))


def _words(context: BfvContext) -> int:
    return (len(context.seal.primes) + 1) * context.parameters.ring_degree


def _renamed(saved: bytes, size: int, target: SealContext) -> bytes:
    """What SEAL has saved, under the parameters of another context."""
    contents = bytes(inflated(saved, size)[_ID.size :])
    return frame(_ID.pack(*target.context.key_parms_id()) + contents, like=saved)
