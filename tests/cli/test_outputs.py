"""``thex-hf classify --output``: what is written, and how an interrupted command goes on."""

import csv
import json
import os
import re
import resource
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager

import pytest
from pyarrow import parquet
from typer.testing import CliRunner

import thex_hf
from thex_hf.cli import outputs
from thex_hf.cli.journal import Journal
from thex_hf.cli.layout import Layout
from thex_hf.cli.main import commands
from thex_hf.errors import BackendUnavailable, InputError, OptionError, OutputError
from thex_hf.pipelines.runner import Runner

TEXTS = ["a charming film", "a dull mess", 'warm, "funny"\nand \u2028 wise', "bad", "fine"]
SUFFIXES = (".jsonl", ".csv", ".parquet")


def run(*arguments, fhe="disable", **options):
    return CliRunner().invoke(commands, ["classify", *map(str, arguments), "--fhe", fhe], **options)


def rows_of(path):
    """The rows of a file of answers; an empty field of CSV is None."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_bytes().decode().split("\n")[:-1]]
    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pylist()
    with open(path, newline="", encoding="utf-8") as file:
        rows = [{k: v or None for k, v in row.items()} for row in csv.DictReader(file)]
    for row in rows:
        row |= {"row": int(row["row"]), "score": row["score"] and float(row["score"])}
        if row.get("scores"):
            row["scores"] = json.loads(row["scores"])
    return rows


@pytest.fixture
def given(tmp_path):
    path = tmp_path / "texts.jsonl"
    rows = [{"id": f"n{i}", "text": text, "other": i} for i, text in enumerate(TEXTS)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def computed(monkeypatch):
    """How many texts were computed, call by call."""
    counts, compute = [], Runner.run

    def counting(self, rows, **options):
        counts.append(len(rows))
        return compute(self, rows, **options)

    monkeypatch.setattr(Runner, "run", counting)
    return counts


@pytest.fixture
def interruptible():
    """Ctrl-C counts, also where the tests are run in the background and it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def cut_after(monkeypatch, lines, stop):
    """After so many lines a writer leaves half of the next one, and is stopped."""
    append, left = Journal.append, [lines]

    def appending(self, line):
        if not left[0]:
            append(self, line[: len(line) // 2])
            stop()
        left[0] -= 1
        append(self, line)

    monkeypatch.setattr(Journal, "append", appending)


def raises(result, error, reason):
    with pytest.raises(error, match=reason):
        raise result.exception


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written(given, tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    done = run("--file", given, "--output", path, "--top-k", "2", "--batch-size", "2")
    assert done.exit_code == 0, (done.output, done.exception)
    assert done.stdout == f"wrote {path}: 5 texts\n"
    rows = rows_of(path)
    assert list(rows[0]) == ["id", "row", "text", "label", "score", "scores", "error"]
    assert [(row["id"], row["row"], row["text"]) for row in rows] == [
        (f"n{i}", i + 1, text) for i, text in enumerate(TEXTS)
    ]
    plain = [json.loads(line) for line in run("--file", given, "--json").stdout.splitlines()]
    for row, told in zip(rows, plain, strict=True):
        assert (row["label"], row["score"], row["error"]) == (told["label"], told["score"], None)
        assert row["scores"][0] == {"label": told["label"], "score": told["score"]}
        assert sum(one["score"] for one in row["scores"]) == pytest.approx(1)
    assert {file.name for file in tmp_path.iterdir()} == {
        "texts.jsonl", path.name, f"{path.name}.run.json",
    }  # fmt: skip
    for file in (path, tmp_path / f"{path.name}.run.json"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_texts_that_cannot_be_served_have_their_errors(tmp_path, suffix):
    data, path = tmp_path / "pairs.jsonl", tmp_path / f"out{suffix}"
    data.write_text(
        '{"id": 7, "text": "good", "text_pair": "bad"}\n{"id": 8, "text": \n'
        '{"id": 9, "text": "", "text_pair": "x"}\n{"text": "\\ud800", "text_pair": "x"}\n'
    )
    done = run("--file", data, "-o", path, "--on-error", "skip", "--json")
    assert json.loads(done.stdout) == {"output": str(path), "texts": 4, "before": 0, "skipped": 3}
    good, broken, empty, half = rows_of(path)
    assert (str(good["id"]), good["text_pair"], good["error"]) == ("7", "bad", None)
    assert broken["error"].startswith("cannot be read as JSON")
    assert (broken["id"], broken["text"], broken["label"]) == (None, None, None)
    assert empty["error"].startswith("the text is empty")
    assert (half["text"], half["score"]) == ("\\ud800", None)
    assert isinstance(good["id"], str if suffix == ".csv" else int)
    refused = run("--file", data, "-o", tmp_path / f"other{suffix}")
    raises(refused, InputError, r"'pairs\.jsonl', line 2: ")
    assert not list(tmp_path.glob("other*"))


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_interrupted_command_goes_on_when_it_is_repeated(
    given, tmp_path, suffix, computed, monkeypatch
):
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    run("--file", given, "--output", whole)
    computed.clear()
    with monkeypatch.context() as patch:
        lines = 3 + (suffix == ".csv")
        cut_after(patch, lines, lambda: signal.raise_signal(signal.SIGINT))
        stopped = run("--file", given, "--output", path)
    assert stopped.exit_code != 0
    assert "3 of 5 texts have their answers" in stopped.stderr
    assert "repeat the command" in stopped.stderr
    options = ("--on-error", "skip", "--batch-size", "4")  # which change no answer
    assert run("--file", given, "--output", path, *options).exit_code == 0
    assert sum(computed) == 4 + 2  # the fourth was computed, and not yet written
    assert rows_of(path) == rows_of(whole)
    computed.clear()
    before = path.read_bytes()
    again = run("--file", given, "--output", path)
    assert again.stdout == f"wrote {path}: 5 texts, 5 of them before\n"
    assert (computed, path.read_bytes()) == ([], before)


KILLED = """
import json, os, signal, sys
sys.argv[0] = "thex-hf"  # as the command, which loads no torch
from pathlib import Path
from thex_hf.cli.journal import Journal
from thex_hf.cli.outputs import Output
from thex_hf.cli.texts import read_texts

append = Journal.append
def half(self, line):
    append(self, line[:5])
    os.kill(os.getpid(), signal.SIGKILL)

texts = read_texts([], Path(sys.argv[1]))
out = Output.of(Path(sys.argv[2]), texts)
def answers(wanted):
    for number, text in enumerate(wanted):
        if number == int(sys.argv[3]):
            Journal.append = half
        yield {"label": "X", "score": 0.5}
wanted = out.begin("model", {})
assert "torch" not in sys.modules
out.write(answers(wanted))
print(json.dumps([out.before, out.done]))
"""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_killed_writer_goes_on(given, tmp_path, suffix):
    path = tmp_path / f"out{suffix}"

    def write(count):
        return subprocess.run(
            [sys.executable, "-c", KILLED, str(given), str(path), str(count)],
            capture_output=True,
            text=True,
            check=False,
        )

    for count in (0, 2, 1):
        done = write(count)
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert json.loads(write(9).stdout) == [3, 5]
    assert [row["row"] for row in rows_of(path)] == [1, 2, 3, 4, 5]
    assert [row["text"] for row in rows_of(path)] == TEXTS


@contextmanager
def room_for(count):
    """No file can grow beyond so many bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk(given, tmp_path, suffix, computed, monkeypatch):
    path, append, save = tmp_path / f"out{suffix}", Journal.append, Layout.save_parquet

    def short_of_room(self, line):
        with room_for(150):
            append(self, line)

    monkeypatch.setattr(Journal, "append", short_of_room)
    stopped = run("--file", given, "--output", path)
    raises(stopped, OutputError, r"out\.[\w.]+' cannot be written: File too large; .*make room")
    monkeypatch.setattr(Journal, "append", append)
    assert "texts have their answers" in stopped.stderr
    if suffix == ".parquet":

        def short_at_the_end(*arguments):
            with room_for(150):
                save(*arguments)

        monkeypatch.setattr(Layout, "save_parquet", short_at_the_end)
        raises(run("--file", given, "--output", path), OutputError, "cannot be written")
        monkeypatch.setattr(Layout, "save_parquet", save)
        assert not path.exists()
    assert run("--file", given, "--output", path).exit_code == 0
    assert [row["text"] for row in rows_of(path)] == TEXTS
    assert sum(computed) == len(TEXTS) + 1  # the one for which there was no room


def mounted(*options):
    """Whether ``mount`` does that: it is for root, and not in every container."""
    return subprocess.run(["mount", *map(str, options)], capture_output=True).returncode == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_small_file_system_that_is_full_in_the_middle(tmp_path, suffix, computed):
    disk, source = tmp_path / "disk", tmp_path / "texts.txt"
    disk.mkdir()
    texts = [f"film {n} was {TEXTS[n % 2]}" + " and so on" * 10 for n in range(300)]
    source.write_text("\n".join(texts) + "\n")
    if not mounted("-t", "tmpfs", "-o", "size=32k", "tmpfs", disk):
        pytest.skip("no file system can be mounted here")
    asked = ("--file", source, "--output", disk / f"out{suffix}", "--batch-size", 25)
    try:
        stopped = run(*asked)
        raises(stopped, OutputError, "cannot be written: No space left on device; .*make room")
        (done,) = re.findall(r"(\d+) of 300 texts have their answers", stopped.stderr)
        assert 50 < int(done) < 290
        assert mounted("-o", "remount,size=4m", disk)
        assert run(*asked).exit_code == 0
        assert [row["text"] for row in rows_of(disk / f"out{suffix}")] == texts
        assert sum(computed) < 330  # those that had answers were not computed again
    finally:
        subprocess.run(["umount", disk], check=True)


def test_what_belongs_to_something_else_is_refused(given, tmp_path, monkeypatch):
    path = tmp_path / "out.jsonl"
    path.write_text("mine\n")
    raises(run("good", "-o", path), OutputError, "is there, and not from this command")
    assert path.read_text() == "mine\n"
    path.unlink()
    assert run("--file", given, "-o", path).exit_code == 0
    kept = path.read_bytes()
    other = thex_hf.bundled_checkpoint("the-x")
    for arguments, options, reason in [
        (["good"], {}, "has answers to other texts"),
        (["--file", given, "--model", other], {}, "has answers of another model"),
        (["--file", given], {"fhe": "simulate"}, "fhe was 'disable' and is 'simulate'"),
        (["--file", given, "--top-k", "1"], {}, "top_k was None and is 1"),
        (["--file", given, "--truncation"], {}, "truncation was False and is True"),
    ]:
        raises(run(*arguments, "-o", path, **options), OutputError, reason)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    raises(run("--file", given, "-o", path), OutputError, "was changed since it was written")
    path.write_bytes(kept)
    record = tmp_path / "out.jsonl.run.json"
    record.write_text("{}")
    raises(run("--file", given, "-o", path), OutputError, "should be the record")
    assert path.read_bytes() == kept
    raises(run("good", "-o", tmp_path / "x.txt"), OptionError, r"end in \.jsonl, \.csv, \.parquet")
    raises(run("good", "-o", tmp_path / "no" / "x.csv"), OutputError, "there is no folder")
    raises(run("good", "-o", given), OutputError, "not from this command")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused = run("good", "-o", tmp_path / "x.parquet")
    raises(refused, BackendUnavailable, r"pip install 'thex_hf\[datasets\]'")


def test_two_commands_do_not_write_one_file(given, tmp_path):
    texts = outputs.Text("good", place="text 1"), outputs.Text("bad", place="text 2", row=2)
    first = outputs.Output.of(tmp_path / "out.csv", texts)
    first.begin("model", {})
    second = outputs.Output.of(tmp_path / "out.csv", texts)
    with pytest.raises(OutputError, match="being written by another command"):
        second.begin("model", {})
    first.write(iter([{"label": "X", "score": 1.0}] * 2))
    assert second.begin("model", {}) == []
    second.write(iter(()))
    assert not (tmp_path / "out.csv.lock").exists()


def test_the_bar_counts_texts(tmp_path, monkeypatch):
    bars = []

    class Bar:
        def __init__(self, total, what, *, shown):
            bars.append([total, what, shown, 0])

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def update(self):
            bars[-1][3] += 1

    monkeypatch.setattr("thex_hf._progress.progress", Bar)
    assert list(outputs.watched(iter("abc"), 3)) == ["a", "b", "c"]
    assert list(outputs.watched(iter("a"), 1)) == ["a"]
    assert bars == [[3, "texts", True, 3], [1, "texts", False, 1]]
    assert run(*TEXTS, "-o", tmp_path / "out.csv").exit_code == 0
    assert bars[2:] == [[5, "texts", True, 5]]


@pytest.mark.slow
def test_a_pipe_that_is_closed_ends_the_command_quietly(tmp_path):
    path = tmp_path / "many.txt"
    path.write_text("a charming film\n" * 3000)
    command = [sys.executable, "-c", "from thex_hf.cli.main import app; app()", "classify"]
    child = subprocess.Popen(
        [*command, "--file", str(path), "--fhe", "disable", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert json.loads(child.stdout.readline())["label"] == "POSITIVE"
    child.stdout.close()
    assert child.wait(timeout=300) == 1
    told = child.stderr.read()
    child.stderr.close()
    assert "Traceback" not in told
    assert "Error" not in told
