"""Labels are all names or all positions; zeros and ones for each class are seen as such."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thex_hf.conversion.data.labels import class_ids, label_text
from thex_hf.conversion.data.naming import model_positions
from thex_hf.conversion.data.reading import read_texts
from thex_hf.errors import ConversionError, DataError

STARS = ["1", "2", "3", "4", "5"]
FEELINGS = ["anger", "fear", "joy", "love"]


def column(folder, labels, name="label", **options):
    """Labels of a file of JSON lines, all with the same text."""
    rows = [{"text": "x", name: label} for label in labels]
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return read_texts(folder / "a.jsonl", **options)


def csv(folder, labels, name="label", **options):
    (folder / "a.csv").write_text(f"text,{name}\n" + "".join(f"x,{label}\n" for label in labels))
    return read_texts(folder / "a.csv", **options)


@pytest.mark.parametrize("read", [column, csv])
def test_names_that_are_digits(tmp_path, read):
    assert read(tmp_path, [0, 1, 2, 3, 4], label_names=STARS).labels == (0, 1, 2, 3, 4)
    assert read(tmp_path, [1, 2, 5], label_names=STARS).labels == (0, 1, 4)
    assert read(tmp_path, ["1.0", "5.0"], label_names=STARS).labels == (0, 4)
    with pytest.raises(DataError, match=r"row 1 .*label_name or label_id"):
        read(tmp_path, [1, 2, 4], label_names=STARS)
    assert read(tmp_path, [1, 2, 4], "label_name", label_names=STARS).labels == (0, 1, 3)
    assert read(tmp_path, [1, 2, 4], "label_id", label_names=STARS).labels == (1, 2, 4)
    assert read(tmp_path, [0, 1, 1], label_names=["0", "1"]).labels == (0, 1, 1)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["yes", "0"], "row 2 has the label '0'.*no, yes or 0 to 1"),
        (["no", "yes", 1], "row 3 has the label '1'"),
        ([0, 1, 2], "row 3 has the label '2'"),
        ([0, -1], "row 2 has the label '-1'"),
        ([0, 1.5], "row 2 has the label '1.5'"),
        ([0, None], "row 2 has no label"),
        ([0, float("nan")], "row 2 has no label"),
        ([0, ["yes"]], "row 2 should have one label in column label"),
        ([True, False], "row 1 has the label 'True'"),
        ([0, "01"], "row 2 has the label '01'"),
        ([0, "²"], "row 2 has the label"),
    ],
)
def test_what_fits_neither_way(tmp_path, labels, words):
    with pytest.raises(DataError, match=words):
        column(tmp_path, labels, label_names=["no", "yes"])


def test_names_that_differ_in_case_only(tmp_path):
    assert column(tmp_path, ["YES", "No"], label_names=["no", "yes"]).labels == (1, 0)
    names = ["may", "May", "june"]
    assert column(tmp_path, ["May", "may", "June"], label_names=names).labels == (1, 0, 2)
    with pytest.raises(DataError, match="'MAY'"):
        column(tmp_path, ["MAY", "june"], label_names=names)
    with pytest.raises(DataError, match="'a'"):  # which of the two?
        column(tmp_path, ["a", "b"], label_names=["a", "a", "b"])


@pytest.mark.parametrize(
    "labels",
    [[[0, 0, 0, 1], [1, 1, 0, 0]], [[False, False, False, True], [True, True, False, False]]],
)
@pytest.mark.parametrize("names", [FEELINGS, None])
def test_zeros_and_ones(tmp_path, labels, names):
    data = column(tmp_path, labels, "labels", label_names=names)
    assert data.labels == ((3,), (0, 1))
    assert len(data.label_names) == 4
    marks = ["|".join(str(int(x)) for x in own) for own in labels]
    assert csv(tmp_path, marks, "labels", label_names=names).labels == data.labels


def test_zeros_and_ones_of_two_classes(tmp_path):
    names = ["no", "yes"]
    found = column(tmp_path, [[0.0, 1.0], [1.0, 0.0]], "labels", label_names=names)
    assert found.labels == ((1,), (0,))
    found = column(tmp_path, [[0, 1], [1, 1]], "labels", label_names=names)
    assert found.labels == ((1,), (0, 1))
    with pytest.raises(DataError, match=r"row 1 has the labels .* true and false"):
        column(tmp_path, [[0, 1], [1, 0]], "labels", label_names=names)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([[0], [0, 0, 0, 1]], r"row 2 names a class twice: \[0, 0, 0, 1\]"),
        ([[0, 1, 0, 1, 0], [1, 0, 0, 0, 0]], "row 1 names a class twice"),
        ([[0, "love"], [1]], "row 1 has the label 'love'"),
        ([[0], [4]], "row 2 has the label '4'"),
        ([[0], [None]], "row 2 has no labels"),
        ([[0], 1], "row 2 has something else than a list"),
        ([[0], "[0, 1]"], "row 2 has something else than a list"),
    ],
)
def test_lists_that_are_neither(tmp_path, labels, words):
    with pytest.raises(DataError, match=words):
        column(tmp_path, labels, "labels", label_names=FEELINGS)


def test_lists_of_classes(tmp_path):
    found = column(tmp_path, [[0, 3], [], [1]], "labels", label_names=FEELINGS)
    assert found.labels == ((0, 3), (), (1,))
    found = column(tmp_path, [["love", "Joy"], ["fear"]], "labels", label_names=FEELINGS)
    assert found.labels == ((3, 2), (1,))


def test_numbers_or_classes_where_nothing_else_says_it(tmp_path):
    assert csv(tmp_path, ["1.0", "0.0"], regression=None).label_names == ("LABEL_0", "LABEL_1")
    assert csv(tmp_path, ["St. Louis", "N.Y."], regression=None).kind == "classes"
    assert csv(tmp_path, ["1", "2.5"], "score", regression=None).labels == (1.0, 2.5)
    assert column(tmp_path, [1, 2.5], regression=None).kind == "numbers"
    assert column(tmp_path, [1.0, 2.0], regression=None).kind == "classes"
    with pytest.raises(DataError, match=r"row 1 .*'1\.1'.* call the column score"):
        csv(tmp_path, ["1.1", "2.0"], regression=None)
    with pytest.raises(DataError, match=r"row 1 .*there are only 2 classes"):
        csv(tmp_path, [1_000_000, 0])


@pytest.mark.parametrize("label", ["nan", "inf", "-Infinity", "1e999", "1e39", "", "1,5", "1_0"])
def test_numbers_that_are_none(tmp_path, label):
    (tmp_path / "a.tsv").write_text(f"text\tscore\nx\t1\nx\t{label}\n")
    for regression in (True, None):
        with pytest.raises(ConversionError, match="line 3: row 2 has the label"):
            read_texts(tmp_path / "a.tsv", regression=regression)
    for odd in (float("nan"), float("inf"), True, None, [1.0]):
        with pytest.raises(DataError, match="row 2"):
            column(tmp_path, [1.0, odd], "score", regression=True)


@pytest.mark.parametrize("labels", [["0", "nan"], ["inf", "0"], ["nan", "good"]])
def test_class_numbers_that_are_not_finite(tmp_path, labels):
    with pytest.raises(DataError, match="names or whole numbers"):
        csv(tmp_path, labels)


def test_texts_alone_need_no_labels(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nx,1.1\ny,nan\n")
    assert read_texts(tmp_path / "a.csv", labelled=False).texts == ("x", "y")
    (tmp_path / "a.csv").write_text("sentence,number\nx,1.1\n")
    assert read_texts(tmp_path / "a.csv", labelled=False).texts == ("x",)


def test_names_beside_class_numbers(tmp_path):
    def read(rows, **options):
        lines = [f"x,{label},{name}" for label, name in rows]
        (tmp_path / "a.csv").write_text("\n".join(["text,label,label_text", *lines]))
        return read_texts(tmp_path / "a.csv", **options)

    rows = [(0, "positive"), (1, "negative")]
    assert read(rows, label_names=["NEGATIVE", "POSITIVE"]).labels == (1, 0)
    assert read(rows).label_names == ("positive", "negative")
    assert read([("negative", "x"), ("positive", "y")], label_names=["negative", "positive"]).labels
    with pytest.raises(DataError, match="the data have positive, negative"):
        read(rows, label_names=["good", "bad"])
    with pytest.raises(DataError, match="line 4: row 3 has the label 0 and the label_text 'neu"):
        read([*rows, (0, "neutral")])


def test_one_column_of_numbers_to_predict(tmp_path):
    (tmp_path / "a.csv").write_text("text,label,score\nx,1,2.5\ny,0,1.5\n")
    assert read_texts(tmp_path / "a.csv", label_names=["no", "yes"]).labels == (1, 0)
    with pytest.raises(ConversionError, match="has columns label and score"):
        read_texts(tmp_path / "a.csv", regression=True)


@given(
    names=st.lists(st.text("01ab", min_size=1, max_size=2), min_size=1, max_size=4, unique=True),
    data=st.data(),
)
def test_one_way_for_a_whole_column(names, data):
    """All labels by name, or all by position; never a third reading."""
    choices = [*names, *map(str, range(len(names)))]
    labels = data.draw(st.lists(st.sampled_from(choices), min_size=1, max_size=5))
    try:
        found = class_ids(labels, names, lambda index, reason: DataError(reason))
    except DataError:
        return
    by_name = all(names[i] == label for i, label in zip(found, labels, strict=True))
    by_position = all(str(i) == label for i, label in zip(found, labels, strict=True))
    assert by_name or by_position
    if by_name != by_position:  # then the other reading does not fit
        others = [str(i) for i in range(len(names))] if by_name else names
        assert not set(labels) <= set(others)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "1"), (1.0, "1"), (1.5, "1.5"), (" a ", "a"), ("", None), (None, None)],
)
def test_labels_as_text(value, text):
    assert label_text(value) == text


def test_a_column_that_says_how_it_is_to_be_read_comes_first(tmp_path):
    path = tmp_path / "both.csv"
    path.write_text("text,label,label_name\na,0,POS\nb,1,NEG\n")
    assert read_texts(path, label_names=["NEG", "POS"]).labels == (1, 0)


def test_zeros_and_ones_of_another_width_are_no_positions(tmp_path):
    path = tmp_path / "hot.jsonl"
    path.write_text('{"text": "a", "labels": [1.0, 0.0]}\n{"text": "b", "labels": [0.0, 1.0]}\n')
    with pytest.raises(ConversionError, match="2 zeros or ones, and there are 4 classes"):
        read_texts(path, label_names=["a", "b", "c", "d"])


@pytest.mark.parametrize("used", [(0, 1, 2), (1, 2), (2,)])
def test_declared_classes_are_read_alike_whatever_a_split_holds(used):
    found = model_positions(["0", "1", "2"], ["1", "2", "3"], used, "the data")
    assert found == {i: i for i in used}


@pytest.mark.parametrize("labels", [[True, 0], [0, 1, False], [None, "yes", True]])
def test_truth_values_do_not_mix_with_other_labels(tmp_path, labels):
    with pytest.raises(DataError, match=f"row {len(labels)} has the label {labels[-1]}"):
        column(tmp_path, labels)
    assert column(tmp_path, [True, False]).label_names == ("False", "True")
