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
from thex_hf.serving.keys.folder import DiskShelf
from thex_hf.serving.keys.folder_files import Totals
from thex_hf.serving.keys.repository import Ages, Limits
from thex_hf.serving.keys.sql import SqlShelf
from thex_hf.serving.spec import open_shelf


class Clock:
    """Seconds that pass, and a wall clock that may be set."""

    now, set_by = 0.0, 1000.0

    def wall(self):
        return self.now + self.set_by

    def ages(self):
        return Ages(self.wall, lambda: self.now)


@pytest.fixture
def clock():
    return Clock()


LIMITS = Limits(total=1000, owner=600, file=500, seconds=60)


def database(folder):
    return f"sqlite:///{folder}/keys.db"


@pytest.fixture
def folder(tmp_path, clock):
    return DiskShelf(tmp_path / "keys", LIMITS, clock.ages())


SERVER = os.environ.get("THEX_HF_TEST_DATABASE", "")
PLACES = ["folder", "database", *(["server"] if SERVER else [])]


@pytest.fixture(params=PLACES)
def shelf(request, tmp_path, clock):
    if request.param == "folder":
        return DiskShelf(tmp_path / "keys", LIMITS, clock.ages())
    if request.param == "database":
        return SqlShelf(database(tmp_path), LIMITS, clock.ages())
    found = SqlShelf(SERVER, LIMITS, clock.ages())
    with found._engine.begin() as link:
        link.execute(found._pieces.delete())
        link.execute(found._files.delete())
        link.execute(found._clocks.delete())
    found._start_clock()
    return found


def reopened(shelf):
    """Another server's view of the same place."""
    place = shelf.folder if isinstance(shelf, DiskShelf) else shelf.url
    return type(shelf)(place, shelf.limits, replace(shelf.ages))


def named(data):
    return hashlib.sha256(data).hexdigest()


def put(shelf, data, owner="ann", piece=7):
    shelf.begin(named(data), owner, len(data))
    for start in range(0, len(data), piece):
        entry = shelf.write(named(data), owner, start, data[start : start + piece])
    return entry


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=examples(30),
)
@given(st.binary(min_size=1, max_size=200), st.integers(1, 60))
def test_what_comes_in_pieces_is_read_whole(shelf, data, piece):
    assert put(shelf, data, piece=piece).complete
    assert shelf.read(named(data), "ann") == data
    assert shelf.delete(named(data), "ann")
    assert shelf.taken() == 0


def test_files_are_the_owners_alone(folder):
    shelf = folder
    put(shelf, b"x" * 20)
    assert stat.S_IMODE(shelf.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in shelf.folder.iterdir()} == {0o600}


def test_an_upload_goes_on_after_a_break_and_a_restart(shelf, clock):
    data = bytes(range(100))
    shelf.begin(named(data), "ann", 100)
    shelf.write(named(data), "ann", 0, data[:60])
    with pytest.raises(KeyMismatch, match="60 of 100 bytes are here"):
        shelf.read(named(data), "ann")
    again = reopened(shelf)
    assert again.begin(named(data), "ann", 100).received == 60
    for offset in (0, 59, 61):
        with pytest.raises(WireError, match="expected a piece at 60 of 100"):
            again.write(named(data), "ann", offset, data[offset:])
    assert again.write(named(data), "ann", 60, data[60:]).complete
    assert again.read(named(data), "ann") == data
    assert put(again, data).complete  # once more: it is there


def test_altered_bytes_are_dropped(shelf):
    data = b"keys" * 10
    shelf.begin(named(data), "ann", 40)
    with pytest.raises(WireError, match="altered on the way"):
        shelf.write(named(data), "ann", 0, b"Keys" * 10)
    assert shelf.find(named(data), "ann") is None
    assert put(shelf, data).complete


def test_one_owner_neither_sees_nor_touches_anothers(shelf):
    data = b"keys of ann"
    put(shelf, data)
    name = named(data)
    assert shelf.find(name, "bob") is None
    assert not shelf.delete(name, "bob")
    with pytest.raises(KeyMismatch, match="of yours"):
        shelf.read(name, "bob")
    with pytest.raises(KeyMismatch, match="of yours"):
        shelf.write(name, "bob", 0, b"x")
    put(shelf, data, owner="bob")
    assert shelf.delete(name, "bob")
    assert shelf.read(name, "ann") == data


def test_quota_of_an_owner_and_of_all(shelf):
    put(shelf, b"a" * 400, piece=400)
    with pytest.raises(QuotaError, match="400 of your 600"):
        shelf.begin(named(b"b" * 300), "ann", 300)
    put(shelf, b"b" * 400, owner="bob", piece=400)
    with pytest.raises(QuotaError, match="800 of 1000 in all"):
        shelf.begin(named(b"c" * 300), "eve", 300)
    shelf.delete(named(b"b" * 400), "bob")
    put(shelf, b"c" * 300, owner="eve", piece=300)


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "A" * 64, "a" * 63, None, "a" * 64 + "\n"]
)
def test_names_that_are_no_hash_are_refused(shelf, name):
    with pytest.raises(WireError, match="64 hex digits"):
        shelf.begin(name, "ann", 5)
    assert shelf.find(name, "ann") is None


@pytest.mark.parametrize("size", [0, -1, 501, 2.0, True, None])
def test_sizes_that_cannot_be_are_refused(shelf, size):
    with pytest.raises(WireError, match="1 to 500 bytes"):
        shelf.begin("a" * 64, "ann", size)


def test_what_nobody_used_is_swept(shelf, clock):
    put(shelf, b"old")
    clock.now += 40
    assert shelf.sweep() == 0
    put(shelf, b"new")
    clock.now += 40
    assert shelf.sweep() == 1
    assert shelf.find(named(b"old"), "ann") is None
    assert shelf.read(named(b"new"), "ann") == b"new"
    clock.now += 59
    assert shelf.sweep() == 0  # reading counts as use
    clock.now += 2
    assert shelf.sweep() == 1


@pytest.mark.parametrize("jump", [-3 * 10**8, -7200.0, 7200.0, 3 * 10**8])
def test_a_clock_that_jumps_drops_no_keys_and_keeps_none_for_ever(shelf, clock, jump):
    put(shelf, b"keys")
    shelf.sweep()
    clock.set_by += jump
    assert shelf.sweep() == 0
    assert reopened(shelf).sweep() == 0  # nor for a server that starts now
    clock.now += 50
    assert shelf.sweep() == 0
    clock.now += 61
    assert shelf.sweep() == 1


def test_servers_that_share_a_shelf_count_a_second_once(shelf, clock):
    put(shelf, b"keys")
    both = [shelf, reopened(shelf)]
    for number in range(6):
        clock.now += 9
        assert both[number % 2].sweep() == 0
    clock.now += 9
    assert both[0].sweep() == 1


def test_a_crash_before_the_last_piece_counts_is_made_good(shelf, folder):
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
    assert folder.taken() == 0


def test_keys_that_were_damaged_on_the_shelf_are_dropped_and_come_again(shelf):
    data = b"keys" * 10
    put(shelf, data)
    if isinstance(shelf, DiskShelf):
        next(shelf.folder.glob("*.keys")).write_bytes(bytes(40))
    else:
        with shelf._engine.begin() as link:
            link.execute(shelf._pieces.update().values(data=b"damage"))
    with pytest.raises(KeyMismatch, match="damaged on the server"):
        shelf.read(named(data), "ann")
    assert shelf.find(named(data), "ann") is None
    assert put(shelf, data).complete
    assert shelf.taken() == 40


def test_an_owner_may_announce_so_many_files(shelf):
    shelf.limits = replace(LIMITS, files=5)
    for number in range(5):
        shelf.begin(f"{number:064x}", "ann", 1)
    with pytest.raises(QuotaError, match="5 key files here"):
        shelf.begin("f" * 64, "ann", 1)
    assert shelf.begin("f" * 64, "bob", 1).received == 0
    assert shelf.begin(f"{0:064x}", "ann", 1).received == 0
    shelf.delete(f"{0:064x}", "ann")
    shelf.begin("f" * 64, "ann", 1)


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
    for place in folder._places():
        folder._drop(place, folder._entry(place))


def test_lost_totals_are_counted_anew(folder):
    put(folder, b"x" * 20)
    for left in (b"nonsense", None):
        path = folder.folder / "totals"
        path.unlink() if left is None else path.write_bytes(left)
        assert folder.taken() == 20
        folder.begin("a" * 64, "ann", 500)
        with pytest.raises(QuotaError, match="520 of your 600"):
            folder.begin("b" * 64, "ann", 490)
        folder.delete("a" * 64, "ann")


def test_what_a_crash_has_left_half_is_swept(folder):
    put(folder, b"x" * 20)
    next(folder.folder.glob("*.json")).unlink()
    folder.sweep()
    assert not list(folder.folder.glob("*.keys"))
    assert folder.taken() == 0


def test_damaged_facts_are_as_if_nothing_were_there(folder):
    shelf = folder
    put(shelf, b"data")
    for path in shelf.folder.glob("*.json"):
        path.write_bytes(b"\0nonsense")
    assert shelf.find(named(b"data"), "ann") is None
    assert put(shelf, b"data").complete


@pytest.mark.skipif(os.name != "posix" or not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_said_and_the_upload_can_go_on(folder):
    shelf = folder
    data = b"d" * 50
    shelf.begin(named(data), "ann", 50)
    part = next(shelf.folder.glob("*.part"))
    part.unlink()
    part.symlink_to("/dev/full")
    with pytest.raises(KeyStoreError, match="No space left"):
        shelf.write(named(data), "ann", 0, data)
    part.unlink()
    part.touch()
    assert shelf.write(named(data), "ann", 0, data).complete


def test_two_servers_may_not_both_write_one_piece(shelf):
    data = b"keys" * 10
    other = reopened(shelf)
    shelf.begin(named(data), "ann", 40)
    assert other.begin(named(data), "ann", 40).received == 0
    shelf.write(named(data), "ann", 0, data[:20])
    with pytest.raises(WireError, match="expected a piece at 20"):
        other.write(named(data), "ann", 0, data[:20])
    assert other.write(named(data), "ann", 20, data[20:]).complete
    assert shelf.read(named(data), "ann") == data


def test_a_shelf_is_found_by_its_address(tmp_path):
    assert isinstance(open_shelf(str(tmp_path / "new"), LIMITS), DiskShelf)
    assert isinstance(open_shelf(database(tmp_path), LIMITS), SqlShelf)
    with pytest.raises(OptionError, match="folder or the address"):
        open_shelf("", LIMITS)
    for address in ("nothing://here", "sqlite:////proc/no/such/place.db"):
        with pytest.raises(KeyStoreError, match="cannot open the database"):
            open_shelf(address, LIMITS)
    with pytest.raises(KeyStoreError, match="make the folder"):
        open_shelf("/proc/no/such", LIMITS)


def test_a_password_in_an_address_is_not_shown(tmp_path):
    assert database(tmp_path) not in repr(SqlShelf(database(tmp_path)))
    with pytest.raises(KeyStoreError) as caught:
        SqlShelf("postgresql+psycopg://ann:hunter2@127.0.0.1:9/keys")
    assert "hunter2" not in str(caught.value)
