"""Where a server keeps batches of tickets: a ticket is spent once, whoever asks and whatever dies.

With ``THEX_HF_TEST_DATABASE=postgresql+psycopg://...`` in the environment the suite runs on that
database too, and empties its tables of tickets.
"""

import multiprocessing
import os
import shutil
import signal
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from thex_hf.errors import KeyStoreError, OptionError, QuotaError, TicketError
from thex_hf.protocol.prepared_server import MemoryLedger
from thex_hf.serving.ticket_places import FILE, STAMP, DatabaseLedger, FolderLedger
from thex_hf.serving.tickets import TicketLimits

SERVER = os.environ.get("THEX_HF_TEST_DATABASE", "")
SHARED = ["folder", "database", *(["server"] if SERVER else [])]
CONTEXT = multiprocessing.get_context("fork")
PLAN, KEYS = "a" * 32, "b" * 32


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def opened(kind, folder, **options):
    """A ledger; opened again it is another server's view of the same place."""
    if kind == "memory":
        limits = options["limits"]
        return MemoryLedger(limits.keys, options["clock"], limits.seconds)
    if kind == "folder":
        return FolderLedger(folder / "keys", **options)
    return DatabaseLedger(SERVER if kind == "server" else f"sqlite:///{folder}/keys.db", **options)


@pytest.fixture(params=SHARED)
def kind(request):
    return request.param


@pytest.fixture
def reopen(kind, tmp_path, clock):
    if kind == "server":
        opened(kind, tmp_path).clear()
    return lambda **limits: opened(kind, tmp_path, limits=TicketLimits(**limits), clock=clock)


@pytest.fixture(params=["memory", *SHARED])
def ledger(request, tmp_path, clock):
    if request.param == "memory":
        return MemoryLedger(clock=clock)
    found = opened(request.param, tmp_path, clock=clock)
    found.clear()
    return found


def test_a_batch_comes_back_as_it_was_opened(ledger):
    batch = ledger.open("ann", PLAN, KEYS, 8)
    assert ledger.get("ann", batch.id) == batch
    assert (len(batch.id), len(batch.seed), batch.left) == (16, 32, 8)
    other = ledger.open("ann", PLAN, KEYS, 8)
    assert (other.id, other.seed) != (batch.id, batch.seed)


def test_a_ticket_is_spent_once(ledger):
    batch = ledger.open("ann", PLAN, KEYS, 8).id
    assert ledger.spend("ann", batch, 3).spent == {3}
    with pytest.raises(TicketError, match=r"ticket 3 of batch \w+ is spent: .* take another"):
        ledger.spend("ann", batch, 3)
    assert ledger.spend("ann", batch, 7).left == 6


def test_attempts_of_each_job_are_counted(ledger):
    batch = ledger.open("ann", PLAN, KEYS, 8).id
    assert [ledger.begin("ann", batch, job) for job in (0, 2, 0, 0)] == [1, 1, 2, 3]
    assert ledger.get("ann", batch).attempts == {0: 3, 2: 1}
    assert ledger.spend("ann", batch, 0).attempts == {0: 3, 2: 1}


@pytest.mark.parametrize("owner", ["bob", "ann "])
def test_another_owner_learns_nothing_and_changes_nothing(ledger, owner):
    batch = ledger.open("ann", PLAN, KEYS, 8).id
    ledger.spend("ann", batch, 0)
    for work in (
        lambda: ledger.get(owner, batch),
        lambda: ledger.begin(owner, batch, 0),
        lambda: ledger.spend(owner, batch, 0),  # spent: not said
        lambda: ledger.spend(owner, batch, 1),
        lambda: ledger.get("ann", bytes(16)),
        lambda: ledger.begin("ann", bytes(16), 0),
        lambda: ledger.spend("ann", bytes(16), 0),
    ):
        with pytest.raises(TicketError, match="no batch of tickets"):
            work()
    assert ledger.forget(owner, KEYS) == 0
    kept = ledger.get("ann", batch)
    assert (kept.spent, kept.attempts) == ({0}, {})


def test_a_ticket_that_the_batch_has_not_is_none(reopen):
    ledger = reopen()
    batch = ledger.open("ann", PLAN, KEYS, 8).id
    for number in (8, 9, 2**31 - 1, -1):
        with pytest.raises(TicketError, match="has 8 tickets"):
            ledger.spend("ann", batch, number)
    assert ledger.get("ann", batch).spent == set()


def test_batches_go_with_their_keys(ledger):
    mine, other = (ledger.open("ann", PLAN, keys, 8).id for keys in (KEYS, "c" * 32))
    foreign = ledger.open("bob", PLAN, KEYS, 8).id
    ledger.begin("ann", mine, 0)
    ledger.spend("ann", mine, 0)
    assert ledger.forget("ann", KEYS) == 1
    with pytest.raises(TicketError, match="no batch"):
        ledger.get("ann", mine)
    assert ledger.get("ann", other).left == ledger.get("bob", foreign).left == 8
    counts = ledger.counts()
    assert (counts.batches, counts.left, counts.spent, counts.jobs) == (2, 16, 0, 0)


def test_counts_say_what_is_kept(ledger):
    assert ledger.counts().batches == ledger.counts().left == 0
    batch = ledger.open("ann", PLAN, KEYS, 8).id
    ledger.begin("ann", batch, 0)
    ledger.begin("ann", batch, 0)
    ledger.spend("ann", batch, 0)
    counts = ledger.counts()
    assert (counts.batches, counts.left, counts.spent, counts.jobs) == (1, 7, 1, 2)


@pytest.mark.parametrize("kind", ["memory", *SHARED])
def test_a_batch_expires(reopen, clock):
    ledger = reopen(seconds=60)
    batch = ledger.open("ann", PLAN, KEYS, 8).id
    ledger.begin("ann", batch, 0)
    ledger.spend("ann", batch, 1)
    clock.now += 59
    assert ledger.sweep() == 0
    assert ledger.get("ann", batch).left == 7
    clock.now += 2
    for work in (ledger.get, lambda *b: ledger.begin(*b, 0), lambda *b: ledger.spend(*b, 0)):
        with pytest.raises(TicketError, match="expired"):
            work("ann", batch)
    assert ledger.sweep() == 1
    counts = ledger.counts()
    assert (counts.batches, counts.left, counts.spent, counts.jobs) == (0, 0, 0, 0)


def test_the_oldest_batch_under_the_same_keys_goes(reopen, clock):
    ledger, batches = reopen(keys=2), []
    other = ledger.open("ann", PLAN, "c" * 32, 8).id
    for _ in range(4):
        batches.append(ledger.open("ann", PLAN, KEYS, 8).id)
        clock.now += 1
    assert all(ledger.get("ann", batch) for batch in [other, *batches[2:]])
    for batch in batches[:2]:
        with pytest.raises(TicketError, match="no batch"):
            ledger.get("ann", batch)


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_the_batch_with_the_fewest_tickets_left_goes_first(kind, tmp_path, clock):
    ledger = MemoryLedger(2, clock=clock)
    if kind == "folder":
        ledger = FolderLedger(tmp_path, limits=TicketLimits(keys=2), clock=clock)
    first, used = (ledger.open("ann", PLAN, KEYS, 8).id for _ in range(2))
    ledger.spend("ann", used, 7)
    clock.now += 1
    third = ledger.open("ann", PLAN, KEYS, 8).id
    assert ledger.most_batches == 2
    assert ledger.get("ann", first).left == ledger.get("ann", third).left == 8
    with pytest.raises(TicketError, match="no batch"):
        ledger.get("ann", used)


def test_one_owner_leaves_room_for_others(reopen):
    ledger = reopen(total=4)
    for number in range(2):
        ledger.open("eve", PLAN, f"{number}" * 32, 8)
    with pytest.raises(QuotaError, match="no room for a batch of tickets: 2 of yours and 2 in all"):
        ledger.open("eve", PLAN, KEYS, 8)
    ledger.open("eve", PLAN, "0" * 32, 8)  # instead of an old one
    ledger.open("ann", PLAN, KEYS, 8)
    assert ledger.counts().batches == 3


def test_bounds_are_above_zero():
    for name in ("keys", "total", "seconds"):
        with pytest.raises(OptionError, match="above zero"):
            TicketLimits(**{name: 0})


def test_two_servers_see_the_same_tickets(reopen):
    one, other = reopen(), reopen()
    batch = one.open("ann", PLAN, KEYS, 8).id
    assert other.begin("ann", batch, 0) == 1
    assert one.begin("ann", batch, 0) == 2
    other.spend("ann", batch, 5)
    with pytest.raises(TicketError, match="is spent"):
        one.spend("ann", batch, 5)
    assert one.get("ann", batch) == other.get("ann", batch)


def test_many_at_once_spend_each_ticket_once_and_count_every_attempt(reopen):
    ledgers = [reopen() for _ in range(4)]
    batch = ledgers[0].open("ann", PLAN, KEYS, 12).id

    def work(ledger):
        won = []
        for ticket in range(12):
            with suppress(TicketError):
                ledger.spend("ann", batch, ticket)
                won.append(ticket)
        return won, [ledger.begin("ann", batch, 0) for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, ledgers))
    assert sorted(ticket for won, _ in results for ticket in won) == list(range(12))
    assert sorted(count for _, begun in results for count in begun) == list(range(1, 21))


def spend_some(kind, folder, batch, queue, die_at):
    ledger, won = opened(kind, folder), []
    for ticket in range(40):
        with suppress(TicketError):
            ledger.spend("ann", batch, ticket)
            won.append(ticket)
        if ticket == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
    queue.put(won)


def another(kind, folder, batch, queue=None, die_at=-1):
    """Another process that spends what it can of 40 tickets, until it dies."""
    process = CONTEXT.Process(target=spend_some, args=(kind, folder, batch, queue, die_at))
    process.start()
    return process


def test_processes_spend_each_ticket_once(kind, tmp_path):
    ledger = opened(kind, tmp_path)
    batch = ledger.open("ann", PLAN, KEYS, 40).id
    queue = CONTEXT.Queue()
    running = [another(kind, tmp_path, batch, queue) for _ in range(3)]
    won = [ticket for _ in running for ticket in queue.get(timeout=60)]
    for process in running:
        process.join()
    assert sorted(won) == list(range(40))
    assert ledger.get("ann", batch).left == 0


def test_what_a_killed_process_spent_stays_spent(kind, tmp_path):
    ledger = opened(kind, tmp_path)
    batch = ledger.open("ann", PLAN, KEYS, 40).id
    process = another(kind, tmp_path, batch, die_at=6)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert opened(kind, tmp_path).get("ann", batch).spent == set(range(7))
    with pytest.raises(TicketError, match="is spent"):
        ledger.spend("ann", batch, 6)


def test_seeds_are_shown_nowhere(ledger, caplog):
    caplog.set_level(0)
    batch = ledger.open("ann", PLAN, KEYS, 8)
    shown = [repr(batch), repr(ledger), str(ledger)]
    for work in (lambda: ledger.spend("ann", batch.id, 1), lambda: ledger.get("bob", batch.id)):
        with suppress(TicketError):
            work()
        with pytest.raises(TicketError) as error:
            work()
        shown += [repr(error.value), str(error.getrepr(style="long"))]
    text = "".join([*shown, caplog.text])
    assert batch.seed.hex() not in text
    assert repr(batch.seed)[2:-1] not in text


def test_files_are_the_owners_alone(tmp_path):
    FolderLedger(tmp_path / "keys").open("ann", PLAN, KEYS, 8)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    paths = list((tmp_path / "keys").iterdir())
    assert {path.name for path in paths} == {FILE, STAMP}
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}


@pytest.mark.parametrize("again", [False, True], ids=["while a server runs", "before it starts"])
@pytest.mark.parametrize("part", ["all", FILE, STAMP])
def test_tickets_do_not_come_back_with_a_backup(tmp_path, part, again):
    folder, backup = tmp_path / "keys", tmp_path / "backup"
    ledger = FolderLedger(folder)
    batch = ledger.open("ann", PLAN, KEYS, 8).id
    shutil.copytree(folder, backup)
    ledger.spend("ann", batch, 0)
    if part == "all":
        shutil.rmtree(folder)
        shutil.copytree(backup, folder)
    else:  # one file is put in place of the other, as rsync does
        os.replace(backup / part, folder / part)
    ledger = FolderLedger(folder) if again else ledger
    with pytest.raises(TicketError, match="no batch"):
        ledger.spend("ann", batch, 0)
    fresh = ledger.open("ann", PLAN, KEYS, 8).id
    assert FolderLedger(folder).spend("ann", fresh, 0).left == 7


def test_tickets_are_dropped_when_asked(reopen):
    ledger = reopen()
    batch = ledger.open("ann", PLAN, KEYS, 8).id
    ledger.spend("ann", batch, 0)
    assert ledger.clear() == 1
    with pytest.raises(TicketError, match="no batch"):
        ledger.get("ann", batch)
    assert ledger.counts().spent == 0


def test_a_place_that_cannot_be_used_is_said_to_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyStoreError, match=r"make the file of tickets.*try again later"):
        FolderLedger(tmp_path / "file")
    with pytest.raises(KeyStoreError, match="database of tickets"):
        DatabaseLedger(f"sqlite:///{tmp_path}/none/keys.db")
    FolderLedger(tmp_path)
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(KeyStoreError, match="try again later"):
        FolderLedger(tmp_path).open("ann", PLAN, KEYS, 8)


def test_a_commit_is_on_the_disk_before_it_counts(tmp_path, monkeypatch):
    """Full synchronisation: a crash of the machine undoes no mark."""
    asked = []

    class Watched(sqlite3.Connection):
        def execute(self, statement, *values):
            asked.append(statement)
            return super().execute(statement, *values)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **o: connect(*a, **o, factory=Watched))
    FolderLedger(tmp_path)
    assert "PRAGMA synchronous = EXTRA" in asked
    with connect(tmp_path / FILE) as plain:
        assert plain.execute("PRAGMA journal_mode").fetchone() == ("delete",)
