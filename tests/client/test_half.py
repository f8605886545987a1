"""The client's half: the torch model's embeddings without torch, and nothing of the encoder."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from source_models import make_tokenizer
from transformers import AutoTokenizer

import thex_hf
from thex_hf.client.half import ClientHalf
from thex_hf.errors import ConversionError, InputError

BUNDLED = thex_hf.bundled_checkpoint("the-x")
TEXTS = ["A warm film.", "naïve café — 漢字 🙂", "x" * 200, ("A man sleeps.", "A man is awake.")]


@pytest.fixture(scope="module")
def half():
    return ClientHalf.open(BUNDLED)


@pytest.mark.parametrize("text", TEXTS, ids=["plain", "odd", "long word", "pair"])
def test_tokens_and_embeddings_are_the_torch_models(half, text):
    parts = (text,) if isinstance(text, str) else text
    ids, types = half.tokenise(*parts)
    encoded = AutoTokenizer.from_pretrained(BUNDLED)(*parts, return_tensors="pt")
    assert ids.tolist() == encoded["input_ids"][0].tolist()
    assert types.tolist() == encoded["token_type_ids"][0].tolist()
    model = thex_hf.ThexBertForSequenceClassification.from_pretrained(BUNDLED).float().eval()
    with torch.no_grad():
        want = model.embed(encoded["input_ids"], encoded["token_type_ids"])[0].double().numpy()
    np.testing.assert_allclose(half.embed(ids, types), want, atol=1e-5)


def test_a_half_of_a_normalised_model_knows_its_form_and_encoder(tmp_path):
    config = thex_hf.ThexBertConfig(
        vocab_size=24, hidden_size=16, num_attention_heads=2, intermediate_size=24,
        activation="quadratic", softmax="power", norm="chebyshev", norm_degrees=[[2, 0], [4, 1]],
    )  # fmt: skip
    model = thex_hf.ThexBertForSequenceClassification(config)
    model.save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    whole = ClientHalf.open(tmp_path / "model")
    assert whole.facts.form == "normalised"
    assert whole.facts.model == model.encoder_weights().fingerprint()
    saved = ClientHalf.open(whole.save(tmp_path / "half"))
    assert saved.facts == whole.facts
    assert not any("interval" in name for name in saved.tables)


def test_a_saved_half_is_the_same_and_has_nothing_of_the_encoder(half, tmp_path):
    place = half.save(tmp_path / "half")
    with safe_open(place / "model.safetensors", "numpy") as file:
        assert all(name.startswith("thex_bert.embeddings.") for name in file.keys())  # noqa: SIM118
    assert {path.name for path in place.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    again = ClientHalf.open(place)
    ids, types = again.tokenise("A warm film.")
    assert np.array_equal(again.embed(ids, types), half.embed(ids, types))
    assert again.labels == ("NEGATIVE", "POSITIVE")
    with pytest.raises(ConversionError, match=r"no encoder.*ClientHalf\.open"):
        thex_hf.ThexBertForSequenceClassification.from_pretrained(str(place))
    with pytest.raises(ConversionError, match="name a new folder"):
        half.save(place)


def test_it_never_imports_torch_or_transformers(tmp_path):
    code = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "accelerate"):
            raise ImportError(name + " is not here")
sys.meta_path.insert(0, Refuse())
import thex_hf.client.client
from thex_hf.client.half import ClientHalf
half = ClientHalf.open({BUNDLED!r})
print(half.embed(*half.tokenise("A warm film.")).shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(6, 128)"


@pytest.mark.parametrize("text", ["", "   ", 5, None])
def test_what_is_no_text_is_refused(half, text):
    with pytest.raises(InputError):
        half.tokenise(text)


def test_ids_and_lengths_that_do_not_fit_are_refused(half):
    with pytest.raises(InputError, match="below 30522, got 99999"):
        half.embed(np.array([5, 99999]))
    with pytest.raises(InputError, match="positions for 512"):
        half.embed(np.ones(600, np.int64))


def test_folders_that_are_no_half_are_refused(tmp_path):
    with pytest.raises(ConversionError, match=r"has no config\.json"):
        ClientHalf.open(tmp_path)
    bundled = Path(BUNDLED)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_bytes((bundled / name).read_bytes())
    config = json.loads((bundled / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(ConversionError, match="'bert'"):
        ClientHalf.open(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(ConversionError, match="damaged"):
        ClientHalf.open(tmp_path)


def test_the_command_writes_a_half_and_refuses_what_is_no_model(tmp_path):
    from typer.testing import CliRunner

    from thex_hf.cli.main import commands

    done = CliRunner().invoke(commands, ["client-half", BUNDLED, str(tmp_path / "half"), "--json"])
    assert json.loads(done.stdout)["labels"] == ["NEGATIVE", "POSITIVE"]
    assert ClientHalf.open(tmp_path / "half").hidden == 128
    for name in ("no such/model name", str(tmp_path)):
        done = CliRunner().invoke(commands, ["client-half", name, str(tmp_path / "other")])
        assert isinstance(done.exception, ConversionError)
