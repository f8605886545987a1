"""A stock pipeline on a THE-X model says that it encrypts nothing; nobody else does."""

import pytest
import torch
from source_models import make_tokenizer
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    TextClassificationPipeline,
    Trainer,
    TrainingArguments,
    pipeline,
)

from thex_hf.modeling import ThexBertForTokenClassification
from thex_hf.modeling.calibrate import calibrate_on


@pytest.fixture
def folder(make_model, batch, tmp_path):
    model = make_model(vocab_size=24)
    calibrate_on(model, [batch])
    model.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    return str(tmp_path)


def said(heard):
    return [line for line in heard if "nothing is encrypted" in line]


def test_a_folder_in_a_stock_pipeline_is_told_at_once(folder, heard):
    pipe = pipeline("text-classification", model=folder)
    assert "pipeline('thex-text-classification'" in said(heard)[0]
    pipe(["good film", "bad film"])
    assert len(said(heard)) == 1


@pytest.mark.parametrize("direct", [False, True])
def test_a_model_in_a_stock_pipeline_is_told_at_the_first_text(folder, heard, direct):
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    given = {"model": model, "tokenizer": make_tokenizer()}
    pipe = (
        TextClassificationPipeline(**given) if direct else pipeline("text-classification", **given)
    )
    pipe("good film")
    pipe("bad film")
    assert len(said(heard)) == 1


def test_a_tagger_is_told_its_own_task(make_model, tmp_path, heard):
    ThexBertForTokenClassification(make_model(vocab_size=24).config).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    pipeline("ner", model=str(tmp_path))("good film")
    (line,) = said(heard)
    assert "pipeline('thex-token-classification'" in line


def test_nobody_else_is_told(folder, heard, batch, tmp_path):
    for fhe in ("disable", "simulate"):
        pipe = pipeline("thex-text-classification", model=folder)
        pipe(["good film"], fhe=fhe, agreement=fhe == "simulate")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    model(**batch)
    calibrate_on(model, [batch])
    AutoModel.from_pretrained(folder)(**batch)
    rows = [{name: row[i] for name, row in batch.items()} | {"labels": i} for i in range(2)]
    arguments = TrainingArguments(
        str(tmp_path / "run"), max_steps=1, report_to=[], save_strategy="no", use_cpu=True
    )
    trainer = Trainer(model, arguments, train_dataset=rows, eval_dataset=rows)
    trainer.train()
    trainer.evaluate()
    assert not said(heard)
    assert torch.isfinite(model(**batch).logits).all()
