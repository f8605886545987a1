from __future__ import annotations

import gc
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from thex_hf.backends.base import EvaluationKeys, KeyLevels, KeyRequest, SecretKeys, key_share
from thex_hf.backends.numerics.ntt import primes_of
from thex_hf.backends.seal import context as seal_context
from thex_hf.backends.seal import serialisation as seal_io
from thex_hf.backends.seal.backend import SealBackend, SealClient
from thex_hf.backends.seal.serialisation import check_frame
from thex_hf.backends.seal.server import SealServer
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import PlanError, SecurityError, WireError

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


def test_a_turn_by_i_is_a_monomial(client_server: tuple[SealClient, SealServer]) -> None:
    client, server = client_server
    a = server.load(client.encrypt(np.linspace(-1, 1, 512), 1))
    turned = a
    seen = {server.dump(a)}
    for _ in range(3):
        turned = server.times_i(turned)
        assert turned.ciphertext.scale == INSECURE.scale
        seen.add(server.dump(turned))
    assert len(seen) == 4
    assert server.dump(server.times_i(turned)) == server.dump(a)  # every bit of it


def test_public_keys() -> None:
    """They are half as long as SEAL's own, read as such, and all the server encrypts with."""
    backend = SealBackend.insecure_for_tests()
    request = KeyRequest(INSECURE, (), False, public=True)
    (secret, evaluation), (_, other) = (backend.generate(request) for _ in range(2))
    assert evaluation.public != other.public
    seal = seal_context.insecure_context(INSECURE)
    whole = seal.api.PublicKey()
    seal.api.KeyGenerator(seal.context).create_public_key(whole)
    assert len(evaluation.public) < 0.6 * len(seal_io.to_bytes(whole.save))
    server = backend.server(INSECURE, evaluation, ())
    client = backend.client(INSECURE, secret)
    x = np.linspace(-1, 1, 512)
    a = server.load(client.encrypt(x, 1))
    assert isinstance(server, SealServer)
    assert server.rerandomise(a).ciphertext.scale == INSECURE.scale
    np.testing.assert_allclose(client.decrypt(server.dump(server.rerandomise(a))), x, atol=1e-4)
    foreign = backend.server(INSECURE, other, ())  # zeros under another key are no zeros here
    spoilt = client.decrypt(foreign.dump(foreign.rerandomise(foreign.load(client.encrypt(x, 1)))))
    assert np.abs(spoilt - x).max() > 1


def test_encryptors_of_servers_have_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = SealBackend.insecure_for_tests()
    _, evaluation = backend.generate(KeyRequest(INSECURE, (1,), True, True, True))
    api, given = seal_context.insecure_context(INSECURE).api, []

    class Encryptor:
        def __init__(self, *held: object) -> None:
            given.append([type(one).__name__ for one in held])

    monkeypatch.setattr(api, "Encryptor", Encryptor)
    backend.server(INSECURE, evaluation, (1,))
    assert given == [["SEALContext", "PublicKey"]]


def test_public_key_of_another_level_is_refused(
    client_server: tuple[SealClient, SealServer],
) -> None:
    """A ciphertext is a public key in form; SEAL must see that it lacks the special prime."""
    sent = client_server[0].encrypt(np.ones(512), 1)
    with pytest.raises(WireError, match="PublicKey"):
        SealBackend.insecure_for_tests().server(INSECURE, EvaluationKeys.of(b"", b"", sent), ())


def test_short_keys_are_short_and_err_no_more() -> None:
    deep = Parameters(1024, (40, 30, 30, 30, 30, 30), 40, 30)
    backend = SealBackend.insecure_for_tests()
    sizes, errors = [], []
    for reach in range(6):
        levels = KeyLevels({1: reach}, relinearisation=reach)
        secret, evaluation = backend.generate(KeyRequest(deep, (1,), True, levels=levels))
        sizes.append([len(evaluation.rotations), len(evaluation.relinearisation)])
        client, server = backend.client(deep, secret), backend.server(deep, evaluation, (1,))
        x = np.linspace(-1, 1, 512)
        for level in range(reach + 1):
            out = server.rotate(server.load(client.encrypt(x, level)), 1)
            error = np.abs(client.decrypt(server.dump(out)) - np.roll(x, -1))
            errors.append(np.median(error))  # a few slots bear most of a key switch's variance
    for reach, (rotation, relinearisation) in enumerate(sizes):
        share = (reach + 1) * (40 + 30 * reach + 40) / (6 * (40 + 30 * 5 + 40))
        assert key_share(deep, reach) == pytest.approx(share)
        assert rotation / sizes[-1][0] == pytest.approx(share, rel=0.1)
        assert relinearisation / sizes[-1][1] == pytest.approx(share, rel=0.1)
    assert max(errors) < 2 * min(errors)


def test_lower_contexts_have_the_same_primes_and_levels() -> None:
    seal = seal_context.insecure_context(INSECURE)
    assert seal.lower(1) is seal
    lower = seal.lower(0)
    assert (lower.primes, lower.parameters) == (seal.primes[:1], INSECURE)
    assert lower.ids == seal.ids[:1]
    assert lower.context.key_parms_id() != seal.context.key_parms_id()


def a_key(level: int, length: int | None = None) -> bytes:
    """An entry of evaluation keys around a frame that is none."""
    return struct.pack("<BQ", level, 20 if length is None else length) + b"\0" * 20


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (a_key(0)[:5], "shorter than an entry"),
        (a_key(0, 2**63), "announced"),
        (a_key(2), "level 2"),
        (a_key(1) + a_key(0), "level 0 after 1"),
        (a_key(1) + a_key(1), "level 1 after 1"),
        (a_key(0) + b"\1", "shorter than an entry"),
        (a_key(0), "SEAL header"),
    ],
)
def test_entries_of_evaluation_keys(bad: bytes, reason: str) -> None:
    backend = SealBackend.insecure_for_tests()
    for keys in (EvaluationKeys.of(bad, b""), EvaluationKeys.of(b"", bad)):
        with pytest.raises(WireError, match=reason):
            backend.server(INSECURE, keys, (1,))


def test_one_relinearisation_key_only() -> None:
    backend = SealBackend.insecure_for_tests()
    made = [
        backend.generate(KeyRequest(INSECURE, (), True, levels=KeyLevels({}, level)))[1]
        for level in (0, 1)
    ]
    both = EvaluationKeys.of(made[0].relinearisation + made[1].relinearisation, b"")
    with pytest.raises(WireError, match="expected one key, got 2"):
        backend.server(INSECURE, both, ())


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
