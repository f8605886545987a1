"""One suite for every slot backend in the registry: keys, roles and hostile bytes."""

from __future__ import annotations

import contextlib
import copy
import pickle

import numpy as np
import pytest
from conformance.slot_world import OTHER, SLOTS, SMALL, STEPS, World, close
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from thex_hf.backends.base import EvaluationKeys, KeyLevels, KeyRequest, SecretKeys
from thex_hf.backends.clear.backend import ClearBackend
from thex_hf.ckks.engine import Vector
from thex_hf.ckks.parameters import Parameters
from thex_hf.errors import PlanError, SecurityError, WireError
from thex_hf.protocol.keys import KeyStore

# --- keys -------------------------------------------------------------------


def test_missing_rotation_key(world: World, x: Vector) -> None:
    with pytest.raises(PlanError, match="step 3"):
        world.server.rotate(world.sent(x), 3)


def test_server_rotates_by_named_steps_only(world: World, x: Vector) -> None:
    server = world.backend.server(SMALL, world.evaluation, (1,))
    handle = server.load(world.client.encrypt(x, 1))
    server.rotate(handle, 1)
    with pytest.raises(PlanError, match="step 2"):
        server.rotate(handle, 2)


def test_nobodys_server_encodes_for_every_client(world: World, x: Vector) -> None:
    """Encoding depends on parameters alone, and empty keys are enough for it."""
    nobody = world.backend.server(SMALL, EvaluationKeys.of(b"", b""), ())
    factor = nobody.encode(x, 1, factor=True)
    product = world.server.rescale(world.server.mul_plain(world.sent(x), factor))
    close(world.read(product), x * x)
    with pytest.raises(PlanError):
        nobody.rotate(world.sent(x), 1)


def test_keys_that_lack_a_step(world: World) -> None:
    with pytest.raises(PlanError, match="lack"):
        world.backend.server(SMALL, world.evaluation, (*STEPS, 77))


def test_missing_relinearisation_key(world: World, x: Vector) -> None:
    secret, evaluation = world.backend.generate(KeyRequest(SMALL, (1,), False))
    server = world.backend.server(SMALL, evaluation, (1,))
    a = server.load(world.backend.client(SMALL, secret).encrypt(x, 1))
    with pytest.raises(PlanError, match="relinearisation"):
        server.relinearise(server.mul(a, a))


def test_missing_conjugation_and_public_keys(world: World, x: Vector) -> None:
    secret, evaluation = world.backend.generate(KeyRequest(SMALL, (1,), True))
    assert evaluation.public == b""
    server = world.backend.server(SMALL, evaluation, (1,))
    a = server.load(world.backend.client(SMALL, secret).encrypt(x, 1))
    with pytest.raises(PlanError, match="no conjugation key"):
        server.conjugate(a)
    with pytest.raises(PlanError, match="no public key"):
        server.rerandomise(a)


def test_conjugation_key_alone(world: World, x: Vector) -> None:
    secret, evaluation = world.backend.generate(KeyRequest(SMALL, (), False, conjugation=True))
    client, server = (
        world.backend.client(SMALL, secret),
        world.backend.server(SMALL, evaluation, ()),
    )
    out = server.conjugate(server.load(client.encrypt(1j * x, 1)))
    close(client.decrypt_complex(server.dump(out)), -1j * x)
    with pytest.raises(PlanError, match="lack"):
        world.backend.server(SMALL, evaluation, (1,))


def test_short_keys_do_the_same_up_to_their_level(world: World, x: Vector) -> None:
    levels = KeyLevels({1: 0, 2: 1}, relinearisation=1, conjugation=0)
    request = KeyRequest(SMALL, (1, 2, 3), True, True, levels=levels)
    secret, evaluation = world.backend.generate(request)
    client = world.backend.client(SMALL, secret)
    server = world.backend.server(SMALL, evaluation, (1, 2, 3))
    low, high = (server.load(client.encrypt(x + 2j * x, level)) for level in (0, 1))
    for handle, step in ((low, 1), (low, 2), (low, 3), (high, 2), (high, 3)):
        out = server.rotate(handle, step)
        assert server.level(out) == server.level(handle)
        close(client.decrypt_complex(server.dump(out)), np.roll(x + 2j * x, -step))
    close(client.decrypt_complex(server.dump(server.conjugate(low))), x - 2j * x)
    squared = server.rescale(server.relinearise(server.mul(high, high)))
    close(client.decrypt(server.dump(server.rotate(squared, 1))), np.roll(-3 * x * x, -1))
    for refused, key in (
        (lambda: server.rotate(high, 1), "rotation key for step 1"),
        (lambda: server.conjugate(high), "conjugation key"),
    ):
        with pytest.raises(PlanError, match=f"{key} was made for levels up to 0, got level 1"):
            refused()


def test_a_relinearisation_key_has_a_reach_too(world: World, x: Vector) -> None:
    request = KeyRequest(SMALL, (), True, levels=KeyLevels(relinearisation=0))
    secret, evaluation = world.backend.generate(request)
    server = world.backend.server(SMALL, evaluation, ())
    a = server.load(world.backend.client(SMALL, secret).encrypt(x, 1))
    three = server.mul(a, a)
    with pytest.raises(PlanError, match="relinearisation key was made for levels up to 0"):
        server.relinearise(three)
    server.relinearise(server.rescale(three))


def test_levels_of_keys_are_checked() -> None:
    for levels in (KeyLevels({1: 2}), KeyLevels({}, -1), KeyLevels({}, None, 2)):
        with pytest.raises(PlanError, match=r"not within 0\.\.1"):
            KeyRequest(SMALL, (1,), True, levels=levels)
    doubled = KeyRequest(SMALL, (1, 1 + SLOTS, 0, 2), True, levels=KeyLevels({1: 0, 2: 0}))
    assert doubled.rotation_levels == {1: 1, 2: 0}  # the step 1 + SLOTS is not limited


def test_a_client_reads_ciphertexts_of_the_level_that_it_expects(world: World, x: Vector) -> None:
    data = world.server.dump(world.sent(x, 1))
    for read in (world.client.decrypt, world.client.decrypt_complex):
        close(read(data, 1), x)
        close(read(data), x)
        with pytest.raises(WireError, match="expected a ciphertext at level 0, got level 1"):
            read(data, 0)


def test_wrong_secret_key_reads_nothing(world: World, x: Vector) -> None:
    other, _ = world.backend.generate(KeyRequest(SMALL, (), False))
    client = world.backend.client(SMALL, other)
    data = world.server.dump(world.sent(x))
    try:
        seen = client.decrypt(data)
    except WireError:
        return
    assert np.abs(seen - x).min() > 0
    assert np.abs(np.corrcoef(seen, x)[0, 1]) < 0.2


def test_key_request_is_served_by_identity(world: World) -> None:
    assert world.secret.key_id == world.evaluation.key_id
    assert world.evaluation.size > 0


def test_insecure_parameters_are_refused(world: World) -> None:
    weak = Parameters(4096, (50, 40), 50, 40)
    with pytest.raises(SecurityError):
        world.backend.generate(KeyRequest(weak, (), False))
    with pytest.raises(SecurityError):
        world.backend.client(weak, world.secret)
    with pytest.raises(SecurityError):
        world.backend.server(weak, world.evaluation, ())


def test_secret_stays_out_of_everything_sent(world: World, x: Vector) -> None:
    secret = world.secret.reveal()
    sent = world.client.encrypt(x, 1)
    reply = world.server.dump(world.server.rotate(world.server.load(sent), 1))
    pieces = [secret[i : i + 16] for i in range(32 % len(secret), len(secret) - 16, 61)]
    pieces = pieces or [secret[:16]]
    keys = world.evaluation
    for data in (keys.relinearisation, keys.rotations, keys.public, sent, reply):
        assert not any(piece in data for piece in pieces)


def test_server_has_nothing_that_decrypts(world: World) -> None:
    names = [name.lower() for name in (*dir(world.server), *vars(world.server))]
    assert not [name for name in names if "decrypt" in name or "secret" in name]
    held = [type(value).__name__ for value in vars(world.server).values()]
    assert not {"SecretKeys", "SecretKey", "Decryptor", "KeyGenerator"} & set(held)


def test_client_has_no_evaluation_verbs(world: World) -> None:
    verbs = {"add", "sub", "add_plain", "mul", "mul_plain", "rotate", "rescale", "relinearise"}
    verbs |= {"conjugate", "times_i", "rerandomise", "dot_plain", "combine"}
    assert not verbs & set(dir(world.client))


def test_secret_keys_hide_and_refuse_copies(world: World) -> None:
    for copier in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            copier(world.secret)
    for text in (repr(world.secret), str(world.secret), f"{[world.secret]}"):
        assert repr(world.secret.reveal())[2:10] not in text
    assert not hasattr(world.secret, "__dict__")


def test_key_files(world: World, x: Vector, tmp_path: object) -> None:
    store = KeyStore(f"{tmp_path}/keys")
    store.save("a" * 32, world.backend.name, world.secret, world.evaluation)
    pair = store.load("a" * 32, world.backend.name)
    assert pair is not None
    client = world.backend.client(SMALL, pair[0])
    server = world.backend.server(SMALL, pair[1], STEPS)
    close(client.decrypt(server.dump(server.rotate(world.sent(x), 5))), np.roll(x, -5))


# --- bytes ------------------------------------------------------------------


def test_bytes_of_other_parameters(world: World, x: Vector) -> None:
    secret, evaluation = world.backend.generate(KeyRequest(OTHER, (1,), True))
    foreign = world.backend.client(OTHER, secret).encrypt(x, 1)
    for reader in (world.server.load, world.client.decrypt):
        with pytest.raises(WireError):
            reader(foreign)
    with pytest.raises(WireError):
        world.backend.server(SMALL, evaluation, (1,))


def test_cut_extended_and_foreign_bytes(world: World, x: Vector) -> None:
    data = world.client.encrypt(x, 1)
    noise = np.random.default_rng(3).bytes(len(data))
    cuts = [data[:n] for n in (0, 1, 15, 16, 40, len(data) // 2, len(data) - 1)]
    for bad in (*cuts, data + b"x", data * 9, data[::-1], noise, b"\0" * 64, data[16:]):
        for reader in (world.server.load, world.client.decrypt):
            with pytest.raises(WireError):
                reader(bad)


def test_evaluation_keys_are_checked(world: World, x: Vector) -> None:
    keys = world.evaluation
    both = (keys.relinearisation, keys.rotations)
    swapped = EvaluationKeys.of(both[1], both[0])
    cut = EvaluationKeys.of(both[0], both[1][:-7])
    noise = EvaluationKeys.of(b"\1" * 90, b"\2" * 90)
    not_public = [
        EvaluationKeys.of(*both, public)
        for public in (
            b"\1",
            both[0],
            keys.public[:-7],
            keys.public * 2,
            world.client.encrypt(x, 1),
        )
    ]
    for bad in (swapped, cut, noise, *not_public):
        with pytest.raises(WireError):
            world.backend.server(SMALL, bad, STEPS)


def test_damaged_secret_is_refused_without_showing_it(world: World) -> None:
    if isinstance(world.backend, ClearBackend):
        pytest.skip("any bytes are a key of the clear engine")
    secret = world.secret.reveal()
    with pytest.raises(WireError) as caught:
        world.backend.client(SMALL, SecretKeys(secret[:-9], "x"))
    assert repr(secret[40:60]) not in str(caught.value)


@settings(max_examples=examples(60))
@given(data=st.data())
def test_mutated_bytes_never_crash(world: World, data: st.DataObject) -> None:
    """A changed byte is refused, or read as some other numbers; nothing else happens."""
    good = bytearray(world.client.encrypt(np.ones(SLOTS), 1))
    for _ in range(data.draw(st.integers(1, 3))):
        early = data.draw(st.booleans())
        place = data.draw(st.floats(0, 1, exclude_max=True))
        good[int(place * (120 if early else len(good)))] = data.draw(st.integers(0, 255))
    for reader in (world.server.load, world.client.decrypt):
        with contextlib.suppress(WireError):
            reader(bytes(good))
