"""Tiny tokenizers of every kind that encoders of the BERT family have, made without a network."""

import json
import tempfile
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

TEXTS = [
    "Anna lives in Berlin, near Paris.",
    "Zoë naïvely visits the café - 漢字 works 🙂",
    "anna lives in berlin near paris and london",
    "a warm and funny film, a dull plot; unbelievably long",
]
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
BYTES = pre_tokenizers.ByteLevel.alphabet()


def trained(model, trainer, special, texts=TEXTS, **parts):
    tokenizer = Tokenizer(model)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    tokenizer.train_from_iterator(texts, trainer(special_tokens=special, show_progress=False))
    return tokenizer


def wordpiece(**settings):
    """Lower-cases and strips accents."""
    tokenizer = trained(
        models.WordPiece(unk_token="[UNK]"),
        lambda **own: trainers.WordPieceTrainer(vocab_size=220, **own),
        BERT,
        normalizer=normalizers.BertNormalizer(lowercase=True),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return tokenizer, {"tokenizer_class": "BertTokenizer", "do_lower_case": True, **settings}


def byte_level(prefix):
    """RoBERTa's, with or without a blank before the first word."""
    tokenizer = trained(
        models.BPE(),
        lambda **own: trainers.BpeTrainer(vocab_size=420, initial_alphabet=BYTES, **own),
        ROBERTA,
        [*TEXTS, *(f" {text}" for text in TEXTS)],
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=prefix),
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=prefix
    )
    return tokenizer, {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": prefix}


def unigram(kind):
    """Sentencepiece's: a mark for each blank, and one before the text."""
    tokenizer = trained(
        models.Unigram(),
        lambda **own: trainers.UnigramTrainer(vocab_size=160, unk_token="<unk>", **own),
        ROBERTA,
        pre_tokenizer=pre_tokenizers.Metaspace(),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return tokenizer, {"tokenizer_class": f"{kind}Tokenizer"}


def plain(special):
    """Byte level after NFKC, the blank kept in a token's span; some characters vanish."""
    tokenizer = trained(
        models.BPE(unk_token="[UNK]"),
        lambda **own: trainers.BpeTrainer(vocab_size=400, initial_alphabet=BYTES, **own),
        BERT,
        normalizer=normalizers.Sequence(
            [normalizers.NFKC(), normalizers.Replace("\u200b", ""), normalizers.Replace("\0", "")]
        ),
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False),
    )
    if special:
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast"}


ZOO = {
    "wordpiece": wordpiece,
    "padding on the left": lambda: wordpiece(padding_side="left"),
    "cut on the left": lambda: wordpiece(truncation_side="left"),
    "special tokens are text": lambda: wordpiece(split_special_tokens=True),
    "byte level": lambda: byte_level(False),
    "byte level, prefix": lambda: byte_level(True),
    "unigram": lambda: unigram("XLMRoberta"),
    "camembert": lambda: unigram("Camembert"),
    "plain": lambda: plain(True),
    "nothing special": lambda: plain(False),
}
"""Makers by name."""


@cache
def tokenizer_of(name):
    """As transformers loads it from a folder."""
    tokenizer, settings = ZOO[name]()
    special = BERT if "[PAD]" in tokenizer.get_vocab() else ROBERTA
    names = (
        ("pad", "unk", "cls", "sep", "mask") if special is BERT else ("bos", "pad", "eos", "unk")
    )
    settings |= {f"{kind}_token": token for kind, token in zip(names, special, strict=False)}
    if special is ROBERTA:
        settings |= {"cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(str(Path(folder) / "tokenizer.json"))
        text = json.dumps({**settings, "model_max_length": 64})
        (Path(folder) / "tokenizer_config.json").write_text(text, encoding="utf-8")
        return AutoTokenizer.from_pretrained(folder)
