"""Adapters on what the client computes: the encrypted input is that of the model with them."""

import pytest
import torch

import thex_hf
from thex_hf.errors import ConversionError
from thex_hf.modeling import ThexBertForSequenceClassification

peft = pytest.importorskip("peft")
TEXT = "a warm film"


def adapted(**options):
    torch.manual_seed(0)
    from transformers import AutoTokenizer, pipeline

    folder = thex_hf.bundled_checkpoint("the-x")
    model = ThexBertForSequenceClassification.from_pretrained(folder)
    config = peft.LoraConfig(r=2, init_lora_weights=False, lora_alpha=32, **options)
    found = peft.get_peft_model(model, config).eval()
    inner = found.get_base_model()
    inner.config.calibration = inner.config.ranges = None  # they are of the weights without it
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return found, pipeline("thex-text-classification", model=found, tokenizer=tokenizer)


@pytest.mark.parametrize("place", ["word_embeddings", "query"])
def test_an_adapter_counts_in_every_mode_and_so_does_its_strength(place):
    model, pipe = adapted(target_modules=[place])
    logits = []
    for scale in (1.0, 0.1):
        for module in model.modules():
            if isinstance(getattr(module, "scaling", None), dict):
                module.scaling["default"] *= scale
        both = []
        for fhe in ("disable", "simulate"):
            pipe(TEXT, fhe=fhe)
            both.append(pipe.report.logits)
        assert both[0] == pytest.approx(both[1], abs=0.02)
        logits.append(both[0])
    assert logits[0] != pytest.approx(logits[1], abs=0.02)


def test_labels_that_count_from_one_are_refused():
    with pytest.raises(ConversionError, match="0, 1"):
        thex_hf.ThexBertConfig(id2label={1: "a", 2: "b"})
