import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from thex_hf.conversion import convert
from thex_hf.errors import ConversionError
from thex_hf.modeling import opening as names
from thex_hf.modeling.opening import check_name, expand, looks_local


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    (tmp_path / "owner/model").mkdir(parents=True)
    (tmp_path / "file.tsv").touch()
    return tmp_path


@pytest.fixture
def no_network(monkeypatch):
    """Every look-up of a host fails, as on a machine without a network."""

    def fail(*_):
        raise OSError("Name or service not known")

    monkeypatch.setattr(names.socket, "getaddrinfo", fail)
    monkeypatch.setattr(names, "getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.mark.parametrize(
    "name",
    [
        *("./bert", "../bert", "/bert", "~/bert", ".", "..", "a/b/c", "my model", "a\\b", ""),
        *("model", "owner/model", "file.tsv", Path("x/y/z"), "bert/", "a\0b"),
    ],
)
def test_names_that_can_only_be_paths(here, name):
    assert looks_local(name)


@pytest.mark.parametrize("name", ["bert-base-uncased", "google/bert_uncased_L-2", "a.b/c-d"])
def test_names_that_may_be_on_the_hub(here, name):
    assert not looks_local(name)


def test_folders_pass_and_home_is_expanded(here):
    assert check_name("model") == "model"
    assert check_name("~/owner/model") == str(here / "owner/model")
    assert expand("model~") == "model~"


@pytest.mark.parametrize("name", ["./gone", "~/gone", "a/b/c", "my model", "", "file.tsv"])
def test_a_path_without_a_folder_fails_at_once(here, name):
    with pytest.raises(ConversionError, match="no model folder"):
        check_name(name)


def test_a_file_is_said_to_be_one(here):
    with pytest.raises(ConversionError, match="that is a file"):
        check_name("file.tsv")


def test_without_network_a_name_fails_soon(here, no_network):
    began = time.monotonic()
    for use in (check_name, lambda name: convert(name, "out", train="t.tsv", dev="t.tsv")):
        with pytest.raises(ConversionError, match=r"no folder here.*cannot be reached"):
            use("models/mine")
    assert time.monotonic() - began < 2
    assert not Path("out").exists()


def test_without_network_what_is_cached_passes(here, no_network, monkeypatch):
    monkeypatch.setattr(names, "try_to_load_from_cache", lambda *_: "/cache/config.json")
    assert check_name("owner/other") == "owner/other"


def test_behind_a_proxy_the_hub_is_asked(here, no_network, monkeypatch):
    monkeypatch.setattr(names, "getproxies", lambda: {"https": "http://proxy:3128"})
    assert check_name("owner/other") == "owner/other"


def test_an_object_is_no_name(here):
    with pytest.raises(ConversionError, match=r"type list.*merge_and_unload\(\)"):
        check_name(["model"])
