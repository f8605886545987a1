"""A conversion writes over nothing but an earlier conversion."""

import json
import os
import shutil
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from thex_hf.client.half import ClientHalf
from thex_hf.conversion import convert, output
from thex_hf.conversion.checkpoint import Checkpoint
from thex_hf.conversion.data.reading import LabelledTexts
from thex_hf.errors import ConversionError, InputError


@pytest.fixture
def here(bert_folder, data_files, tmp_path, monkeypatch):
    """A directory with a source, texts and an empty home; nothing else may be touched."""
    shutil.copytree(bert_folder, tmp_path / "bert")
    for path in data_files:
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path


@pytest.fixture
def over(fitted_only):
    return replace(fitted_only, overwrite=True)


def digests(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def run(source, out, options, train="train.tsv", dev="dev.tsv"):
    return convert(source, out, train=train, dev=dev, options=options)


@pytest.mark.parametrize(
    ("source", "out"),
    [
        ("bert", "bert"),
        ("bert", "./x/../bert"),
        ("bert", "link"),
        ("link", "bert"),
        ("bert", "bert/thex"),
        ("bert", "link/deep/thex"),
        ("bert", "."),
        ("bert", ".."),
        ("~/bert", "home/bert"),
        ("home/bert", "~/bert"),
        ("odd.partial", "odd"),
        ("odd.partial/bert", "odd"),
    ],
)
def test_output_and_source_lie_apart(here, over, source, out):
    os.symlink("bert", "link")
    Path("x").mkdir()
    for name in ("home/bert", "odd.partial/bert"):
        shutil.copytree("bert", name)
    shutil.copytree("bert", "odd.partial", dirs_exist_ok=True)
    before = digests(here)
    with pytest.raises(ConversionError, match=r"(is|lies inside|would hold) the source"):
        run(source, out, over)
    assert digests(here) == before


def test_the_same_folder_by_other_letters(here, over, monkeypatch):
    """On a file system that does not mind the case of letters both names are one folder."""
    real = os.path.samefile
    same = lambda a, b: real(str(a).lower(), str(b).lower())  # noqa: E731
    monkeypatch.setattr(output.os.path, "samefile", same)
    shutil.copytree("bert", "BERT")
    with pytest.raises(ConversionError, match="is the source"):
        run("bert", "BERT", over)


@pytest.mark.parametrize(("train", "what"), [("train.tsv", "training"), ("dev.tsv", "development")])
def test_texts_stay_out_of_the_output(here, over, train, what):
    Path("out").mkdir()
    for name in ("train.tsv", "dev.tsv"):
        shutil.copy(name, "out")
    files = {"train": "train.tsv", "dev": "dev.tsv"}
    files["train" if what == "training" else "dev"] = f"out/{train}"
    with pytest.raises(ConversionError, match=f"would hold the {what} texts"):
        convert("bert", "out", **files, options=over)
    Path("out.partial").mkdir()
    shutil.copy(train, "out.partial")
    files["train" if what == "training" else "dev"] = f"out.partial/{train}"
    with pytest.raises(ConversionError, match=f"would hold the {what} texts"):
        convert("bert", "out", **files, options=over)


def test_another_model_is_not_replaced(here, over):
    shutil.copytree("bert", "other")
    before = digests("other")
    with pytest.raises(ConversionError, match=r"no conversion .*model_type bert"):
        run("bert", "other", over)
    Path("odd").mkdir()
    Path("odd/config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ConversionError, match="cannot be read"):
        run("bert", "odd", over)
    assert digests("other") == before


def test_a_folder_of_work_that_is_none_is_left_alone(here, over):
    Path("out.partial").mkdir()
    Path("out.partial/thesis.txt").write_text("mine")
    for options in (over, replace(over, restart=True)):
        with pytest.raises(ConversionError, match=r"'out\.partial' is where .* something else"):
            run("bert", "out", options)
    assert Path("out.partial/thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("out", ["out.partial", "out.partial/mine", "link/mine"])
def test_nothing_is_put_where_it_would_go_with_unfinished_work(here, over, out):
    Checkpoint.open(Path("out.partial"), {}, restart=False, writes=True)
    os.symlink("out.partial", "link")
    with pytest.raises(ConversionError, match="unfinished work of another"):
        run("bert", out, over)


@pytest.mark.slow
def test_home_is_expanded(here, fitted_only):
    shutil.copytree("bert", "home/bert")
    shutil.copy("train.tsv", "home")
    run("~/bert", "~/out", fitted_only, train="~/train.tsv")
    assert (here / "home/out/model.safetensors").is_file()
    assert not (here / "~").exists()


def test_the_folder_one_stands_in(here, fitted_only, monkeypatch):
    (here / "out").mkdir()
    monkeypatch.chdir(here / "out")
    run(here / "bert", ".", fitted_only, train=here / "train.tsv", dev=here / "dev.tsv")
    assert (here / "out/model.safetensors").is_file()
    assert not (here / "out.partial").exists()
    with pytest.raises(ConversionError, match="output should be a folder"):
        run(here / "bert", "/", fitted_only)


@pytest.mark.parametrize("out", ["train.tsv/out", "/proc/out", "n" * 300, "a\0b"])
def test_what_cannot_be_written_is_said_before_any_work(here, fitted_only, out, monkeypatch):
    def opening(*_):
        raise AssertionError("nothing should have been loaded")

    monkeypatch.setattr(sys.modules[convert.__module__], "open_inputs", opening)
    with pytest.raises(ConversionError, match="output"):
        run("bert", out, fitted_only)
    assert sorted(path.name for path in here.iterdir()) == ["bert", "dev.tsv", "home", "train.tsv"]


@pytest.mark.slow
def test_overwriting_takes_away_what_belonged_to_the_old_model(here, over):
    run("bert", "out", over)
    for name in ("model-00001-of-00002.safetensors", "special_tokens_map.json", "notes.txt"):
        Path("out", name).write_text("{}")
    report = run("bert", "out", replace(over, seed=1))
    names = {path.name for path in Path("out").iterdir()}
    assert "model-00001-of-00002.safetensors" not in names
    assert Path("out/notes.txt").read_text() == "{}"
    assert json.loads(Path("out/conversion.json").read_text()) == report.to_dict()
    assert "# out\n" in Path("out/README.md").read_text()
    assert sorted(path.name for path in here.iterdir() if path.name.startswith(".")) == []


@pytest.mark.slow
def test_a_save_that_fails_leaves_the_old_conversion(here, over, monkeypatch):
    run("bert", "out", over)
    before = digests("out")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(output, "write_card", full)
        with pytest.raises(ConversionError, match="No space left"):
            run("bert", "out", replace(over, seed=1))
    assert digests("out") == before
    assert Path("out.partial").is_dir()  # nothing of the work is lost
    assert not [path for path in here.iterdir() if path.name.startswith(".")]
    run("bert", "out", replace(over, seed=1))
    assert not Path("out.partial").exists()


@pytest.mark.slow
def test_files_that_are_links_are_replaced_and_not_written_through(here, over):
    run("bert", "out", over)
    shutil.copy("out/model.safetensors", "kept.safetensors")
    Path("out/model.safetensors").unlink()
    os.symlink(here / "kept.safetensors", "out/model.safetensors")
    before = Path("kept.safetensors").read_bytes()
    run("bert", "out", replace(over, half=False))
    assert not Path("out/model.safetensors").is_symlink()
    assert Path("kept.safetensors").read_bytes() == before


def test_texts_in_memory_have_no_place(here, fitted_only):
    texts = LabelledTexts(("good", "bad") * 8, None, (1, 0) * 8, ("NEGATIVE", "POSITIVE"))
    convert("bert", "out", train=texts, dev=texts, options=fitted_only)
    state = load_file("out/model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in state.values())


def test_longer_texts_than_those_of_the_conversion_are_refused(here, fitted_only):
    text = "good film " * 5
    for most, taken in ((6, False), (128, True)):
        run("bert", f"out-{most}", replace(fitted_only, max_length=most))
        settings = json.loads(Path(f"out-{most}", "tokenizer_config.json").read_text())
        assert settings["model_max_length"] == most
        half = ClientHalf.open(f"out-{most}")
        assert len(half.tokenise("good film")[0]) == 4
        with nullcontext() if taken else pytest.raises(InputError, match="has 12 tokens, 6 are"):
            half.tokenise(text)
