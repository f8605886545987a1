import csv
import gzip
import json

import pytest

from thex_hf.conversion.data.reading import read_texts
from thex_hf.errors import ConversionError


def put(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_tsv_is_read_without_quoting(tmp_path):
    path = put(tmp_path / "a.tsv", 'label\ttext\n1\tan "odd\n0\tquote" here\n')
    data = read_texts(path)
    assert data.texts == ('an "odd', 'quote" here')
    assert data.labels == (1, 0)
    assert data.label_names == ("LABEL_0", "LABEL_1")
    assert data.pairs is None


def test_csv_is_read_with_quoting_and_names_are_sorted(tmp_path):
    path = tmp_path / "a.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([["sentence", "label"], ["a, b\nc", "pos"], ["d", "neg"]])
    data = read_texts(path)
    assert data.texts == ("a, b\nc", "d")
    assert data.label_names == ("neg", "pos")
    assert data.labels == (1, 0)


def test_pairs_from_gzipped_json_lines(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    rows = [{"text_a": "x", "text_b": "y", "label": i} for i in (0, 2)]
    with gzip.open(path, "wt") as file:
        file.write("\n".join(map(json.dumps, rows)))
    data = read_texts(path, label_names=["no", "maybe", "yes"])
    assert data.pairs == ("y", "y")
    assert data.labels == (0, 2)


def test_regression(tmp_path):
    path = put(tmp_path / "a.tsv", "text_a\ttext_b\tscore\na\tb\t2.5\nc\td\t0\n")
    data = read_texts(path, regression=True)
    assert data.labels == (2.5, 0.0)
    assert data.label_names is None


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.tsv", "", "no rows"),
        ("a.tsv", "text\tlabel\n", "no rows"),
        ("a.tsv", "body\tlabel\nx\t1\n", "text or sentence.*body"),
        ("a.tsv", "text\tclass\nx\t1\n", "column named label.*class"),
        ("a.tsv", "text\tlabel\nx\t1\ny\t1\n", "at least two classes"),
        ("a.tsv", "text\tlabel\nx\t1\ny\n", "row 2"),
        ("a.jsonl", "{not json}\n", "cannot be read"),
        ("a.jsonl", "[1, 2]\n", "object"),
        ("a.tsv.gz", "not gzip", "cannot be read"),
    ],
)
def test_bad_files(tmp_path, name, text, message):
    with pytest.raises(ConversionError, match=message):
        read_texts(put(tmp_path / name, text))


def test_more_labels_than_the_model_has(tmp_path):
    path = put(tmp_path / "a.tsv", "text\tlabel\na\t0\nb\t1\nc\t2\n")
    with pytest.raises(ConversionError, match="number of labels"):
        read_texts(path, label_names=["no", "yes"])


def test_words_as_regression_labels(tmp_path):
    with pytest.raises(ConversionError, match="numbers"):
        read_texts(put(tmp_path / "a.tsv", "text\tlabel\na\tyes\nb\tno\n"), regression=True)


def test_missing_file_and_unknown_data_set(tmp_path):
    with pytest.raises(ConversionError, match="no data file"):
        read_texts(tmp_path / "none.tsv")
    with pytest.raises(ConversionError, match="neither a file"):
        read_texts(str(tmp_path / "none"))
