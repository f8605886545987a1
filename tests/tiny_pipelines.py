"""Pipelines of tiny random models with the bundled tokenizer, changed as wished."""

import torch
from transformers import AutoTokenizer, pipeline

import thex_hf
from thex_hf.modeling import (
    ThexBertConfig,
    ThexBertForSequenceClassification,
    ThexBertForTokenClassification,
)

KINDS = {
    "text": ThexBertForSequenceClassification,
    "token": ThexBertForTokenClassification,
}


def open_tokens(**settings):
    return AutoTokenizer.from_pretrained(thex_hf.bundled_checkpoint(), **settings)


def make(task="text", tokenizer=None, **changes):
    torch.manual_seed(1)
    tokenizer = tokenizer or open_tokens()
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 128,
        "initializer_range": 0.3,
    }
    model = KINDS[task](ThexBertConfig(**{**sizes, **changes})).eval()
    return pipeline(f"thex-{task}-classification", model=model, tokenizer=tokenizer)
