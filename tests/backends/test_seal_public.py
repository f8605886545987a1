"""A public key whose second half the client chose is refused: it would undo ``rerandomise``."""

import struct
import zlib

import pytest

from thex_hf.backends.base import EvaluationKeys, KeyRequest
from thex_hf.backends.seal.backend import BACKEND
from thex_hf.backends.seal.context import secure_context
from thex_hf.backends.seal.keys import load_public
from thex_hf.backends.seal.residues import inflated
from thex_hf.backends.seal.serialisation import to_bytes
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import WireError

PARAMETERS = Parameters(4096, (39, 30), 39, 30)
WHOLE = 97 + 2 * 3 * 4096 * 8


@pytest.fixture(scope="module")
def keys():
    secret, evaluation = BACKEND.generate(KeyRequest(PARAMETERS, (), False, False, True))
    seal = secure_context(PARAMETERS)
    loaded = seal.load("SecretKey", secret.reveal(), limit=seal.key_limit(1))
    written = seal.api.PublicKey()
    seal.api.KeyGenerator(seal.context, loaded).create_public_key(written)
    return evaluation.public, to_bytes(written.save)


def framed(saved, contents, compression):
    size = 16 + len(contents)
    return struct.pack("<HBBBBHQ", 0xA15E, 16, saved[3], saved[4], compression, 0, size) + contents


def test_a_seeded_key_is_taken(keys):
    load_public(secure_context(PARAMETERS), keys[0])


@pytest.mark.parametrize("compression", [0, 1, 2])
def test_a_key_that_is_written_out_is_refused_however_it_is_compressed(keys, compression):
    written = keys[1]
    contents = bytes(inflated(written, WHOLE))
    contents = {0: contents, 1: zlib.compress(contents)}.get(compression)
    data = written if contents is None else framed(written, contents, compression)
    with pytest.raises(WireError, match="second half of the public key"):
        load_public(secure_context(PARAMETERS), data)
    with pytest.raises(WireError, match="second half of the public key"):
        BACKEND.server(PARAMETERS, EvaluationKeys.of(b"", b"", data), ())


def test_a_second_half_of_zeros_is_refused(keys):
    """With it ``rerandomise`` would leave the second polynomial as good as open."""
    written = keys[1]
    contents = bytearray(inflated(written, WHOLE))
    contents[97 + 3 * 4096 * 8 :] = bytes(3 * 4096 * 8)
    with pytest.raises(WireError):
        load_public(secure_context(PARAMETERS), framed(written, bytes(contents), 0))
