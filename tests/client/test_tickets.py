"""A client's stock of tickets: each is handed out once, whatever happens in between."""

import multiprocessing
import os
import shutil
import stat
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from reference import random_polynomial_weights

from thex_hf.client import ticket_folder
from thex_hf.client.supply import TicketSupply
from thex_hf.client.ticket_folder import FolderStock
from thex_hf.client.tickets import MemoryStock
from thex_hf.errors import KeyStoreError, QuotaError, TicketError
from thex_hf.hub import find_secrets
from thex_hf.prepared.masks import ticket_seed
from thex_hf.prepared.plan import prepared_plan

WEIGHTS = random_polynomial_weights(layers=1, hidden=8, heads=2, intermediate=8)
PLAN = prepared_plan(WEIGHTS, 128)
KEY = "ab" * 16


def fill(stock, name=b"n" * 16):
    with stock.adding() as batch:
        batch.name = name
        batch.rows[...] = np.arange(batch.rows.size, dtype=np.uint64).reshape(batch.rows.shape)
        return batch.seed


@pytest.fixture(params=["memory", "folder"])
def stock(request, tmp_path):
    return MemoryStock(PLAN) if request.param == "memory" else FolderStock(tmp_path, PLAN, KEY)


def test_every_ticket_is_handed_out_once(stock):
    assert stock.left() == 0
    seed = fill(stock)
    assert stock.left() == PLAN.batch.tickets
    tickets = [stock.take() for _ in range(PLAN.batch.tickets)]
    assert [ticket.number for ticket in tickets] == list(range(PLAN.batch.tickets))
    assert all(ticket.seed == ticket_seed(seed, ticket.number) for ticket in tickets)
    numbers = PLAN.layout.numbers
    assert (tickets[3].row == np.arange(3 * numbers, 4 * numbers)).all()
    assert stock.batches() == 0
    with pytest.raises(TicketError, match="thex-hf prepare"):
        stock.take()


def test_a_batch_that_was_not_finished_does_not_count(stock):
    with pytest.raises(RuntimeError), stock.adding():
        raise RuntimeError
    assert stock.left() == 0


def test_a_dropped_batch_is_gone(stock):
    fill(stock)
    fill(stock, b"m" * 16)
    assert stock.batches() == 2
    assert stock.drop(b"n" * 16) == PLAN.batch.tickets
    assert stock.drop(b"n" * 16) == 0
    assert stock.batches() == 1
    assert stock.left() == PLAN.batch.tickets
    assert stock.take().batch == b"m" * 16


def test_threads_share_a_stock(stock):
    fill(stock)
    taken, lock = [], threading.Lock()

    def some():
        for _ in range(8):
            ticket = stock.take()
            with lock:
                taken.append(ticket.number)

    threads = [threading.Thread(target=some) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 48


def take_some(folder, count, queue):
    stock = FolderStock(folder, PLAN, KEY)
    queue.put([stock.take().number for _ in range(count)])


def test_processes_share_a_folder(tmp_path):
    fill(FolderStock(tmp_path, PLAN, KEY))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=take_some, args=(tmp_path, 10, queue)) for _ in range(4)]
    for child in children:
        child.start()
    taken = [number for _ in children for number in queue.get(timeout=60)]
    for child in children:
        child.join()
    assert len(taken) == len(set(taken)) == 40


def test_a_spent_row_is_gone_from_the_disk(tmp_path):
    stock = FolderStock(tmp_path, PLAN, KEY)
    fill(stock)
    stock.take()
    stock.take()
    (rows,) = tmp_path.glob("*/rows")
    kept = np.fromfile(rows, np.uint64).reshape(-1, PLAN.layout.numbers)
    assert not kept[:2].any()
    assert kept[2].all()


def test_files_are_the_owners_alone(tmp_path):
    fill(FolderStock(tmp_path / "tickets", PLAN, KEY))
    for path in (tmp_path / "tickets").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600)


def test_tickets_are_not_uploaded_with_a_model(tmp_path):
    fill(FolderStock(tmp_path / "tickets", PLAN, KEY))
    (tmp_path / "tickets.db").write_bytes(b"SQLite format 3")
    assert {secret.path.name for secret in find_secrets(tmp_path)} == {"about", "tickets.db"}


def test_a_stock_outlives_its_process_with_what_was_spent(tmp_path):
    stock = FolderStock(tmp_path, PLAN, KEY)
    fill(stock)
    stock.take()
    again = FolderStock(tmp_path, PLAN, KEY)
    assert again.left() == PLAN.batch.tickets - 1
    assert again.take().number == 1


def test_a_batch_that_is_being_made_is_not_swept(tmp_path, monkeypatch):
    """Not even before its place on the disk is set aside, which may take long."""
    allocate = ticket_folder._allocate
    another = FolderStock(tmp_path, PLAN, KEY)

    def slowly(*about):
        another.sweep()
        allocate(*about)

    monkeypatch.setattr(ticket_folder, "_allocate", slowly)
    with FolderStock(tmp_path, PLAN, KEY).adding() as batch:
        batch.name = b"n" * 16
        another.sweep()
    assert another.left() == PLAN.batch.tickets
    assert not list(tmp_path.glob(".batch-*"))


def test_what_a_killed_process_has_left_is_swept(tmp_path):
    def killed():
        with FolderStock(tmp_path, PLAN, KEY).adding():
            os._exit(9)

    child = multiprocessing.get_context("fork").Process(target=killed)
    child.start()
    child.join()
    assert list(tmp_path.glob(".batch-*"))
    stock = FolderStock(tmp_path, PLAN, KEY)
    assert stock.left() == 0
    fill(stock)
    assert not list(tmp_path.glob(".batch-*"))


@pytest.mark.parametrize("foreign", ["plan", "keys", "version"])
def test_a_foreign_batch_is_refused(tmp_path, foreign, monkeypatch):
    stock = FolderStock(tmp_path / "here", PLAN, KEY)
    with monkeypatch.context() as patch:
        if foreign == "version":
            patch.setattr(ticket_folder, "VERSION", 2)
        plan = prepared_plan(WEIGHTS, 64) if foreign == "plan" else PLAN
        fill(FolderStock(tmp_path / "there", plan, "0" * 32 if foreign == "keys" else KEY))
    (tmp_path / "there").rename(tmp_path / "here")
    with pytest.raises(KeyStoreError, match="delete it"):
        stock.take()


def copied(folder):
    shutil.copytree(folder, folder.with_name("backup"))
    shutil.rmtree(folder)
    folder.with_name("backup").rename(folder)


def brought_back_file_by_file(folder):
    """As a program does that leaves alone what has not changed since."""
    (batch,) = (path for path in folder.with_name("backup").iterdir() if path.is_dir())
    for name in ("spent", "rows"):
        target = folder / batch.name / name
        shutil.copy2(batch / name, target.with_name("new"))
        target.with_name("new").replace(target)


@pytest.mark.parametrize("again", [copied, brought_back_file_by_file])
def test_tickets_that_were_brought_back_are_dropped(tmp_path, again, caplog):
    folder = tmp_path / "tickets"
    stock = FolderStock(folder, PLAN, KEY)
    fill(stock)
    if again is brought_back_file_by_file:
        shutil.copytree(folder, tmp_path / "backup")
    stock.take()
    again(folder)
    assert stock.left() == 0
    assert stock.batches() == 0
    with pytest.raises(TicketError):
        stock.take()
    assert f"dropping {PLAN.batch.tickets - (again is copied)} tickets" in caplog.text
    assert "brought back from a backup" in caplog.text
    assert not list(folder.glob("*/rows"))
    fill(stock)
    assert stock.take().number == 0


def test_a_folder_that_was_moved_keeps_its_tickets(tmp_path):
    fill(FolderStock(tmp_path / "here", PLAN, KEY))
    (tmp_path / "here").rename(tmp_path / "there")
    assert FolderStock(tmp_path / "there", PLAN, KEY).take().number == 0


@pytest.mark.parametrize("kept", ["memory", "folder"])
def test_tickets_expire_when_the_server_would_forget_them(tmp_path, kept):
    now = [1000.0]

    def clock():
        return now[0]

    if kept == "memory":
        stock = MemoryStock(PLAN, 60.0, clock)
    else:
        stock = FolderStock(tmp_path, PLAN, KEY, 60.0, clock)
    with stock.adding() as batch:
        batch.name = b"n" * 16
        now[0] += 20  # that it takes to prepare count
    now[0] += 39
    assert stock.take().number == 0
    now[0] += 2
    assert stock.left() == stock.batches() == 0
    with pytest.raises(TicketError):
        stock.take()
    assert not list(tmp_path.glob("*/rows"))


def test_what_has_expired_goes_when_keys_are_used_again_even_of_other_plans(tmp_path):
    other = prepared_plan(WEIGHTS, 64)
    fill(TicketSupply(None, None, tmp_path, lifetime=1e-9).stock(other, KEY))
    assert list(tmp_path.rglob("rows"))
    TicketSupply(None, None, tmp_path).stock(PLAN, KEY)
    assert not list(tmp_path.rglob("rows"))


def test_damage_is_refused_and_no_secret_is_told(tmp_path):
    stock = FolderStock(tmp_path, PLAN, KEY)
    seed = fill(stock)
    (path,) = (p for p in tmp_path.iterdir() if p.is_dir())
    os.truncate(path / "rows", 8)
    with pytest.raises(KeyStoreError, match="not whole"):
        stock.take()
    about = (path / "about").read_bytes()
    (path / "about").write_bytes(about[:-1])
    with pytest.raises(KeyStoreError, match="damaged") as error:
        stock.take()
    assert repr(seed)[2:10] not in str(error.value)
    assert error.value.__cause__ is None


def test_no_secret_is_in_a_repr(stock):
    seed = fill(stock)
    ticket = stock.take()
    for one in (stock, ticket):
        assert seed.hex()[:8] not in repr(one)
        assert repr(ticket.seed) not in repr(one)


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(KeyStoreError, match="make room"):
        fill(FolderStock(tmp_path, PLAN, KEY))
    assert not list(tmp_path.glob(".batch-*"))


@pytest.mark.parametrize("kept", ["in memory", "in a folder"])
def test_no_batch_is_prepared_for_which_the_server_would_drop_a_good_one(kept, tmp_path):
    supply = TicketSupply(None, None, None if kept == "in memory" else tmp_path, most_batches=2)
    other = prepared_plan(WEIGHTS, 64)  # another plan under the same keys counts too
    for plan, name in ((PLAN, b"n" * 16), (other, b"m" * 16)):
        fill(supply.stock(plan, KEY), name)
    if kept == "in a folder":  # and so do those of other processes
        supply = TicketSupply(None, None, tmp_path, most_batches=2)
    with pytest.raises(QuotaError, match=r"your 2 for another: their 192 tickets .* --ticket-bat"):
        supply.prepare(PLAN, SimpleNamespace(key_id=KEY))
    stock = supply.stock(other, KEY)
    for _ in range(other.batch.tickets):
        stock.take()
    with pytest.raises(AttributeError):  # there is room: it goes to the server, which is none
        supply.prepare(PLAN, SimpleNamespace(key_id=KEY, engine=None))


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps"), reason="the system does not say")
def test_rows_in_a_file_take_memory_only_while_they_are_written(tmp_path):
    def resident():
        lines = iter(Path("/proc/self/smaps").read_text().splitlines())
        for line in lines:
            if line.endswith("/rows"):
                return next(int(one.split()[1]) for one in lines if one.startswith("Rss:"))
        return 0

    with FolderStock(tmp_path, PLAN, KEY).adding() as batch:
        batch.name = b"n" * 16
        batch.rows[...] = 7
        assert resident() > 0
        batch.give_back()
        assert resident() == 0
        assert (batch.rows == 7).all()
