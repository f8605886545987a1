from __future__ import annotations

import gc
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from thex_hf.backends import seal_context, seal_io
from thex_hf.backends.base import KeyRequest, SecretKeys
from thex_hf.backends.primes import primes_of
from thex_hf.backends.seal import SealBackend
from thex_hf.backends.seal_client import SealClient
from thex_hf.backends.seal_frame import check_frame
from thex_hf.backends.seal_server import SealServer
from thex_hf.errors import PlanError, SecurityError, WireError
from thex_hf.layout.parameters import Parameters

pytest.importorskip("tenseal.sealapi")

INSECURE = Parameters(1024, (40, 30), 40, 30)


@pytest.fixture(scope="module")
def client_server() -> tuple[SealClient, SealServer]:
    backend = SealBackend.insecure_for_tests()
    secret, evaluation = backend.generate(KeyRequest(INSECURE, (1,), True))
    client = backend.client(INSECURE, secret)
    server = backend.server(INSECURE, evaluation, (1,))
    assert isinstance(client, SealClient)
    assert isinstance(server, SealServer)
    return client, server


def test_default_backend_refuses_small_rings() -> None:
    with pytest.raises(SecurityError):
        seal_context.secure_context(INSECURE)


def test_seal_checks_the_security_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Parameters, "require_128_bit", lambda self: None)
    weak = Parameters(4096, (50, 40), 50, 41)
    with pytest.raises(PlanError, match="SEAL refuses"):
        seal_context.secure_context(weak)


def test_parameters_seal_cannot_build() -> None:
    with pytest.raises(PlanError, match="SEAL refuses"):
        seal_context.insecure_context(Parameters(1024, (61, 30), 40, 30))


def test_levels_and_primes() -> None:
    seal = seal_context.insecure_context(INSECURE)
    assert seal.primes == primes_of(INSECURE)[:-1]
    assert len(set(map(tuple, seal.ids))) == 2
    assert seal.modulus_bits(1) == 70


def test_scales_are_nominal_exactly(client_server: tuple[SealClient, SealServer]) -> None:
    client, server = client_server
    a = server.load(client.encrypt(np.linspace(-1, 1, 512), 1))
    plain = server.encode(np.linspace(0, 1, 512), 1, factor=True)
    for product in (server.mul_plain(a, plain), server.mul(a, a)):
        assert product.ciphertext.scale == INSECURE.scale * primes_of(INSECURE)[1]
        assert server.rescale(product).ciphertext.scale == INSECURE.scale


def test_uploads_are_seed_compressed(client_server: tuple[SealClient, SealServer]) -> None:
    client, server = client_server
    sent = client.encrypt(np.linspace(-1, 1, 512), 1)
    assert len(sent) < 0.6 * len(server.dump(server.load(sent)))


def test_server_graph_holds_no_secret(client_server: tuple[SealClient, SealServer]) -> None:
    seen: set[int] = set()
    todo: list[object] = [client_server[1]]
    while todo:
        item = todo.pop()
        if id(item) in seen or isinstance(item, (type, type(os))):
            continue
        seen.add(id(item))
        assert type(item).__name__ not in {"SecretKey", "Decryptor", "Encryptor", "SecretKeys"}
        todo.extend(gc.get_referents(item))


def test_client_cannot_be_pickled(client_server: tuple[SealClient, SealServer]) -> None:
    with pytest.raises(TypeError, match="secret key"):
        client_server[0].__reduce__()


def test_works_without_memory_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(seal_io, "has_memory_files", lambda: False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    modes = []
    make = seal_io._private_file
    assert make is not None
    backend = SealBackend.insecure_for_tests()
    secret, evaluation = backend.generate(KeyRequest(INSECURE, (1,), True))
    with make() as path:
        modes.append(os.stat(os.path.dirname(path)).st_mode & 0o777)
    client = backend.client(INSECURE, secret)
    server = backend.server(INSECURE, evaluation, (1,))
    x = np.linspace(-1, 1, 512)
    seen = client.decrypt(server.dump(server.load(client.encrypt(x, 1))))
    np.testing.assert_allclose(seen, x, atol=1e-5)
    assert modes == [0o700]
    assert list(tmp_path.iterdir()) == []


def test_no_descriptor_leaks(client_server: tuple[SealClient, SealServer]) -> None:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("needs /proc")
    client, server = client_server
    before = len(list(folder.iterdir()))
    for _ in range(20):
        server.load(client.encrypt(np.linspace(-1, 1, 512), 1))
        with pytest.raises(WireError):
            server.load(b"\xa1" * 99)
    assert len(list(folder.iterdir())) == before


def framed(contents: bytes, compression: int = 0) -> bytes:
    return struct.pack("<HBBBBHQ", 0xA15E, 16, 4, 3, compression, 0, 16 + len(contents)) + contents


def uncompressed(scale: float, *, parts: int = 2, ntt: int = 1, word: int = 7) -> bytes:
    """A ciphertext of the small ring written field by field, as SEAL reads it."""
    seal = seal_context.insecure_context(INSECURE)
    ids = struct.pack("<4Q", *seal.ids[0])
    fields = struct.pack("<BQQQdQ", ntt, parts, 1024, 1, scale, 1)
    words = struct.pack("<Q", parts * 1024) + struct.pack("<Q", word) * (parts * 1024)
    return framed(ids + fields + framed(words))


def test_a_ciphertext_written_by_hand_is_read(
    client_server: tuple[SealClient, SealServer],
) -> None:
    assert client_server[1].load(uncompressed(INSECURE.scale)).level == 0


@pytest.mark.parametrize(
    "bad",
    [
        uncompressed(2.0**29),
        uncompressed(float("nan")),
        uncompressed(float("inf")),
        uncompressed(INSECURE.scale, parts=3),
        uncompressed(INSECURE.scale, parts=0),
        uncompressed(INSECURE.scale, ntt=0),
        uncompressed(INSECURE.scale, word=2**63),
        uncompressed(INSECURE.scale, word=0),
        framed(b""),
        framed(b"\0" * 200),
        framed(b"\0" * 200, compression=2),
        framed(b"\0" * 200, compression=9),
    ],
)
def test_ciphertexts_of_a_wrong_kind(
    client_server: tuple[SealClient, SealServer], bad: bytes
) -> None:
    for reader in (client_server[1].load, client_server[0].decrypt):
        with pytest.raises(WireError):
            reader(bad)


def test_key_level_ciphertext_is_refused(client_server: tuple[SealClient, SealServer]) -> None:
    seal = seal_context.insecure_context(INSECURE)
    key_id = struct.pack("<4Q", *seal.context.key_parms_id())
    good = uncompressed(INSECURE.scale)
    with pytest.raises(WireError):
        client_server[1].load(good[:16] + key_id + good[48:])


def test_frame_limit() -> None:
    frame = framed(b"\0" * 84)
    check_frame(frame, what="thing", limit=100)
    with pytest.raises(WireError, match="at most 99"):
        check_frame(frame, what="thing", limit=99)


def test_wrong_secret_kind(client_server: tuple[SealClient, SealServer]) -> None:
    ciphertext = client_server[0].encrypt(np.ones(512), 1)
    with pytest.raises(WireError, match="SecretKey"):
        SealBackend.insecure_for_tests().client(INSECURE, SecretKeys(ciphertext, "id"))


def test_opposite_terms_make_a_clear_error(client_server: tuple[SealClient, SealServer]) -> None:
    server = client_server[1]
    half = uncompressed(INSECURE.scale, word=primes_of(INSECURE)[0] - 7)
    with pytest.raises(PlanError, match="SEAL refuses add"):
        server.add(server.load(half), server.load(uncompressed(INSECURE.scale)))
