from __future__ import annotations

import os
import stat
import traceback
import tracemalloc
from pathlib import Path
from typing import Any

import msgpack
import pytest

from thex_hf.backends.base import EvaluationKeys, SecretKeys
from thex_hf.errors import KeyMismatch, KeyStoreError, PlanMismatch, WireError
from thex_hf.protocol import keyfile
from thex_hf.protocol.keys import KeyStore

PLAN = "0123456789abcdef" * 2
SECRET = b"the secret bytes " * 3
FILES = {".lock", "pair.01234567", "pair.01234567/evaluation.key", "pair.01234567/secret.key"}


def pair(salt: bytes = b"") -> tuple[SecretKeys, EvaluationKeys]:
    evaluation = EvaluationKeys.of(b"relinearisation" + salt, b"rotations" * 50, b"public")
    return SecretKeys(SECRET, evaluation.key_id), evaluation


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    store = KeyStore(tmp_path / "keys")
    store.save(PLAN, "seal", *pair())
    return store


def test_round_trip(store: KeyStore) -> None:
    loaded = store.load(PLAN, "seal")
    assert loaded is not None
    secret, evaluation = loaded
    assert secret.reveal() == SECRET
    assert (secret.key_id, evaluation) == (pair()[0].key_id, pair()[1])
    assert store.load_evaluation(PLAN, "seal") == evaluation
    assert store.has(PLAN)
    assert {str(path.relative_to(store.directory)) for path in store.directory.rglob("*")} == FILES


def test_nothing_there(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "none")
    assert store.load(PLAN, "seal") is None
    assert not store.has(PLAN)
    assert not (tmp_path / "none").exists()
    with pytest.raises(KeyStoreError, match="cannot read"):
        store.load_evaluation(PLAN, "seal")


@pytest.mark.skipif(os.name != "posix", reason="modes are a POSIX matter")
def test_modes(store: KeyStore) -> None:
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
    for path in store.directory.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_secret_lies_in_the_secret_file_only(store: KeyStore) -> None:
    assert SECRET in store.path("secret", PLAN).read_bytes()
    assert SECRET not in store.path("evaluation", PLAN).read_bytes()


def test_the_first_pair_stays(store: KeyStore) -> None:
    secret, evaluation = store.save(PLAN, "seal", *pair(b"new"))
    assert (secret.reveal(), evaluation) == (SECRET, pair()[1])
    loaded = store.load(PLAN, "seal")
    assert loaded is not None
    assert loaded[1] == pair()[1]
    assert len(list(store.directory.rglob("*"))) == len(FILES)


def test_halves_that_do_not_match(store: KeyStore, tmp_path: Path) -> None:
    with pytest.raises(KeyMismatch, match="not made together"):
        store.save(PLAN, "seal", pair()[0], pair(b"other")[1])
    other = KeyStore(tmp_path / "other")
    other.save(PLAN, "seal", *pair(b"other"))
    other.path("secret", PLAN).replace(store.path("secret", PLAN))
    with pytest.raises(KeyMismatch, match="belongs to keys"):
        store.load(PLAN, "seal")


def test_one_half_missing(store: KeyStore) -> None:
    store.path("evaluation", PLAN).unlink()
    with pytest.raises(KeyStoreError, match=r"evaluation\.key is missing"):
        store.load(PLAN, "seal")


def test_other_plan_with_the_same_beginning(store: KeyStore) -> None:
    twin = PLAN[:8] + "f" * 24
    with pytest.raises(PlanMismatch, match=PLAN):
        store.load(twin, "seal")
    with pytest.raises(PlanMismatch, match=PLAN):
        store.save(twin, "seal", *pair())


def test_other_backend_and_other_kind(store: KeyStore) -> None:
    with pytest.raises(KeyMismatch, match="backend 'seal'"):
        store.load(PLAN, "clear")
    store.path("secret", PLAN).write_bytes(store.path("evaluation", PLAN).read_bytes())
    with pytest.raises(KeyMismatch, match="evaluation keys"):
        store.load(PLAN, "seal")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_model_folders_are_refused(tmp_path: Path, name: str) -> None:
    late = KeyStore(tmp_path)
    (tmp_path / name).write_text("{}")
    with pytest.raises(KeyStoreError, match="holds a model"):
        KeyStore(tmp_path)
    with pytest.raises(KeyStoreError, match="holds a model"):
        late.save(PLAN, "seal", *pair())


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_not_ours_stays(tmp_path: Path, kind: str) -> None:
    store = KeyStore(tmp_path / "keys")
    place = store.path("secret", PLAN).parent
    place.parent.mkdir()
    if kind == "file":
        place.write_text("notes")
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyStoreError, match="in the way"):
        store.save(PLAN, "seal", *pair())
    assert sorted(path.name for path in place.parent.iterdir()) == [".lock", place.name]


def test_a_damaged_pair_is_not_replaced_in_silence(store: KeyStore) -> None:
    path = store.path("secret", PLAN)
    path.write_bytes(path.read_bytes()[:-4])
    for again in (store.load, lambda *names: store.save(*names, *pair())):
        with pytest.raises(WireError, match="make new keys"):
            again(PLAN, "seal")


def test_a_file_where_the_directory_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(KeyStoreError, match="is a file"):
        KeyStore(tmp_path / "file")
    with pytest.raises(KeyStoreError, match="cannot make"):
        KeyStore(tmp_path / "file" / "below").save(PLAN, "seal", *pair())


@pytest.mark.parametrize("name", ["tempfile.mkdtemp", "os.rename", "os.fsync"])
def test_unwritable_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(30, "Read-only file system")

    store = KeyStore(tmp_path / "keys")
    monkeypatch.setattr(name, refuse)
    with pytest.raises(KeyStoreError, match="cannot write"):
        store.save(PLAN, "seal", *pair())
    assert [path.name for path in store.directory.iterdir()] == [".lock"]


@pytest.mark.parametrize("plan", ["", "short", "../../../etc/passwd", "a/b" * 5, "x" * 200])
def test_plan_ids_that_cannot_name_a_file(store: KeyStore, plan: str) -> None:
    with pytest.raises(KeyStoreError, match="plan id"):
        store.load(plan, "seal")


def test_files_of_another_version_say_so(store: KeyStore) -> None:
    path = store.path("evaluation", PLAN)
    fields = msgpack.unpackb(path.read_bytes())
    path.write_bytes(msgpack.packb({**fields, "version": 1}))
    with pytest.raises(WireError, match="format version 1, this release reads 2"):
        store.load(PLAN, "seal")


def test_every_cut_and_many_changes_are_refused(store: KeyStore) -> None:
    data = store.path("secret", PLAN).read_bytes()
    for end in range(len(data)):
        with pytest.raises(WireError) as caught:
            keyfile.from_bytes(data[:end], "file")
        assert "secret bytes" not in str(caught.value)
    for place in range(len(data) - len(SECRET), len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(WireError):
            keyfile.from_bytes(bytes(changed), "file")


FILE = keyfile.KeyFile("secret", PLAN, "seal", "b" * 32, {"secret": SECRET})
FIELDS: dict[str, Any] = msgpack.unpackb(keyfile.to_bytes(FILE))


def test_the_bytes_are_those_of_msgpack_and_of_earlier_releases() -> None:
    assert list(FIELDS) == [
        *("format", "version", "kind", "plan_id", "backend", "key_id", "digest", "parts")
    ]
    assert keyfile.to_bytes(FILE) == msgpack.packb(FIELDS)
    assert keyfile.from_bytes(msgpack.packb(FIELDS), "file") == FILE
    assert keyfile.from_bytes(msgpack.packb(dict(reversed(FIELDS.items()))), "file") == FILE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "other"}, "not a thex_hf key file"),
        ({"format": 1}, "not a thex_hf key file"),
        ({"version": 3}, "format version 3, this release reads 2"),
        ({"version": 2.0}, "damaged"),
        ({"version": True}, "damaged"),
        ({"kind": b"secret"}, "damaged"),
        ({"kind": "x" * 257}, "damaged"),
        ({"key_id": 5}, "damaged"),
        ({"digest": "x" * 32}, "damaged"),
        ({"digest": b"x" * 32}, "digest"),
        ({"parts": [SECRET]}, "damaged"),
        ({"parts": {"secret": SECRET.decode()}}, "damaged"),
        ({"parts": {SECRET: SECRET}}, "damaged"),
        ({"parts": {str(n): b"" for n in range(17)}}, "damaged"),
        ({SECRET.decode(): 1}, "damaged"),
        ({"kind": SECRET, "more": [SECRET.decode()]}, "damaged"),
    ],
)
def test_fields_of_another_kind_are_refused_and_none_is_told(
    change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(WireError, match=reason) as caught:
        keyfile.from_bytes(msgpack.packb({**FIELDS, **change}), "file")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert "secret bytes" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("name", list(FIELDS))
def test_every_field_is_needed(name: str) -> None:
    with pytest.raises(WireError, match="not a thex_hf key file"):
        keyfile.from_bytes(msgpack.packb({k: v for k, v in FIELDS.items() if k != name}), "file")


@pytest.mark.parametrize(
    "tail",
    [b"\xc6\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\x81" * 10**6],
)
def test_what_a_length_promises_takes_no_memory(tail: bytes) -> None:
    data = keyfile.to_bytes(FILE)
    for hostile in (data.partition(b"parts")[0] + b"parts" + tail, tail, data + tail):
        tracemalloc.start()
        with pytest.raises(WireError, match="make new keys"):
            keyfile.from_bytes(hostile, "file")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 20_000


def test_a_record_of_the_fields_does_not_show_them() -> None:
    assert "secret bytes" not in repr(keyfile._DECODER.decode(keyfile.to_bytes(FILE)))


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"format": "thex_hf.keys"},
        {"format": "other", **dict.fromkeys(sorted(set(FIELDS) - {"format"}), "x")},
        dict.fromkeys(sorted(FIELDS), 1),
        {**dict.fromkeys(sorted(FIELDS), "x"), "format": keyfile.FORMAT, "version": 3},
        {**dict.fromkeys(sorted(FIELDS), "x"), "format": keyfile.FORMAT, "version": 2},
        msgpack.Timestamp(1),
        {"a": [[[]]]},
    ],
)
def test_other_contents_are_refused(content: object) -> None:
    with pytest.raises(WireError):
        keyfile.from_bytes(msgpack.packb(content), "file")


def test_repr_hides_the_parts(store: KeyStore) -> None:
    file = keyfile.read_file(store.path("secret", PLAN))
    assert "secret bytes" not in repr(file)
    with pytest.raises(WireError, match="lacks"):
        file.part("rotations")
