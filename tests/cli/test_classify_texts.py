"""Where ``thex-hf classify`` has its texts from, and what becomes of bad ones."""

import gzip
import json

import datasets
import pytest
from typer.testing import CliRunner

from thex_hf.cli.main import commands
from thex_hf.cli.texts import read_texts
from thex_hf.errors import InputError, OptionError

CLEAR = ("--fhe", "disable", "--json")


def run(*arguments, **options):
    return CliRunner().invoke(commands, ["classify", *map(str, arguments)], **options)


def records(result):
    assert result.exit_code == 0, (result.output, result.exception)
    return [json.loads(line) for line in result.stdout.splitlines()]


def texts_of(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [(text.text, text.pair) for text in read_texts([], path)]


def test_standard_input_has_one_text_a_line():
    rows = records(run("-", *CLEAR, input="\ufeffa charming film\r\na dull mess\n"))
    assert [row["label"] for row in rows] == ["POSITIVE", "NEGATIVE"]
    assert rows[0] == {**records(run("a charming film", *CLEAR))[0], "seconds": rows[0]["seconds"]}


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", "standard input is empty"),
        (b"good\n\nbad\n", "^standard input, line 2: the text is empty"),
        (b"good\ncaf\xe9\n", "should be UTF-8 text .*line 2 holds the byte 0xe9"),
        ("good".encode("utf-16"), "should be UTF-8"),
    ],
)
def test_bad_input_is_named_by_its_line(sent, reason):
    error = run("-", *CLEAR, input=sent).exception
    assert isinstance(error, InputError)
    with pytest.raises(InputError, match=reason):
        raise error


def test_the_name_of_a_file_is_no_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews").write_text("good\n")
    for arguments, reason in [
        (["reviews"], "is the name of a file.*--file reviews"),
        (["good", "./reviews"], "is the name of a file"),
        (["reviews.TSV"], "looks like the name of a file, and there is none"),
        (["data/x.csv.gz"], "looks like the name of a file"),
        (["-", "good"], "no other text"),
        ([], "at least one text"),
        (["good", "--file", "reviews"], "not both"),
        (["--file", "reviews"], "ending in .txt, .tsv, .csv, .jsonl"),
        (["--file", "none.txt"], "cannot be read: No such file"),
        (["--file", "none.parquet"], "cannot be read: No such file"),
        (["--file", "."], "is a folder, not a file of texts.*--data"),
        (["--data", "a/b/none"], "nor a folder with a data set"),
        (["--data", "x", "--file", "x.txt"], "not both"),
    ]:
        result = run(*arguments, *CLEAR)
        with pytest.raises(InputError, match=reason):
            raise result.exception
    assert records(run("a good film in reviews.", *CLEAR))


def test_files_of_texts(tmp_path):
    crlf = texts_of(tmp_path / "a.txt", "\ufeffone\r\ntwo\u2028still two\r\n")
    assert crlf == [("one", None), ("two\u2028still two", None)]
    assert texts_of(tmp_path / "a.tsv", 'label\ttext\n1\tsay "hi\n') == [('say "hi', None)]
    assert texts_of(tmp_path / "a.csv", 'text,label\n"one, two",1\n') == [("one, two", None)]
    pairs = "text\ttext_pair\none\ttwo\n"
    assert texts_of(tmp_path / "b.tsv", pairs) == [("one", "two")]
    lines = '{"text": "one", "text_pair": "1"}\n\n{"text": "two", "text_pair": "three"}\n'
    assert texts_of(tmp_path / "a.jsonl", lines) == [("one", "1"), ("two", "three")]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.tsv", "text\none\ttwo\n", "line 2: row 1 has 2 fields, more"),
        ("a.csv", "text,label\none\n", "line 2: row 1 has 1 field, fewer"),
        ("a.csv", "sentence,label\none,1\n", "expected a column text.*sentence.*--column"),
        ("a.csv", "", "has no texts"),
        ("a.csv", 'text\n"unclosed good\nbad\n', "cannot be read"),
        ("a.csv", "text,text\na,b\n", "each column once"),
        ("a.jsonl", '{"text": "a", "text": "b"}\n', "line 1: .*'text' is there more than once"),
        ("a.jsonl", '{"text": "a"}\n{"text": "b", "text_pair": "c"}\n', "line 1: has no text_pair"),
        ("a.jsonl", '{"text": "one"}\n{"text"\n', "line 2: .*should be a JSON object"),
        ("a.jsonl", "[1]\n", "line 1: each line should be a JSON object; got"),
        ("a.txt", "", "is empty"),
        ("a.txt", b"\xff\xfe", "should be UTF-8"),
        ("a.txt.gz", b"good", "should be UTF-8 text but cannot be read: Not a gzipped file"),
        ("a.parquet", b"good", "should be a Parquet file but cannot be read"),
    ],
)
def test_files_that_are_refused(tmp_path, name, content, reason):
    with pytest.raises(InputError, match=reason):
        texts_of(tmp_path / name, content)


ROWS = [{"id": 5, "text": "one", "body": "1"}, {"id": 6, "text": "two", "body": "2"}]


def test_compressed_files_parquet_and_data_sets(tmp_path):
    wanted = [("one", 5, 1), ("two", 6, 2)]

    def found(**options):
        return [(t.text, t.id, t.row) for t in read_texts([], None, **options)]

    lines = tmp_path / "a.txt.gz"
    lines.write_bytes(gzip.compress(b"one\ntwo\n"))
    assert [text.text for text in read_texts([], lines)] == ["one", "two"]
    table = tmp_path / "a.jsonl.gz"
    table.write_bytes(gzip.compress("\n".join(map(json.dumps, ROWS)).encode()))
    assert found(data=str(table)) == wanted
    assert [text.id for text in read_texts([], table)] == [5, 6]
    rows = datasets.Dataset.from_list(ROWS)
    (tmp_path / "set").mkdir()
    rows.to_parquet(tmp_path / "set" / "validation-00000-of-00001.parquet")
    (parquet,) = (tmp_path / "set").iterdir()
    assert found(data=str(parquet)) == wanted
    assert read_texts([], parquet)[1].place == f"{parquet}, row 2"
    rows.save_to_disk(tmp_path / "saved")
    assert found(data=str(tmp_path / "saved")) == wanted
    with pytest.raises(InputError, match="split 'test'"):
        found(data=str(tmp_path / "set"), split="test")
    assert [text.text for text in read_texts([], parquet, columns=["body"])] == ["1", "2"]
    pairs = read_texts([], table, columns=["body", "text"])
    assert [text.halves for text in pairs] == [("1", "one"), ("2", "two")]
    with pytest.raises(InputError, match="expected a column title, got id, text, body"):
        read_texts([], parquet, columns=["title"])
    with pytest.raises(OptionError, match="goes with --file or --data"):
        read_texts(["good"], None, columns=["body"])
    with pytest.raises(OptionError, match="once more the second texts"):
        read_texts([], table, columns=["a", "b", "c"])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", b'{"text": "good"}\n{"text": \n{"text": "bad"}\n', "cannot be read as JSON"),
        ("a.jsonl", b'{"text": "good"}\n[1]\n{"text": "bad"}\n', "should be a JSON object"),
        ("a.tsv", b"text\ngood\na\tb\nbad\n", "has 2 fields, more"),
        ("a.csv", b'text\ngood\n"a"b\nbad\n', "cannot be read as CSV"),
        ("a.csv", b"text\ngood\ncaf\xe9\nbad\n", "holds the byte 0xe9, which is not UTF-8"),
        ("a.txt", b"good\ncaf\xe9\nbad\n", "holds the byte 0xe9, which is not UTF-8"),
    ],
)
def test_a_broken_line_is_skipped_or_refused_before_anything_is_computed(
    tmp_path, name, content, reason
):
    path = tmp_path / name
    path.write_bytes(content)
    rows = records(run("--file", path, "--on-error", "skip", *CLEAR))
    assert [row.get("label") for row in rows] == ["POSITIVE", None, "NEGATIVE"]
    assert reason in rows[1]["error"]
    line = 2 if name in ("a.jsonl", "a.txt") else 3
    people = run("--file", path, "--on-error", "skip", "--fhe", "disable").stdout
    assert f"not classified: {path}, line {line}: " in people
    with pytest.raises(InputError, match=f"line {line}"):
        raise run("--file", path, *CLEAR).exception


def test_what_cannot_be_skipped_is_refused(tmp_path):
    for name, content, reason in [
        ("a.csv", b'text\n"unclosed good\nbad\n', "cannot be read as CSV"),
        ("a.csv", "text\ngood\n".encode("utf-16"), "UTF-16"),
        ("a.csv", b"body\ngood\n", "expected a column text"),
        ("a.txt", b"", "is empty"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=reason):
            read_texts([], tmp_path / name, skip=True)


def test_scores_of_several_labels():
    one, two = records(run("good", "bad", "--top-k", "2", "--batch-size", "2", *CLEAR))
    for row, label in ((one, "POSITIVE"), (two, "NEGATIVE")):
        assert row["label"] == label
        assert row["scores"][0] == {"label": label, "score": row["score"]}
        assert len(row["scores"]) == len(row["logits"]) == 2
    assert one["logits"] == records(run("good", *CLEAR))[0]["logits"]
    assert two["logits"] == records(run("bad", *CLEAR))[0]["logits"]
    shown = run("good", "--top-k", "2", "--fhe", "disable").stdout.splitlines()
    assert shown[1].startswith("  POSITIVE 0.")
    assert ", NEGATIVE 0." in shown[1]


def test_skipping_keeps_the_order_and_ends_well(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "a charming film"}\n{"text": null}\n\n{"text": "a dull mess"}\n')
    done = run("--file", path, "--on-error", "skip", *CLEAR)
    rows = records(done)
    assert [row.get("label") for row in rows] == ["POSITIVE", None, "NEGATIVE"]
    assert rows[1] == {"error": "expected a text (str), got NoneType", "row": 2}
    assert "1 of 3 texts were not classified" in done.stderr
    people = run("good", "", "--fhe", "disable", "--on-error", "skip")
    assert "not classified: text 2: the text is empty" in people.stdout
    refused = run("--file", path, *CLEAR)
    assert refused.stdout == ""
    with pytest.raises(InputError, match=r"texts\.jsonl, line 2: expected a text") as caught:
        raise refused.exception
    assert caught.value.row == 2


def test_long_texts_in_windows():
    options = ("--window", 32, "--stride", 8, "--pool", "max")
    (row,) = records(run("a dull mess " * 20, *options, *CLEAR))
    assert [one["tokens"] for one in row["windows"]] == [32, 32, 18]
    own = [one["logits"] for one in row["windows"]]
    assert row["logits"] == [max(column) for column in zip(*own, strict=True)]
    people = run("a dull mess " * 20, *options, "--fhe", "disable")
    assert "62 tokens in 3 windows padded to 32 (3), 0 rounds" in people.stdout


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--on-error", "ignore"], "raise or skip"),
        (["--stride", "4"], "--stride goes with --window"),
        (["--window", "8", "--pool", "avg"], "pool must be one of mean, max"),
        (["--fhe", "disable", "--keys", "k"], "--keys has no use with --fhe disable"),
        (["--fhe", "simulate", "--keys", "k"], "--keys has no use with --fhe simulate"),
        (["--fhe", "simulate", "--processes", "2"], "--processes has no use"),
        (["--fhe", "disable", "--ring", "8192"], "--ring has no use"),
        (["--fhe", "disable", "--agreement"], "what fhe='disable' runs"),
        (["--ring", "1000"], "ring must be one of"),
        (["--ring", "8192", "--protocol", "client-aided"], "ring is for refresh and one-shot"),
        (["--softmax", "exakt"], "did you mean 'exact'"),
        (["--protocol", "refresh", "--softmax", "exact"], "option of client-aided"),
        (["--url", ""], "go with --backend remote"),
        (["--token", "x"], "go with --backend remote"),
        (["--backend", "remote"], "needs --url"),
    ],
)
def test_options_are_used_or_refused(options, reason):
    with pytest.raises(OptionError, match=reason):
        raise run("good", *options).exception


def test_a_token_in_the_environment_is_for_a_server_only(monkeypatch):
    monkeypatch.setenv("THEX_HF_TOKEN", "0123456789abcdef")
    assert records(run("a charming film", *CLEAR))
