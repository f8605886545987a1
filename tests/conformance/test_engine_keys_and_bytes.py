"""One suite for every slot backend in the registry: keys, roles and hostile bytes."""

from __future__ import annotations

import contextlib
import copy
import pickle

import numpy as np
import pytest
from conformance.slot_world import OTHER, SLOTS, SMALL, STEPS, World, close
from hypothesis import given, settings
from hypothesis import strategies as st

from thex_hf.backends.base import EvaluationKeys, KeyRequest, SecretKeys
from thex_hf.errors import PlanError, SecurityError, WireError
from thex_hf.layout.engines import Vector
from thex_hf.layout.parameters import Parameters
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


def test_keys_that_lack_a_step(world: World) -> None:
    with pytest.raises(PlanError, match="lack"):
        world.backend.server(SMALL, world.evaluation, (*STEPS, 77))


def test_missing_relinearisation_key(world: World, x: Vector) -> None:
    secret, evaluation = world.backend.generate(KeyRequest(SMALL, (1,), False))
    server = world.backend.server(SMALL, evaluation, (1,))
    a = server.load(world.backend.client(SMALL, secret).encrypt(x, 1))
    with pytest.raises(PlanError, match="relinearisation"):
        server.relinearise(server.mul(a, a))


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
    for data in (world.evaluation.relinearisation, world.evaluation.rotations, sent, reply):
        assert not any(piece in data for piece in pieces)


def test_server_has_nothing_that_decrypts(world: World) -> None:
    names = [name.lower() for name in (*dir(world.server), *vars(world.server))]
    assert not [name for name in names if "decrypt" in name or "secret" in name]
    held = [type(value).__name__ for value in vars(world.server).values()]
    assert not {"SecretKeys", "SecretKey", "Decryptor", "KeyGenerator"} & set(held)


def test_client_has_no_evaluation_verbs(world: World) -> None:
    verbs = {"add", "add_plain", "mul", "mul_plain", "rotate", "rescale", "relinearise"}
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


def test_evaluation_keys_are_checked(world: World) -> None:
    both = (world.evaluation.relinearisation, world.evaluation.rotations)
    swapped = EvaluationKeys.of(both[1], both[0])
    cut = EvaluationKeys.of(both[0], both[1][:-7])
    noise = EvaluationKeys.of(b"\1" * 90, b"\2" * 90)
    for bad in (swapped, cut, noise):
        with pytest.raises(WireError):
            world.backend.server(SMALL, bad, STEPS)


def test_damaged_secret_is_refused_without_showing_it(world: World) -> None:
    if world.backend.name == "clear":
        pytest.skip("any bytes are a key of the clear engine")
    secret = world.secret.reveal()
    with pytest.raises(WireError) as caught:
        world.backend.client(SMALL, SecretKeys(secret[:-9], "x"))
    assert repr(secret[40:60]) not in str(caught.value)


@settings(deadline=None, max_examples=60)
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
