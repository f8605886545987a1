"""Data sets that name their classes, in folders of this machine; and paths that are not there."""

import logging
import shutil
from pathlib import Path

import datasets
import pytest

from thex_hf.conversion.data.naming import align_labels
from thex_hf.conversion.data.origin import Origin
from thex_hf.conversion.data.reading import LabelledTexts, read_texts
from thex_hf.conversion.opening import open_source_and_texts
from thex_hf.conversion.options import ConversionOptions, FitOptions
from thex_hf.errors import ConversionError, DataError

NLI = ["entailment", "neutral", "contradiction"]
OTHER = ["contradiction", "neutral", "entailment"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


@pytest.fixture
def told(caplog):
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    yield lambda: [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    logger.removeHandler(caplog.handler)


def put(folder, names, labels=(0, 2), column="label", feature=None):
    """A data set with both splits, as it lies on the Hub."""
    rows = [{"text": "a film", column: labels[0]}, {"text": "the plot", column: labels[1]}]
    feature = feature or datasets.ClassLabel(names=names)
    features = datasets.Features({"text": datasets.Value("string"), column: feature})
    folder.mkdir(exist_ok=True)
    for split in ("train", "validation"):
        data = datasets.Dataset.from_list(rows, features=features)
        data.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return str(folder)


def test_classes_are_matched_by_name(tmp_path):
    name = put(tmp_path / "nli", NLI)
    assert read_texts(name, label_names=OTHER).labels == (2, 0)
    assert read_texts(name, label_names=[n.upper() for n in OTHER]).labels == (2, 0)
    assert read_texts(name).labels == (0, 2)
    assert read_texts(name).label_names == tuple(NLI)
    fewer = put(tmp_path / "rte", ["entailment", "contradiction"], labels=(0, 1))
    assert read_texts(fewer, label_names=OTHER).labels == (2, 0)


@pytest.mark.parametrize(
    ("column", "labels", "expected"),
    [("labels", ([0, 2], [1]), ((2, 0), (1,))), ("tags", ([0, 2], [1, 0]), ((2, 0), (1, 2)))],
)
def test_lists_of_classes_are_matched_by_name(tmp_path, column, labels, expected):
    feature = datasets.Sequence(datasets.ClassLabel(names=NLI))
    name = put(tmp_path / "lists", NLI, labels, column, feature)
    assert read_texts(name, label_names=OTHER).labels == expected
    with pytest.raises(DataError, match="the data have entailment"):
        read_texts(name, label_names=["a", "b", "c"])


@pytest.mark.parametrize("own", [["0", "1", "2"], ["LABEL_0", "LABEL_1", "LABEL_2"]])
def test_names_that_are_positions(tmp_path, own, told):
    assert read_texts(put(tmp_path / "x", own), label_names=OTHER).labels == (0, 2)
    turned = put(tmp_path / "y", own[::-1])
    assert read_texts(turned, label_names=OTHER).labels == (2, 0)
    assert not told()


def test_names_that_differ_are_refused(tmp_path):
    with pytest.raises(DataError, match="the model has the labels good, bad, the data have"):
        read_texts(put(tmp_path / "x", NLI), label_names=["good", "bad"])
    with pytest.raises(DataError, match="the data have 1, 2, 3"):
        read_texts(put(tmp_path / "y", ["1", "2", "3"]), label_names=OTHER)
    with pytest.raises(ConversionError, match="has the classes entailment"):
        read_texts(put(tmp_path / "x", NLI), regression=True)


def test_a_model_without_names_takes_the_order_with_a_warning(tmp_path, told):
    generic = ["LABEL_0", "LABEL_1", "LABEL_2"]
    found = read_texts(put(tmp_path / "x", NLI), label_names=generic)
    assert (found.labels, found.declared) == ((0, 2), tuple(NLI))
    assert len(told()) == 1
    assert "taken to be entailment, neutral, contradiction" in told()[0]
    with pytest.raises(DataError, match="the model has the labels LABEL_0"):
        read_texts(put(tmp_path / "x", NLI), label_names=generic[:2])


def test_hidden_labels_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"row 2 has the label -1.*choose a split"):
        read_texts(put(tmp_path / "x", NLI, labels=(0, -1)), label_names=OTHER)


@pytest.mark.parametrize("dev", ["data set", "read"])
def test_training_and_development_texts_agree(bert_folder, tmp_path, dev, told):
    """Also where the model has no names that could tell."""
    config = (bert_folder / "config.json").read_text()
    source = tmp_path / "source"
    source.mkdir()
    for path in bert_folder.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    config = config.replace('"NEGATIVE"', '"LABEL_0"').replace('"POSITIVE"', '"LABEL_1"')
    (source / "config.json").write_text(config)
    train = put(tmp_path / "train", ["bad", "good"], labels=(0, 1))
    other = put(tmp_path / "dev", ["good", "bad"], labels=(0, 1))
    other = other if dev == "data set" else read_texts(other, split="validation")
    options = ConversionOptions(fine_tuning=FitOptions(epochs=0.0))
    _, (first, second) = open_source_and_texts(source, train, other, options, None, None)
    assert (first.labels, second.labels) == ((0, 1), (1, 0))
    assert first.label_names == second.label_names == ("LABEL_0", "LABEL_1")
    assert told()


def test_texts_read_before_are_matched_by_name(bert_folder):
    texts = LabelledTexts(("a film", "the plot"), None, (0, 1), ("positive", "negative"))
    options = ConversionOptions(fine_tuning=FitOptions(epochs=0.0))
    _, both = open_source_and_texts(bert_folder, texts, texts, options, None, None)
    assert [own.labels for own in both] == [(1, 0), (1, 0)]
    bad = LabelledTexts(("a", ""), None, (0, 1), ("positive", "negative"))
    with pytest.raises(DataError, match="row 2 has an empty text"):
        open_source_and_texts(bert_folder, texts, bad, options, None, None)
    with pytest.raises(DataError, match="row 1 has the label 5"):
        align_labels(LabelledTexts(("a",), None, (5,), ("x", "y")), ("y", "x"))
    with pytest.raises(DataError, match="row 1 has the label nan"):
        align_labels(LabelledTexts(("a",), None, (float("nan"),), None), ())


def test_folders_that_were_saved_to_disk(tmp_path):
    name = put(tmp_path / "nli", NLI)
    data = datasets.load_dataset(name)
    data.save_to_disk(tmp_path / "both")
    data["train"].save_to_disk(tmp_path / "one")
    for folder in ("both", "one"):
        assert read_texts(tmp_path / folder, label_names=OTHER).labels == (2, 0)
    with pytest.raises(ConversionError, match="data set with split 'test'"):
        read_texts(tmp_path / "both", split="test")


@pytest.mark.parametrize(
    "name",
    ["./x", "/x/y", "~/x", "~nobody/x", "a/b/c", "x/", "../x", "x.json", "x/y.parquet", "a b.xlsx",
     r"C:\x", r"x\y", "", " "],
)  # fmt: skip
def test_a_path_that_is_not_there_is_refused_at_once(name, monkeypatch, tmp_path):
    def loads(*args, **kwargs):
        raise AssertionError(f"{args} was looked for on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", loads)
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(
        ConversionError, match=r"neither a file ending in|name of the data is empty|no data file at"
    ):
        read_texts(name)


def test_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.tsv").write_text("text\tlabel\na\t0\nb\t1\n")
    put(tmp_path / "nli", NLI)
    assert read_texts("~/a.tsv").labels == (0, 1)
    assert read_texts("~/nli").labels == (0, 2)


def test_without_the_network_the_message_says_so(monkeypatch):
    monkeypatch.setattr("thex_hf.tables.sets.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(ConversionError, match="HF_HUB_OFFLINE is set"):
        read_texts("no-such-data-set")


def test_texts_say_where_they_are_from_and_no_path(tmp_path, monkeypatch):
    place = tmp_path / "secret"
    place.mkdir()
    (place / "dev.tsv").write_text("text\tlabel\na film\t0\nthe plot\t1\n")
    assert read_texts(place / "dev.tsv").origin.to_json() == {"name": "dev.tsv", "type": "custom"}
    folder = put(place / "nli", NLI)
    assert read_texts(folder).origin == Origin("nli")
    monkeypatch.chdir(folder)
    assert Origin.of_path(Path()) == Origin("nli")
    monkeypatch.setenv("HOME", str(place))
    assert read_texts("~/nli").origin == Origin("nli")
    assert LabelledTexts(("a",), None, (0,), ("b",)).origin.type == "custom"


@pytest.mark.parametrize("commit", [COMMIT, "b0b1"])
def test_a_data_set_of_the_hub_says_its_id_and_revision(tmp_path, monkeypatch, commit):
    loaded = datasets.load_dataset(put(tmp_path / "nli", NLI), split="train")
    cached = tmp_path / "owner___set" / "default" / "0.0.0" / commit / "set-train.arrow"
    cached.parent.mkdir(parents=True)
    shutil.copy(loaded.cache_files[0]["filename"], cached)
    data = datasets.Dataset.from_file(str(cached))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, split: data)
    whole = {"name": "owner/set", "type": "owner/set", "split": "test"}
    revision = {"revision": COMMIT} if commit == COMMIT else {}
    assert read_texts("owner/set", split="test").origin.to_json() == whole | revision
    part = read_texts("glue/sst2", split="validation").origin.to_json()
    named = {"name": "glue", "type": "glue", "config": "sst2", "split": "validation"}
    assert part == named | revision
