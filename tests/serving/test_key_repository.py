"""Evaluation keys on a server's disk: pieces, breaks, owners, quota, age.

With ``THEX_HF_TEST_DATABASE=postgresql+psycopg://...`` in the environment the suite runs on that
database too, and empties its two tables of keys.
"""

import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import replace

import pytest
from example_counts import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thex_hf.errors import KeyMismatch, KeyStoreError, OptionError, QuotaError, WireError
from thex_hf.serving.keys.folder import KeyFolder, Totals
from thex_hf.serving.keys.repository import Limits, UptimeClock
from thex_hf.serving.keys.sql import KeyDatabase
from thex_hf.serving.spec import open_repository


class Clock:
    """Seconds that pass, and a wall clock that may be set."""

    now, set_by = 0.0, 1000.0

    def wall(self):
        return self.now + self.set_by

    def uptime(self):
        return UptimeClock(self.wall, lambda: self.now)


@pytest.fixture
def clock():
    return Clock()


LIMITS = Limits(total=1000, owner=600, file=500, seconds=60)


def database(folder):
    return f"sqlite:///{folder}/keys.db"


@pytest.fixture
def folder(tmp_path, clock):
    return KeyFolder(tmp_path / "keys", LIMITS, clock.uptime())


SERVER = os.environ.get("THEX_HF_TEST_DATABASE", "")
PLACES = ["folder", "database", *(["server"] if SERVER else [])]


@pytest.fixture(params=PLACES)
def repository(request, tmp_path, clock):
    if request.param == "folder":
        return KeyFolder(tmp_path / "keys", LIMITS, clock.uptime())
    if request.param == "database":
        return KeyDatabase(database(tmp_path), LIMITS, clock.uptime())
    found = KeyDatabase(SERVER, LIMITS, clock.uptime())
    with found._engine.begin() as link:
        link.execute(found._piece_table.delete())
        link.execute(found._file_table.delete())
        link.execute(found._clock_table.delete())
    found._start_clock()
    return found


def reopened(repository):
    """Another server's view of the same place."""
    place = repository.folder if isinstance(repository, KeyFolder) else repository.url
    return type(repository)(place, repository.limits, replace(repository.clock))


def named(data):
    return hashlib.sha256(data).hexdigest()


def put(repository, data, owner="ann", piece=7):
    repository.begin(named(data), owner, len(data))
    for start in range(0, len(data), piece):
        entry = repository.write(named(data), owner, start, data[start : start + piece])
    return entry


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=examples(30),
)
@given(st.binary(min_size=1, max_size=200), st.integers(1, 60))
def test_what_comes_in_pieces_is_read_whole(repository, data, piece):
    assert put(repository, data, piece=piece).complete
    assert repository.read(named(data), "ann") == data
    assert repository.delete(named(data), "ann")
    assert repository.total_bytes() == 0


def test_files_are_the_owners_alone(folder):
    repository = folder
    put(repository, b"x" * 20)
    assert stat.S_IMODE(repository.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in repository.folder.iterdir()} == {0o600}


def test_an_upload_goes_on_after_a_break_and_a_restart(repository, clock):
    data = bytes(range(100))
    repository.begin(named(data), "ann", 100)
    repository.write(named(data), "ann", 0, data[:60])
    with pytest.raises(KeyMismatch, match="60 of 100 bytes are here"):
        repository.read(named(data), "ann")
    again = reopened(repository)
    assert again.begin(named(data), "ann", 100).received == 60
    for offset in (0, 59, 61):
        with pytest.raises(WireError, match="expected a piece at 60 of 100"):
            again.write(named(data), "ann", offset, data[offset:])
    assert again.write(named(data), "ann", 60, data[60:]).complete
    assert again.read(named(data), "ann") == data
    assert put(again, data).complete  # once more: it is there


def test_altered_bytes_are_dropped(repository):
    data = b"keys" * 10
    repository.begin(named(data), "ann", 40)
    with pytest.raises(WireError, match="altered on the way"):
        repository.write(named(data), "ann", 0, b"Keys" * 10)
    assert repository.find(named(data), "ann") is None
    assert put(repository, data).complete


def test_one_owner_neither_sees_nor_touches_anothers(repository):
    data = b"keys of ann"
    put(repository, data)
    name = named(data)
    assert repository.find(name, "bob") is None
    assert not repository.delete(name, "bob")
    with pytest.raises(KeyMismatch, match="of yours"):
        repository.read(name, "bob")
    with pytest.raises(KeyMismatch, match="of yours"):
        repository.write(name, "bob", 0, b"x")
    put(repository, data, owner="bob")
    assert repository.delete(name, "bob")
    assert repository.read(name, "ann") == data


def test_quota_of_an_owner_and_of_all(repository):
    put(repository, b"a" * 400, piece=400)
    with pytest.raises(QuotaError, match="400 of your 600"):
        repository.begin(named(b"b" * 300), "ann", 300)
    put(repository, b"b" * 400, owner="bob", piece=400)
    with pytest.raises(QuotaError, match="800 of 1000 in all"):
        repository.begin(named(b"c" * 300), "eve", 300)
    repository.delete(named(b"b" * 400), "bob")
    put(repository, b"c" * 300, owner="eve", piece=300)


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "A" * 64, "a" * 63, None, "a" * 64 + "\n"]
)
def test_names_that_are_no_hash_are_refused(repository, name):
    with pytest.raises(WireError, match="64 hex digits"):
        repository.begin(name, "ann", 5)
    assert repository.find(name, "ann") is None


@pytest.mark.parametrize("size", [0, -1, 501, 2.0, True, None])
def test_sizes_that_cannot_be_are_refused(repository, size):
    with pytest.raises(WireError, match="1 to 500 bytes"):
        repository.begin("a" * 64, "ann", size)


def test_what_nobody_used_is_swept(repository, clock):
    put(repository, b"old")
    clock.now += 40
    assert repository.sweep() == 0
    put(repository, b"new")
    clock.now += 40
    assert repository.sweep() == 1
    assert repository.find(named(b"old"), "ann") is None
    assert repository.read(named(b"new"), "ann") == b"new"
    clock.now += 59
    assert repository.sweep() == 0  # reading counts as use
    clock.now += 2
    assert repository.sweep() == 1


@pytest.mark.parametrize("jump", [-3 * 10**8, -7200.0, 7200.0, 3 * 10**8])
def test_a_clock_that_jumps_drops_no_keys_and_keeps_none_for_ever(repository, clock, jump):
    put(repository, b"keys")
    repository.sweep()
    clock.set_by += jump
    assert repository.sweep() == 0
    assert reopened(repository).sweep() == 0  # nor for a server that starts now
    clock.now += 50
    assert repository.sweep() == 0
    clock.now += 61
    assert repository.sweep() == 1


def test_servers_that_share_a_repository_count_a_second_once(repository, clock):
    put(repository, b"keys")
    both = [repository, reopened(repository)]
    for number in range(6):
        clock.now += 9
        assert both[number % 2].sweep() == 0
    clock.now += 9
    assert both[0].sweep() == 1


def test_a_crash_before_the_last_piece_counts_is_made_good(repository, folder):
    """The folder: all bytes are there, their file has its old name. The database: all or none."""
    data = b"keys" * 10
    name = named(data)
    for sent, whole in ((data, True), (b"Keys" * 10, False)):
        folder.begin(name, "ann", 40)
        next(folder.folder.glob("*.part")).write_bytes(sent)
        assert not folder.find(name, "ann").complete
        with pytest.raises(KeyMismatch, match="send the rest"):
            folder.read(name, "ann")
        assert reopened(folder).begin(name, "ann", 40).complete is whole
        assert put(folder, data).complete
        assert folder.read(name, "ann") == data
        folder.delete(name, "ann")
    assert folder.total_bytes() == 0


def test_keys_that_were_damaged_on_the_server_are_dropped_and_come_again(repository):
    data = b"keys" * 10
    put(repository, data)
    if isinstance(repository, KeyFolder):
        next(repository.folder.glob("*.keys")).write_bytes(bytes(40))
    else:
        with repository._engine.begin() as link:
            link.execute(repository._piece_table.update().values(data=b"damage"))
    with pytest.raises(KeyMismatch, match="damaged on the server"):
        repository.read(named(data), "ann")
    assert repository.find(named(data), "ann") is None
    assert put(repository, data).complete
    assert repository.total_bytes() == 40


def test_an_owner_may_announce_so_many_files(repository):
    repository.limits = replace(LIMITS, files=5)
    for number in range(5):
        repository.begin(f"{number:064x}", "ann", 1)
    with pytest.raises(QuotaError, match="5 key files here"):
        repository.begin("f" * 64, "ann", 1)
    assert repository.begin("f" * 64, "bob", 1).received == 0
    assert repository.begin(f"{0:064x}", "ann", 1).received == 0
    repository.delete(f"{0:064x}", "ann")
    repository.begin("f" * 64, "ann", 1)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 99), st.booleans()), max_size=12))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=examples(25),
)
def test_totals_are_what_counting_would_say(folder, steps):
    for number, size, gone in steps:
        owner = f"owner {number % 2}"
        if gone:
            folder.delete(f"{number:064x}", owner)
        else:
            with suppress(QuotaError):
                folder.begin(f"{number:064x}", owner, size)
    kept = Totals.read(folder.folder) or Totals(0.0, 0.0)
    counted = Totals(kept.clock, kept.swept)
    counted.count(folder._sizes())
    assert kept == counted
    for path in folder._paths():
        folder._remove(path, folder._read_entry(path))


def test_lost_totals_are_counted_anew(folder):
    put(folder, b"x" * 20)
    for left in (b"nonsense", None):
        path = folder.folder / "totals"
        path.unlink() if left is None else path.write_bytes(left)
        assert folder.total_bytes() == 20
        folder.begin("a" * 64, "ann", 500)
        with pytest.raises(QuotaError, match="520 of your 600"):
            folder.begin("b" * 64, "ann", 490)
        folder.delete("a" * 64, "ann")


def test_what_a_crash_has_left_half_is_swept(folder):
    put(folder, b"x" * 20)
    next(folder.folder.glob("*.json")).unlink()
    folder.sweep()
    assert not list(folder.folder.glob("*.keys"))
    assert folder.total_bytes() == 0


def test_damaged_facts_are_as_if_nothing_were_there(folder):
    repository = folder
    put(repository, b"data")
    for path in repository.folder.glob("*.json"):
        path.write_bytes(b"\0nonsense")
    assert repository.find(named(b"data"), "ann") is None
    assert put(repository, b"data").complete


@pytest.mark.skipif(os.name != "posix" or not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_said_and_the_upload_can_go_on(folder):
    repository = folder
    data = b"d" * 50
    repository.begin(named(data), "ann", 50)
    part = next(repository.folder.glob("*.part"))
    part.unlink()
    part.symlink_to("/dev/full")
    with pytest.raises(KeyStoreError, match="No space left"):
        repository.write(named(data), "ann", 0, data)
    part.unlink()
    part.touch()
    assert repository.write(named(data), "ann", 0, data).complete


def test_two_servers_may_not_both_write_one_piece(repository):
    data = b"keys" * 10
    other = reopened(repository)
    repository.begin(named(data), "ann", 40)
    assert other.begin(named(data), "ann", 40).received == 0
    repository.write(named(data), "ann", 0, data[:20])
    with pytest.raises(WireError, match="expected a piece at 20"):
        other.write(named(data), "ann", 0, data[:20])
    assert other.write(named(data), "ann", 20, data[20:]).complete
    assert repository.read(named(data), "ann") == data


def test_a_repository_is_found_by_its_address(tmp_path):
    assert isinstance(open_repository(str(tmp_path / "new"), LIMITS), KeyFolder)
    assert isinstance(open_repository(database(tmp_path), LIMITS), KeyDatabase)
    with pytest.raises(OptionError, match="folder or the address"):
        open_repository("", LIMITS)
    for address in ("nothing://here", "sqlite:////proc/no/such/place.db"):
        with pytest.raises(KeyStoreError, match="cannot open the database"):
            open_repository(address, LIMITS)
    with pytest.raises(KeyStoreError, match="make the folder"):
        open_repository("/proc/no/such", LIMITS)


def test_a_password_in_an_address_is_not_shown(tmp_path):
    assert database(tmp_path) not in repr(KeyDatabase(database(tmp_path)))
    with pytest.raises(KeyStoreError) as caught:
        KeyDatabase("postgresql+psycopg://ann:hunter2@127.0.0.1:9/keys")
    assert "hunter2" not in str(caught.value)
