"""Check evaluate's evaluator on the versions that are installed: run it once in each environment.

``python benchmarks/evaluator_versions.py [--fhe execute]`` prints one line with the versions and
what the evaluator found for a pipeline, a folder, a model with its tokenizer, and a pipeline that
tags words. It fails if any is not as expected. Takes about half a minute.
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from typing import Any

import torch
from datasets import Dataset
from evaluate import evaluator
from transformers import AutoTokenizer, pipeline

import thex_hf.evaluation
from thex_hf.modeling import (
    ThexBertConfig,
    ThexBertForSequenceClassification,
    ThexBertForTokenClassification,
)

PACKAGES = ("transformers", "evaluate", "datasets", "torch", "numpy", "scikit-learn")
ROWS = {"text": ["a warm and funny film", "a dull mess"], "label": [1, 0]}
TAGGED = {"tokens": [["Ann", "sat", "in", "Rome"]], "ner_tags": [["O", "O", "O", "O"]]}


def tagger(tokenizer: Any) -> Any:
    """A pipeline of a small random model that tags words."""
    torch.manual_seed(0)
    config = ThexBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=128,
        id2label={0: "O", 1: "B-PER", 2: "I-PER"},
    )
    model = ThexBertForTokenClassification(config).eval()
    return pipeline("thex-token-classification", model=model, tokenizer=tokenizer, device=-1)


def main() -> None:
    """Run all and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fhe", default="simulate", choices=("execute", "simulate", "disable"))
    fhe = parser.parse_args().fhe
    folder = thex_hf.bundled_checkpoint("the-x")
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    scorer = evaluator("thex-text-classification")
    data = Dataset.from_dict(ROWS)
    model = ThexBertForSequenceClassification.from_pretrained(folder)
    pipe = pipeline("thex-text-classification", model=folder, device=-1)
    found = {
        "pipeline": scorer.compute(pipe, data, metric="accuracy", fhe=fhe),
        "folder": scorer.compute(folder, data, metric="mrpc", fhe="disable"),
        "model": scorer.compute(model, data, tokenizer=tokenizer, fhe="disable"),
    }
    tags = evaluator("thex-token-classification").compute(
        tagger(tokenizer), Dataset.from_dict(TAGGED), fhe=fhe
    )
    assert all(one["accuracy"] == 1.0 for one in found.values()), found
    for one in (found["pipeline"], tags):
        assert one["thex"].get("agreement", 1.0) == 1.0, one
    print(
        ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        *(f"{name}: accuracy {one['accuracy']}" for name, one in found.items()),
        f"tags: {tags['overall_accuracy']}",
        f"{fhe}: largest logit difference "
        f"{found['pipeline']['thex'].get('max_logit_difference', 0.0):.1e}",
        sep="; ",
    )


if __name__ == "__main__":
    main()
