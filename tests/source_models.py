"""Tiny random models of every supported architecture, with tokenizers, made without a network."""

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import PreTrainedTokenizerFast

SIZES = {
    "vocab_size": 24,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 20,
    "initializer_range": 0.2,
}
DISTIL = {
    "vocab_size": 24,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": 20,
    "initializer_range": 0.2,
}
ROBERTA = {**SIZES, "max_position_embeddings": 22, "type_vocab_size": 1, "pad_token_id": 1}

STEMS = {
    "bert": ("Bert", SIZES),
    "distilbert": ("DistilBert", DISTIL),
    "roberta": ("Roberta", ROBERTA),
    "xlm-roberta": ("XLMRoberta", ROBERTA),
    "camembert": ("Camembert", ROBERTA),
    "mpnet": ("MPNet", {k: v for k, v in ROBERTA.items() if k != "type_vocab_size"}),
    "electra": ("Electra", {**SIZES, "embedding_size": 16}),
    "electra-wide": ("Electra", {**SIZES, "embedding_size": 32}),
}
"""Class name stem and sizes; ``electra-wide`` has no projection."""

WORDS = ["good", "great", "fine", "bad", "poor", "dull", "a", "film", "the", "plot", "very"]


def make_source(kind, ending="ForSequenceClassification", **changes):
    """A random model in evaluation mode, no two of its vectors alike, biases included."""
    stem, sizes = STEMS[kind]
    torch.manual_seed(0)
    config = getattr(transformers, f"{stem}Config")(**{**sizes, "num_labels": 3, **changes})
    model = getattr(transformers, f"{stem}{ending}")(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                nn.init.normal_(parameter, mean=float("weight" in name), std=0.3)
    return model


def make_tokenizer(pad=0):
    """A word-level tokenizer whose padding has the id that the model expects."""
    special = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    special.insert(pad, "[PAD]")
    vocabulary = {word: number for number, word in enumerate(special + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    cls, sep = ("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])
    tokenizer.post_processor = processors.BertProcessing(sep, cls)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def save_source(folder, kind="bert", ending="ForSequenceClassification", **changes):
    """Save a random model and its tokenizer; returns the model."""
    model = make_source(kind, ending, **changes)
    model.save_pretrained(folder)
    make_tokenizer(model.config.pad_token_id).save_pretrained(folder)
    return model


def padded_batch(model):
    """Two texts of different length; rows 0 and 1 may be special, so ids start at 5."""
    pad = model.config.pad_token_id
    ids = torch.tensor([[2, 5, 11, 16, 9, 3, 7], [2, 7, 17, 3, pad, pad, pad]])
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    return ids, mask
