"""What must not be shared is found by name and by content, and nothing is saved next to keys."""

from __future__ import annotations

import base64

import pytest
import torch

from thex_hf.backends.base import KeyRequest
from thex_hf.backends.registry import get_backend
from thex_hf.ckks.parameters import Parameters
from thex_hf.conversion.output import check_output
from thex_hf.errors import KeyStoreError, OptionError
from thex_hf.hub import find_secrets, push_folder, refuse_keys, refuse_secrets
from thex_hf.modeling import ThexBertConfig, ThexBertForSequenceClassification
from thex_hf.protocol.keys import KeyStore

PLAN = "0123456789abcdef"


@pytest.fixture(scope="module")
def pair():
    parameters = Parameters(4096, (40, 30), 39, 30)
    return get_backend("seal").generate(
        KeyRequest(parameters, (1,), relinearisation=True, conjugation=False, public=True)
    )


@pytest.fixture
def keys(pair, tmp_path):
    """A folder with both key files as the key store writes them."""
    KeyStore(tmp_path / "keys").save(PLAN, "seal", *pair)
    return tmp_path / "keys"


@pytest.fixture
def model_folder(tmp_path):
    folder = tmp_path / "model"
    tiny().save_pretrained(folder)
    return folder


def tiny():
    torch.manual_seed(0)
    sizes = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 16}
    return ThexBertForSequenceClassification(ThexBertConfig(**sizes, max_position_embeddings=8))


def names(folder):
    return [secret.path.as_posix() for secret in find_secrets(folder)]


def test_key_files_are_found_under_any_name_and_at_any_depth(keys, model_folder):
    assert names(model_folder) == []
    deep = model_folder / "more" / "still more"
    deep.mkdir(parents=True)
    for number, path in enumerate(sorted(keys.glob("pair.*/*"))):
        (deep / f"notes{number}.txt").write_bytes(path.read_bytes())
    assert names(model_folder) == ["more/still more/notes0.txt", "more/still more/notes1.txt"]
    with pytest.raises(KeyStoreError, match=r"notes0\.txt \(a thex_hf key file\).*nothing was upl"):
        refuse_secrets(model_folder)


def test_bare_seal_keys_are_found(pair, model_folder):
    secret, evaluation = pair
    (model_folder / "a.bin").write_bytes(secret.reveal())
    (model_folder / "b.bin").write_bytes(evaluation.public)
    assert names(model_folder) == ["a.bin", "b.bin"]


@pytest.mark.parametrize(
    "name", ["secret.0123.key", "EVALUATION.0123.KEY", ".key-x", ".env", "a.pem"]
)
def test_names_alone_are_enough(model_folder, name):
    (model_folder / name).write_text("")
    assert names(model_folder) == [name]


def test_private_keys_and_tokens_in_texts_are_found(model_folder):
    token = "hf_" + "aB3" * 12
    (model_folder / "a.txt").write_text("-----BEGIN RSA PRIVATE KEY-----\n")
    (model_folder / "b.py").write_text(f"login('{token}')")
    (model_folder / "c.md").write_text("set HF_TOKEN=hf_xxx, and see hf_hub_download")
    assert names(model_folder) == ["a.txt", "b.py"]
    (problem,) = [s for s in find_secrets(model_folder) if s.path.name == "b.py"]
    assert token not in str(problem)


def test_a_link_to_a_key_is_a_key_and_folders_that_stay_here_are_not_looked_into(
    keys, model_folder
):
    (model_folder / "innocent.json").symlink_to(sorted(keys.glob("pair.*/*"))[0])
    hidden = model_folder / ".git"
    hidden.mkdir()
    (hidden / "secret.1.key").write_text("")
    (model_folder / "folder").symlink_to(keys)  # never followed, so never uploaded
    assert names(model_folder) == ["innocent.json"]


def test_a_model_is_not_saved_next_to_keys(keys):
    before = {path: path.read_bytes() for path in keys.glob("*/*")}
    with pytest.raises(KeyStoreError, match="never saved next to keys"):
        tiny().save_pretrained(keys)
    assert {path: path.read_bytes() for path in keys.glob("*/*")} == before
    with pytest.raises(KeyStoreError):
        check_output(keys, overwrite=True)
    refuse_keys(keys / "there is no such folder")


def test_pushing_refuses_before_anything_is_sent(keys, model_folder, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("the network was tried")

    monkeypatch.setattr("thex_hf.hub.HfApi", fail)
    (model_folder / "config.bak").write_bytes(sorted(keys.glob("pair.*/*"))[0].read_bytes())
    with pytest.raises(KeyStoreError, match=r"config\.bak"):
        push_folder(model_folder, "org/name")
    with pytest.raises(OptionError, match="holds no file"):
        push_folder(model_folder / "nothing", "org/name")


def test_weights_full_of_odd_bytes_are_no_secret(model_folder):
    text = base64.b64encode(bytes(range(256)) * 50).decode()
    (model_folder / "vocab.txt").write_text(text)
    assert names(model_folder) == []
