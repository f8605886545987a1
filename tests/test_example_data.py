"""What the examples start from: an encoder that loads whole, and labelled texts without repeats."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from thex_hf.conversion.data.reading import LabelledTexts, read_texts
from thex_hf.conversion.sources import load_source

FOLDER = Path(__file__).parents[1] / "examples"
BASE = FOLDER / "base_encoder"
COUNTS = {
    "bank_intents": [45] * 10,
    "clinical_notes": [48] * 3,
    "film_reviews": [20] * 2,
}
PARTS = ("train", "held_out")


def names_of(data: LabelledTexts) -> tuple[set[str], set[str]]:
    """All names of places and organisations, and all words of persons' names."""
    names: set[str] = set()
    persons: set[str] = set()
    kinds = data.label_names or ()
    for words, tags in zip(data.words or (), data.labels, strict=True):
        inside: list[str] = []
        for word, tag in zip((*words, ""), (*(kinds[one] for one in tags), "O"), strict=True):
            if not tag.startswith("I-") and inside:
                names.add(" ".join(inside))
                inside = []
            if tag.endswith("-person"):
                persons.add(word)
            elif tag != "O":
                inside.append(word)
    return names, persons


def test_the_encoder_loads_whole():
    model, info = AutoModel.from_pretrained(BASE, add_pooling_layer=False, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (2, 128)
    assert model.dtype == torch.float32


@torch.no_grad()
def test_the_encoder_was_trained():
    """Texts that mean nearly the same lie closer in the pair score's row than others do."""
    model = AutoModel.from_pretrained(BASE, add_pooling_layer=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    texts = ["my card was stolen", "somebody stole my card", "the weather is fine today"]
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    rows = model(**inputs).last_hidden_state[:, 0]
    near, far = (torch.cosine_similarity(rows[0], rows[k], dim=0) for k in (1, 2))
    assert near > far + 0.1


def test_the_encoder_is_a_source_with_a_fresh_classifier():
    source = load_source(BASE, task="sequence", num_labels=3)
    assert source.headless
    assert source.tokenizer.model_max_length == source.model.config.max_position_embeddings == 64


def test_the_encoder_cuts_no_text_by_itself():
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    assert len(tokenizer("word " * 100)["input_ids"]) == 102


@pytest.mark.parametrize("name", COUNTS)
def test_texts_are_balanced_and_different(name):
    data = read_texts(FOLDER / "data" / f"{name}.tsv")
    assert list(Counter(data.labels).values()) == COUNTS[name]
    assert len({text.lower() for text in data.texts}) == len(data)


def test_names_are_tagged_and_those_held_out_are_new():
    train, held = (read_texts(FOLDER / "data" / f"names_{part}.tsv") for part in PARTS)
    assert (len(train), len(held)) == (456, 100)
    tags = ("B-organisation", "B-person", "B-place", "I-organisation", "I-person", "I-place", "O")
    assert train.label_names == held.label_names == tags
    assert len({text.lower() for text in (*train.texts, *held.texts)}) == len(train) + len(held)
    for one, other in zip(names_of(train), names_of(held), strict=True):
        assert min(len(one), len(other)) >= 30
        assert not one & other


def test_every_file_of_texts_says_where_it_is_from():
    said = (FOLDER / "data" / "SOURCE.md").read_text(encoding="utf-8")
    assert [path.name for path in (FOLDER / "data").glob("*.tsv") if path.name not in said] == []
