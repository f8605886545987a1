"""Files as people export them: nothing is dropped, and every refusal names the line."""

import csv
import io
import json
import logging

import datasets
import pytest
from example_counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from thex_hf.conversion.data.reading import read_texts
from thex_hf.errors import ConversionError, DataError
from thex_hf.tables.files import read_file

NAMES = ["no", "yes"]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def put(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        "\ufefftext,label\na,1\nb,0\n",  # Excel
        "text,label\r\na,1\r\n\r\nb,0\r\n,\r\n",  # Windows, with rows that were emptied
        "text,label\ra,1\rb,0\r",  # an old Mac
        " text , label ,\na,1,\nb,0,\n",  # blanks, and a column without a name
        ",text,label\n0,a,1\n1,b,0\n",  # pandas, with its index
        "text,label\na,1.0\nb,0.0\n",  # pandas, where a label was missing once
        "text,label\na,yes\nb,NO\n",
    ],
)
def test_what_spreadsheets_and_pandas_write(tmp_path, content):
    data = read_texts(put(tmp_path / "a.csv", content), label_names=NAMES)
    assert (data.texts, data.labels) == (("a", "b"), (1, 0))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "label,text\n1,Great film, not dull\n", "line 2: row 1 has 3 fields, more than"),
        ("a.tsv", "label\ttext\n1\tx\n0\tnot\tbad\n", "line 3: row 2 has 3 fields"),
        ("a.tsv", "text\tlabel\nx\t1\n\ny\n", "line 4: row 2 has 1 field, fewer than the 2"),
        ("a.csv", 'text,label\n"a\nb\n\nc",1\n\nd,\n', "line 7: row 2 has no label"),
        ("a.csv", 'text,label\n"a,1\nb,0\n', "line 2: cannot be read as CSV"),
        ("a.csv", "text;label\na, b;1\n", "'text;label', which looks parted by semicolons"),
        ("a.csv", "text\tlabel\na\t1\n", "looks parted by tabs"),
        ("a.tsv", "text,label\na,1\n", "should have columns parted by tabs"),
        ("a.csv", "text,text,label\na,b,1\n", "text is there more than once"),
        ("a.csv", "text,label\na,1\n".encode("utf-16"), "UTF-16"),
        ("a.csv", "text,label\na,1\n".encode("utf-16-be"), "UTF-16"),
        ("a.csv", "text,label\na,1\ncafé,0\n".encode("latin-1"), "line 3 holds the byte 0xe9"),
        ("a.jsonl", '{"text": "a", "label": 1}\n\n{"text": "b"\n', "line 3: cannot be read as JS"),
        ("a.jsonl", '{"text": "a", "label": 1, "label": 0}\n', "line 1: .*'label' is there more"),
        ("a.jsonl", '\n[{"text": "a"}]\n', "line 2: each line should be a JSON object"),
        ("a.jsonl", '{"text": ' + "[" * 100_000 + "\n", "line 1: cannot be read as JSON"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": null, "label": 0}\n', "line 2: row 2 has"),
        ("a.jsonl", '{"text": NaN, "label": 0}\n', "row 1 has no text, got nan"),
        ("a.jsonl", '{"text": 5, "label": 0}\n', r"row 1 should have a text \(str\), got 5"),
        ("a.jsonl", '{"text": "\\ud800", "label": 0}\n', "row 1 has a text with half of a char"),
        ("a.csv", "text,label\na,1\n\u200b,0\n", "line 3: row 2 .*that cannot be seen"),
        ("a.csv", "text,label\na,1\n ,0\n", "line 3: row 2 has an empty text"),
        (
            "a.jsonl",
            '{"text": "a", "text_pair": "b", "label": 1}\n{"text": "c", "label": 0}\n',
            "line 2: row 2 has no second text",
        ),
        ("a.jsonl", '{"tokens": ["a", null], "tags": ["O", "B"]}\n', "row 1 has no word"),
        ("a.jsonl", '{"tokens": ["a", " "], "tags": ["O", "B"]}\n', "row 1 has an empty word"),
        ("a.jsonl", '{"tokens": ["a"], "tags": [null]}\n', "row 1 has no tags, got None"),
        ("a.csv", "tokens,tags\n\"['a', 'b']\",\"['O', 'B']\"\n", "row 1 .*list in column tags"),
    ],
)
def test_refusals_name_the_line(tmp_path, name, content, message):
    path = put(tmp_path / name, content)
    with pytest.raises(ConversionError, match=message) as raised:
        read_texts(path, label_names=NAMES)
    assert name in str(raised.value)


def test_pairs_need_a_second_text_in_some_row(tmp_path):
    rows = [{"text": t, "text_pair": None, "label": i} for i, t in enumerate("ab")]
    path = put(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert read_texts(path).pairs is None
    rows[0]["text_pair"] = rows[1]["text_pair"] = "c"
    path = put(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert read_texts(path).pairs == ("c", "c")


def test_rows_with_unusable_texts_can_be_left_out(tmp_path):
    path = put(tmp_path / "a.csv", "text,label\na,1\n\n,0\nb,0\n ,1\n")
    data = read_texts(path, on_error="skip")
    assert (data.texts, data.labels) == (("a", "b"), (1, 0))
    assert [str(row) for row in data.skipped] == [
        "row 2 (line 4) has an empty text",
        "row 4 (line 6) has an empty text",
    ]
    with pytest.raises(DataError, match="line 4: row 2 has an empty text, and 1 rows more"):
        read_texts(path)
    with pytest.raises(DataError, match="row 1 has an empty text"):
        read_texts(put(tmp_path / "b.csv", "text,label\n ,1\n"), on_error="skip")
    with pytest.raises(ValueError, match="on_error must be one of"):
        read_texts(path, on_error="ignore")


def test_rows_that_cannot_be_read_can_be_left_out(tmp_path):
    path = put(tmp_path / "a.csv", b"text,label\na,1\nb\ncaf\xe9,1\nd,0\n")
    data = read_texts(path, on_error="skip")
    assert (data.texts, data.labels) == (("a", "d"), (1, 0))
    assert [str(row) for row in data.skipped] == [
        "row 2 (line 3) has 1 field, fewer than the 2 columns of the first line; put texts with "
        "commas between quotation marks",
        "row 3 (line 4) holds the byte 0xe9, which is not UTF-8",
    ]
    with pytest.raises(DataError, match="line 2: cannot be read as CSV"):
        read_texts(put(tmp_path / "b.csv", 'text,label\n"a,1\nb,0\n'), on_error="skip")


def test_parquet(tmp_path):
    label = datasets.ClassLabel(names=["yes", "no"])
    features = datasets.Features({"sentence": datasets.Value("string"), "label": label})
    rows = datasets.Dataset.from_dict({"sentence": ["a", "b"], "label": [0, 1]}, features)
    rows.to_parquet(tmp_path / "a.parquet")
    data = read_texts(tmp_path / "a.parquet", label_names=NAMES)
    assert (data.texts, data.labels) == (("a", "b"), (1, 0))  # by the names that were declared
    rows = datasets.Dataset.from_dict({"text": ["a", None], "label": ["no", "yes"]})
    rows.to_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"'b\.parquet': row 2 has no text"):
        read_texts(tmp_path / "b.parquet", label_names=NAMES)
    left = read_texts(tmp_path / "b.parquet", label_names=NAMES, on_error="skip", one_class=True)
    assert left.texts == ("a",)
    with pytest.raises(ConversionError, match=r"'c\.parquet' should be a Parquet file"):
        read_texts(put(tmp_path / "c.parquet", "text\na\n"))
    with pytest.raises(ConversionError, match="no data file at"):
        read_texts(tmp_path / "none.parquet")


def test_quotation_marks_around_fields_of_tsv_are_told(tmp_path, caplog):
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        read_texts(put(tmp_path / "a.tsv", 'text\tlabel\n"a, b"\t1\nc\t0\n'))
        assert "between quotation marks" in caplog.text
        caplog.clear()
        read_texts(put(tmp_path / "a.tsv", 'text\tlabel\n"a" b\t1\nc\t0\n'))
        assert not caplog.text
    finally:
        logger.removeHandler(caplog.handler)


@settings(max_examples=examples(50))
@given(texts=st.lists(TEXT.filter(str.strip), min_size=1, max_size=5))
def test_what_was_written_is_read(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("any")
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerows([["text", "label"], *([text, "1"] for text in texts)])
    table = read_file(put(folder / "a.csv", out.getvalue()))
    assert table.column("text") == texts
    lines = [json.dumps({"text": text, "label": 1}) for text in texts]
    table = read_file(put(folder / "a.jsonl", "\n\n".join(lines)))
    assert table.column("text") == texts
    assert [place.line for place in table.places] == list(range(1, 2 * len(texts), 2))
