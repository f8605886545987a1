"""Families by entry point: those that come along, and one of another package."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
import torch
import transformers

from thex_hf.conversion.sources import family_of, head_of, registry, start_model, supported
from thex_hf.conversion.sources.families import BERT, Family, classes_of, layer_table
from thex_hf.errors import ConversionError

SIZES = {
    "vocab_size": 24,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 20,
}
ERNIE = Family(
    name="ERNIE",
    prefix="ernie",
    encoder=layer_table("ernie"),
    classes={"ernie": classes_of("Ernie")},
    lost=("ernie.pooler.",),
    pooler=True,
)
FOUND = {"model_type": "ernie", "architectures": ["ErnieForTokenClassification"]}


@pytest.fixture
def provided(monkeypatch):
    """Stands for what an installed package names in its entry points."""

    def provide(name, value):
        entry = EntryPoint(name, value, registry.GROUP)
        monkeypatch.setattr(registry, "entry_points", lambda group: (entry,))

    return provide


def test_the_families_that_come_along_need_no_installation(monkeypatch):
    monkeypatch.setattr(registry, "entry_points", lambda group: ())
    assert list(registry.model_types()) == [
        "bert", "distilbert", "roberta", "xlm-roberta", "camembert", "electra", "mpnet",
    ]  # fmt: skip
    for kind in registry.model_types():
        assert kind in registry.get_family(kind).classes


def test_a_family_of_another_package_is_converted(provided):
    provided("ernie", f"{__name__}:ERNIE")
    assert head_of(FOUND, "it") == "tokens"
    assert "model_type ernie: ErnieForSequenceClassification" in supported()
    torch.manual_seed(0)
    config = transformers.ErnieConfig(**SIZES, num_labels=3)
    source = transformers.ErnieForTokenClassification(config).eval()
    assert family_of(config, "tokens").name == "ERNIE"
    exact = {"activation": "gelu", "softmax": "exact", "norm": "layernorm"}
    ours = start_model(source, task="tokens", **exact)
    ids = torch.randint(5, 24, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, source(ids).logits, rtol=1e-4, atol=1e-5)


def test_no_family_replaces_one_that_comes_along(provided):
    provided("bert", f"{__name__}:ERNIE")
    assert registry.get_family("bert") is BERT


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("no_such_module_here:FAMILY", "no_such_module_here"),
        (f"{__name__}:SIZES", "should be a Family with classes for 'ernie'"),
        (f"{__name__}:NOTHING", "NOTHING"),
        ("thex_hf.conversion.sources.families:BERT", "classes for 'ernie'"),
    ],
)
def test_a_broken_family_is_named_when_it_is_asked_for(provided, value, words):
    provided("ernie", value)
    with pytest.raises(ConversionError, match=r"family of model_type 'ernie' .* cannot be loaded"):
        head_of(FOUND, "it")
    with pytest.raises(ConversionError, match=words):
        registry.get_family("ernie")
    assert registry.get_family("bert") is BERT
    assert "model_type bert" in supported()
    assert "ernie" not in supported()
