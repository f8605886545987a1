"""Build the BERT-tiny from which training starts.

Word embeddings: the first 128 principal components of those of a MiniLM with 384
features, scaled to one standard deviation. Encoder, pooler and classifier: those of a
published BERT-tiny for SST-2, whose embedding block was not published.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

LABELS = ("NEGATIVE", "POSITIVE")


def principal_components(table: Tensor, size: int, deviation: float) -> Tensor:
    """Project rows ``(n, features)`` on their first components, ``(n, size)``."""
    centred = table - table.mean(0)
    _, directions = torch.linalg.eigh(centred.T @ centred)
    projected = centred @ directions.flip(1)[:, :size]
    return projected * (deviation / projected.std())


def build_start(
    embeddings: Path, encoder: Path, seed: int, dropout: float, deviation: float = 0.05
) -> tuple[BertForSequenceClassification, BertTokenizerFast]:
    """Put the starting model together.

    Args:
        embeddings: folder of the MiniLM (``model.fp16.safetensors`` and tokenizer files).
        encoder: folder of the BERT-tiny encoder (``encoder.safetensors``, ``config.json``).
        seed: of the fresh position and segment embeddings.
        dropout: share of features and attention weights dropped in training.
        deviation: standard deviation of the word embeddings.
    """
    torch.manual_seed(seed)
    config = BertConfig.from_pretrained(encoder)
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {name: i for i, name in enumerate(LABELS)}
    model = BertForSequenceClassification(config)
    state = load_file(encoder / "encoder.safetensors")
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or any(".embeddings." not in name for name in missing):
        raise ValueError(f"encoder does not fit: {unexpected=} {missing=}")
    table = load_file(embeddings / "model.fp16.safetensors")
    name = next(key for key in table if key.endswith("word_embeddings.weight"))
    words = principal_components(table[name].float(), config.hidden_size, deviation)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight.copy_(words)
    return model, BertTokenizerFast.from_pretrained(embeddings)
