"""Work on other weights, texts or options is never taken for this one's."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from thex_hf import ThexBertForSequenceClassification
from thex_hf.conversion import convert, digests
from thex_hf.conversion.checkpoint import Checkpoint
from thex_hf.conversion.data.reading import LabelledTexts, read_texts
from thex_hf.conversion.opening import open_inputs
from thex_hf.errors import ConversionError

WORD = "bert.embeddings.word_embeddings.weight"


@pytest.fixture
def here(bert_folder, data_files, tmp_path, monkeypatch):
    shutil.copytree(bert_folder, tmp_path / "bert")
    for path in data_files:
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "cache"))
    return tmp_path


def change_weights(folder="bert"):
    """As if the source had been fine-tuned again, in place."""
    tensors = load_file(Path(folder, "model.safetensors"))
    tensors[WORD] = tensors[WORD] + 1.0
    save_file(tensors, Path(folder, "model.safetensors"), metadata={"format": "pt"})


def change_json(name, **changes):
    path = Path("bert", name)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def first_word(model):
    return model.thex_bert.embeddings.word_embeddings.weight[5, 0].item()


def change_rules():
    rules = json.loads(Path("bert/tokenizer.json").read_text())
    words = rules["model"]["vocab"]
    words["good"], words["bad"] = words["bad"], words["good"]
    Path("bert/tokenizer.json").write_text(json.dumps(rules))


def change_norms():
    change_json("config.json", layer_norm_eps=1e-3)


def change_names():
    change_json("config.json", id2label={"0": "no", "1": "yes"}, label2id=None)


def change_file():
    Path("train.tsv").write_text(Path("train.tsv").read_text() + "1\tgood good\n")


@pytest.mark.parametrize(
    "change",
    [
        change_weights,
        change_file,
        pytest.param(change_rules, marks=pytest.mark.slow),
        pytest.param(change_norms, marks=pytest.mark.slow),
        pytest.param(change_names, marks=pytest.mark.slow),
    ],
)
def test_a_cached_conversion_is_of_this_very_source(here, change):
    def load():
        return ThexBertForSequenceClassification.from_pretrained(
            "bert", convert=True, train="train.tsv", dev="dev.tsv", effort=0.0
        )

    load()
    load()
    assert len(list((here / "cache/thex_hf").iterdir())) == 1
    change()
    second = load()
    assert len(list((here / "cache/thex_hf").iterdir())) == 2
    state = load_file("bert/model.safetensors")
    assert first_word(second) == pytest.approx(float(state[WORD][5, 0]), abs=2e-3)


def test_a_named_folder_with_another_conversion_is_refused(here):
    settings = {"convert": True, "dev": "dev.tsv", "effort": 0.0, "output": "out"}
    load = ThexBertForSequenceClassification.from_pretrained
    load("bert", train="train.tsv", **settings)
    load("bert", train="train.tsv", **settings)
    change_weights()
    with pytest.raises(ConversionError, match="should be empty"):
        load("bert", train="train.tsv", **settings)
    again = load("bert", train="train.tsv", overwrite=True, **settings)
    word = float(load_file("bert/model.safetensors")[WORD][5, 0])
    assert first_word(again) == pytest.approx(word, abs=2e-3)


def killed(options, **files):
    class Killed(BaseException):
        pass

    def kill(stage, _logits):
        if stage == "relu":
            raise Killed

    files = {"train": "train.tsv", "dev": "dev.tsv", **files}
    with pytest.raises(Killed):
        convert("bert", "out", **files, options=options, watch=kill)
    assert Path("out.partial/relu.safetensors").is_file()


def test_unfinished_work_on_other_weights_is_dropped_with_a_word(here, fitted_only, caplog):
    killed(fitted_only)
    change_weights()
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    logging.getLogger("thex_hf").addHandler(caplog.handler)
    try:
        convert("bert", "out", train="train.tsv", dev="dev.tsv", options=fitted_only)
    finally:
        logger.removeHandler(caplog.handler)
        logging.getLogger("thex_hf").removeHandler(caplog.handler)
    assert "dropping the unfinished conversion" in caplog.text
    assert "the source has changed since" in caplog.text
    word = float(load_file("bert/model.safetensors")[WORD][5, 0])
    model = ThexBertForSequenceClassification.from_pretrained("out")
    assert first_word(model) == pytest.approx(word, abs=2e-3)


@pytest.mark.slow
def test_other_texts_or_another_source_do_not_go_on(here, fitted_only):
    killed(fitted_only)
    other = read_texts("train.tsv", label_names=("NEGATIVE", "POSITIVE"))
    flipped = replace(other, labels=tuple(1 - one for one in other.labels))
    files = {"dev": "dev.tsv", "options": fitted_only}
    with pytest.raises(ConversionError, match=r"with other data\."):
        convert("bert", "out", train=flipped, **files)
    shutil.copytree("bert", "bert2")
    change_weights("bert2")
    with pytest.raises(ConversionError, match=r"with other source\."):
        convert("bert2", "out", train="train.tsv", **files)
    shutil.rmtree("bert2")
    shutil.copytree("bert", "bert2")  # the same model under another name goes on
    convert("bert2", "out", train="train.tsv", **files)
    assert not Path("out.partial").exists()


def test_work_of_another_version_is_dropped(here, fitted_only, monkeypatch):
    killed(fitted_only)
    before = Path("out.partial/relu.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(digests, "RECIPE_VERSION", digests.RECIPE_VERSION + 1)
    killed(fitted_only)
    assert Path("out.partial/relu.safetensors").stat().st_mtime_ns != before


def test_what_cannot_be_dropped_is_not_used(here, tmp_path, monkeypatch):
    checkpoint = Checkpoint.open(tmp_path / "w", {"weights": 1}, restart=False, writes=True)
    checkpoint.save_stage("relu", torch.nn.Linear(2, 2))

    def refuse(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("thex_hf.conversion.checkpoint.shutil.rmtree", refuse)
    for facts, restart in (({"weights": 2}, False), ({"weights": 1}, True)):
        with pytest.raises(ConversionError, match="cannot be removed"):
            Checkpoint.open(tmp_path / "w", facts, restart=restart, writes=True)


def test_work_behind_a_link_is_dropped_too(tmp_path):
    (tmp_path / "big").mkdir()
    (tmp_path / "w").symlink_to(tmp_path / "big")
    checkpoint = Checkpoint.open(tmp_path / "w", {"weights": 1}, restart=False, writes=True)
    model = torch.nn.Linear(2, 2)
    checkpoint.save_stage("relu", model)
    again = Checkpoint.open(tmp_path / "w", {"weights": 2}, restart=False, writes=True)
    assert not again.load_stage("relu", model)


def digest(options, **changes):
    texts = {"texts": ("good film", "bad") * 8, "pairs": None, "labels": (1, 0) * 8}
    texts = LabelledTexts(**{**texts, "label_names": ("NEGATIVE", "POSITIVE"), **changes})
    dev = read_texts("dev.tsv", label_names=("NEGATIVE", "POSITIVE"))
    return open_inputs("bert", texts, dev, options, None, None).digest


def test_the_digest_tells_all_apart_that_decides(here, fitted_only):
    found = [
        digest(fitted_only),
        digest(fitted_only, texts=("good film", "dull") * 8),
        digest(fitted_only, labels=(0, 1) * 8),
        digest(fitted_only, texts=("good", "bad") * 8, pairs=("film", "film") * 8),
        digest(fitted_only, pairs=("film", "plot") * 8),
        digest(replace(fitted_only, seed=1)),
        digest(replace(fitted_only, half=False)),
        digest(replace(fitted_only, max_length=4)),
    ]
    assert len(set(found)) == len(found)
    assert digest(replace(fitted_only, overwrite=True, restart=True)) == found[0]
