"""What a converted model's card has of its source's: and never a path of this machine."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCardData
from safetensors.torch import save_file

from thex_hf.conversion import convert
from thex_hf.conversion.sources import card
from thex_hf.conversion.sources.card import card_fields, hub_name

FULL = {
    "license": "mit",
    "language": ["en", "de"],
    "datasets": ["owner/reviews", "imdb"],
    "base_model": "google-bert/bert-base-uncased",
    "tags": ["theirs"],
    "model-index": [{"name": "theirs", "results": []}],
}
KEPT = {name: FULL[name] for name in ("base_model", "datasets", "language", "license")}


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Writes a folder with a card, in a directory that one stands in."""
    monkeypatch.chdir(tmp_path)

    def write(fields=None, name="source", text=None):
        folder = tmp_path / name
        folder.mkdir(parents=True, exist_ok=True)
        if fields is not None:
            text = f"---\n{yaml.safe_dump(fields)}---\n# Theirs\n"
        if text is not None:
            (folder / "README.md").write_text(text)
        return folder

    return write


def adapter(folder, base):
    """An adapter made by hand."""
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    save_file({"base_model.model.x": torch.ones(1)}, folder / "adapter_model.safetensors")
    return folder


def on_hub(monkeypatch, **cards):
    """Puts cards on the Hub, by owner."""
    found = {f"{owner}/bert": folder / "README.md" for owner, folder in cards.items()}
    real = card.optional_file
    monkeypatch.setattr(
        card,
        "optional_file",
        lambda name, file: found[name] if name in found else real(name, file),
    )
    based = card.base_of
    monkeypatch.setattr(card, "base_of", lambda name: None if name in found else based(name))


def test_a_folder_with_a_card(source):
    folder = source(FULL)
    assert card_fields(folder) == KEPT
    assert card_fields(folder, ["own/texts", "imdb"])["datasets"] == [
        "owner/reviews", "imdb", "own/texts",
    ]  # fmt: skip
    assert ModelCardData(**KEPT).to_dict() == KEPT


@pytest.mark.parametrize(
    "text", [None, "", "# no head\n", "---\n: [\n---\n", "---\n- a\n---\n", "---\n---\n"]
)
def test_a_folder_without_a_card_or_without_one_that_can_be_read(source, text):
    folder = source(text=text)
    assert card_fields(folder) == {}
    assert card_fields(folder, ["own/texts"]) == {"datasets": ["own/texts"]}


def test_what_may_be_a_path_of_this_machine_stays_out(source, tmp_path):
    source(name="beside")
    source(name="source/within")
    source(name="models/here")
    paths = [
        str(tmp_path),
        "./x",
        "../x",
        "~/x",
        "C:\\x",
        "a/b/c",
        "beside",
        "within",
        "models/here",
    ]
    folder = source({"base_model": [*paths, "owner/name"], "datasets": paths})
    assert card_fields(folder) == {"base_model": "owner/name"}
    for path in paths:
        assert card_fields(source({"base_model": path})) == {}


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"language": False}, {"language": "no"}),  # Norwegian, as YAML reads it
        ({"language": ["en", False, 3]}, {"language": ["en", "no"]}),
        ({"license": 3, "language": {"en": 1}, "datasets": {"a": 1}}, {}),
        (
            {"license": "other", "license_name": "own", "license_link": "LICENSE"},
            {"license": "other", "license_name": "own"},
        ),
        (
            {"license": "other", "license_link": "https://example.org/l"},
            {"license": "other", "license_link": "https://example.org/l"},
        ),
    ],
)
def test_odd_fields(source, fields, kept):
    assert card_fields(source(fields)) == kept


def test_a_name_on_the_hub_is_the_base_model(source, monkeypatch):
    source(name="imdb")  # means nothing for a card of the Hub
    link = {"license": "other", "license_link": "LICENSE"}
    on_hub(monkeypatch, owner=source({**FULL, **link}))
    assert card_fields("owner/bert") == {
        **KEPT,
        "base_model": "owner/bert",
        "license": "other",
        "license_link": "https://huggingface.co/owner/bert/blob/main/LICENSE",
    }
    assert hub_name("owner/bert") == "owner/bert"


def test_a_folder_of_the_cache_is_known_by_its_name_on_the_hub(source):
    folder = source(FULL, name="hub/models--owner--bert/snapshots/0a1b")
    assert card_fields(folder) == {**KEPT, "base_model": "owner/bert"}
    old = source(name="hub/models--bert-base-cased/snapshots/0a1b")
    assert card_fields(old) == {"base_model": "bert-base-cased"}
    assert hub_name(old.parent) is None


def test_an_adapter_has_what_is_missing_of_its_base_model(source, monkeypatch, tmp_path):
    base = source({**FULL, "base_model": "owner/older"}, name="base")
    bare = adapter(source(name="adapter"), "base")
    below = {"base_model": "owner/older", "language": ["en", "de"], "license": "mit"}
    assert card_fields(bare) == below
    monkeypatch.setenv("HOME", str(tmp_path))
    assert card_fields(adapter(source(name="at-home"), "~/base")) == below
    source({"license": "other", "base_model": str(base), "datasets": ["x/y"]}, name="adapter")
    assert card_fields(bare) == {**below, "license": "other", "datasets": ["x/y"]}
    on_hub(monkeypatch, owner=source({**FULL, "license": "gpl"}, name="other"))
    merged = card_fields(adapter(source(name="second"), "owner/bert"))
    assert merged == {"base_model": "owner/bert", "language": ["en", "de"], "license": "gpl"}


def test_a_conversion_writes_them_and_no_path(
    bert_folder, data_files, fitted_only, source, tmp_path
):
    def head():
        text = Path("out/README.md").read_text()
        for file in ("README.md", "conversion.json", "config.json"):
            assert str(tmp_path) not in Path("out", file).read_text()
        return yaml.safe_load(text.split("---\n")[1]), text

    folder = source(FULL)
    shutil.copytree(bert_folder, folder, dirs_exist_ok=True)
    for name, path in zip(("train", "dev"), data_files, strict=True):
        shutil.copy(path, tmp_path / f"{name}.tsv")
    files = {"train": tmp_path / "train.tsv", "dev": tmp_path / "dev.tsv"}
    report = convert(folder, "out", **files, options=fitted_only)
    fields, text = head()
    assert {name: fields[name] for name in KEPT} == KEPT == report.card
    assert "theirs" not in json.dumps(fields)
    assert "from `source`" in text
    (result,) = ModelCardData(**fields).eval_results
    assert (result.dataset_type, result.dataset_name) == ("custom", "dev.tsv")

    Path("out/README.md").write_text(text.replace("license: mit", "license: gpl"))
    source({"license": "other", "license_name": "own", "language": "fr"})
    report = convert(folder, "out", **files, options=replace(fitted_only, overwrite=True))
    fields, _ = head()
    assert (fields["license"], fields["language"]) == ("gpl", "fr")  # one changed by hand, one not
    assert not {"base_model", "datasets", "license_name"} & set(fields)
    assert report.card == {"language": "fr", "license": "other", "license_name": "own"}
