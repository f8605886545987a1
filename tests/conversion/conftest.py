import random
from importlib import import_module

import pytest
import torch
from conversion_words import BAD, GOOD, OTHER
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast
from typer.testing import CliRunner

from thex_hf.cli.main import commands
from thex_hf.conversion import ConversionOptions, FitOptions, TheXOptions
from thex_hf.errors import ConversionError

torch.set_num_threads(1)

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory):
    """A tiny random BERT classifier with its tokenizer."""
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(SPECIAL + GOOD + BAD + OTHER))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=32,
        initializer_range=0.2,
        id2label={0: "NEGATIVE", 1: "POSITIVE"},
        label2id={"NEGATIVE": 0, "POSITIVE": 1},
    )
    model = BertForSequenceClassification(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder / "model"


def write_rows(path, count, seed):
    draw = random.Random(seed)
    lines = ["label\ttext"]
    for _ in range(count):
        label = draw.randrange(2)
        words = [draw.choice(OTHER) for _ in range(draw.randrange(1, 6))]
        words.insert(draw.randrange(len(words) + 1), draw.choice(GOOD if label else BAD))
        lines.append(f"{label}\t{' '.join(words)}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def data_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return write_rows(folder / "train.tsv", 400, 1), write_rows(folder / "dev.tsv", 100, 2)


@pytest.fixture
def quick():
    """Options that teach the toy model its task and convert it in a few seconds."""
    slow = FitOptions(epochs=2.0, learning_rate=1e-3, batch_size=32)
    return ConversionOptions(
        fine_tuning=FitOptions(epochs=6.0, learning_rate=5e-3, batch_size=32),
        the_x=TheXOptions(
            bounding=slow, relu=slow, softmax=slow, norms=slow, layer_wise=slow, end_to_end=slow
        ),
    )


@pytest.fixture
def fitted_only(quick):
    """Options that train nothing: replacements are fitted by least squares."""
    none = FitOptions(epochs=0.0)
    stages = TheXOptions(
        bounding=none, relu=none, softmax=none, norms=none, layer_wise=none, end_to_end=none
    )
    return ConversionOptions(the_x=stages)


@pytest.fixture
def asked(bert_folder, data_files, tmp_path, monkeypatch):
    """Runs ``thex-hf convert`` up to where it would begin: its result, and what it would do."""
    seen = {}

    def fake(source, output, **rest):
        seen.update(rest)
        raise ConversionError("stop here")

    monkeypatch.setattr(import_module("thex_hf.conversion.convert"), "convert", fake)
    common = ["convert", str(bert_folder), str(tmp_path / "out")]
    common += ["--train", str(data_files[0]), "--dev", str(data_files[1])]

    def ask(*flags):
        seen.clear()
        return CliRunner().invoke(commands, [*common, *flags]), dict(seen)

    return ask
