r"""Distil a BERT-tiny to start from, out of a sentence encoder's embeddings.

A BERT-tiny with its published word embeddings is not to be had everywhere, and one without
pre-training learns nothing from a few thousand sentence pairs. This teaches one what two texts
have to do with each other: for a pair in one input, the cosine between the sentence encoder's
embeddings of the two, read off ``[CLS]``; for one text alone, its embedding, and for each of its
tokens the encoder's last hidden state. No label is used::

    python training/distil_base.py --sentence-encoder MINILM_L3 --encoder BERT_TINY \
        --texts data/*/train.tsv.gz --output bert-tiny-base
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from start_model import build_start
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from transformers import BertConfig, BertForSequenceClassification, BertModel

TEXT_COLUMNS = ("text", "sentence", "tokens", "text_a", "text_b")
LENGTH = 64


def read(paths: list[Path]) -> tuple[list[str], list[tuple[int, int]]]:
    """Unique texts of all files, and which two of them make a pair."""
    places: dict[str, int] = {}
    pairs: list[tuple[int, int]] = []
    for path in paths:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                found = [row[name] for name in TEXT_COLUMNS if row.get(name)]
                numbers = [places.setdefault(text, len(places)) for text in found[:2]]
                if len(numbers) == 2:
                    pairs.append((numbers[0], numbers[1]))
    return list(places), pairs


@torch.no_grad()
def embed(folder: Path, ids: list[list[int]]) -> tuple[Tensor, list[Tensor]]:
    """Mean-pooled, normalised embeddings of all texts, ``(n, features)``, and those of tokens.

    The latter are one tensor a text, ``(tokens, features)`` in half precision.
    """
    model = BertModel(BertConfig.from_pretrained(folder), add_pooling_layer=False).eval()
    state = load_file(folder / "model.fp16.safetensors")
    own = {name: value.float() for name, value in state.items() if not name.startswith("pooler.")}
    model.load_state_dict(own)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    out = torch.empty(len(ids), model.config.hidden_size)
    tokens = [torch.empty(0)] * len(ids)
    for start in tqdm(range(0, len(order), 64), desc="embeddings"):
        rows = order[start : start + 64]
        batch, mask = pad([ids[i] for i in rows])
        hidden = model(input_ids=batch, attention_mask=mask).last_hidden_state
        pooled = (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        out[torch.tensor(rows)] = functional.normalize(pooled, dim=-1)
        for place, row in enumerate(rows):
            tokens[row] = functional.normalize(hidden[place, : len(ids[row])], dim=-1).half()
    return out, tokens


def pad(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Ids and mask, ``(batch, longest)``."""
    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
    mask = torch.zeros_like(ids)
    for place, row in enumerate(rows):
        mask[place, : len(row)] = 1
    return ids, mask


class Deck:
    """Draws pairs: given ones, near ones, one text against a damaged copy, and any two."""

    def __init__(self, vectors: Tensor, pairs: list[tuple[int, int]], seed: int) -> None:
        self.vectors, self.pairs = vectors, torch.tensor(pairs)
        self.random = torch.Generator().manual_seed(seed)

    def draw(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Two columns of text numbers and their cosines."""
        third = count // 3
        given = self.pairs[self._below(len(self.pairs), count - third)]
        left = self._below(len(self.vectors), third)
        pool = self._below(len(self.vectors), 4096)
        near = (self.vectors[left] @ self.vectors[pool].T).topk(8, dim=-1).indices
        right = pool[near[torch.arange(third), self._below(8, third)]]
        first, second = torch.cat([given[:, 0], left]), torch.cat([given[:, 1], right])
        swap = torch.rand(count, generator=self.random) < 0.5
        first, second = first.where(swap, second), second.where(swap, first)
        return first, second, (self.vectors[first] * self.vectors[second]).sum(-1)

    def _below(self, end: int, count: int) -> Tensor:
        return torch.randint(end, (count,), generator=self.random)


def join(first: list[int], second: list[int], room: int = LENGTH) -> tuple[list[int], int]:
    """Both texts as one input, the longer cut first; and where the second begins."""
    a, b = first[1:-1], second[1:-1]
    while len(a) + len(b) > room - 3:
        (a if len(a) > len(b) else b).pop()
    return [first[0], *a, first[-1], *b, first[-1]], len(a) + 2


def main() -> None:
    """Read, embed, train, save."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("--sentence-encoder", "--encoder", "--output"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--start", type=Path, help="a base made before, to go on from")
    parser.add_argument("--texts", type=Path, nargs="+", required=True)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = build_start(args.sentence_encoder, args.encoder, args.seed, 0.0)
    if args.start:
        model = BertForSequenceClassification.from_pretrained(args.start)
    texts, pairs = read(args.texts)
    ids = tokenizer(texts, truncation=True, max_length=LENGTH)["input_ids"]
    print(json.dumps({"texts": len(texts), "pairs": len(pairs), "tokens": sum(map(len, ids))}))
    vectors, token_vectors = embed(args.sentence_encoder, ids)
    bert, size = model.bert, vectors.shape[1]
    bert.pooler = None
    sizes = {"text": size, "token": size, "pair": 1}
    heads = nn.ModuleDict({name: nn.Linear(128, out) for name, out in sizes.items()})
    deck = Deck(vectors, pairs, args.seed)
    trained = [*bert.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=args.learning_rate, weight_decay=0.01, fused=True)
    begin, step, seen, means = time.time(), 0, 0, torch.zeros(2)
    bar = tqdm(total=round(args.minutes, 1), desc="distilling, minutes")
    while (done := (time.time() - begin) / 60 / args.minutes) < 1:
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 500)
            group["lr"] = args.learning_rate * warm * (1 - done)
        bert.train()
        if step % 4 == 3:
            rows = torch.randint(len(ids), (args.batch_size,), generator=deck.random)
            batch, mask = pad([ids[i] for i in rows.tolist()])
            hidden = bert(input_ids=batch, attention_mask=mask).last_hidden_state
            guess = functional.normalize(heads["text"](hidden[:, 0]), dim=-1)
            loss = 1 - (guess * vectors[rows]).sum(-1).mean()
            guess = functional.normalize(heads["token"](hidden[mask == 1]), dim=-1)
            wanted = torch.cat([token_vectors[row] for row in rows.tolist()]).float()
            loss = loss + 1 - (guess * wanted).sum(-1).mean()
        else:
            left, right, target = deck.draw(args.batch_size)
            both = zip(left.tolist(), right.tolist(), strict=True)
            joined = [join(ids[a], ids[b]) for a, b in both]
            batch, mask = pad([row for row, _ in joined])
            starts = torch.tensor([at for _, at in joined]).unsqueeze(1)
            kinds = (torch.arange(batch.shape[1]) >= starts).long() * mask
            out = bert(input_ids=batch, attention_mask=mask, token_type_ids=kinds)
            guess = heads["pair"](out.last_hidden_state[:, 0]).squeeze(-1)
            loss = 10 * functional.mse_loss(guess, target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        kind = int(step % 4 == 3)
        means[kind] += 0.01 * (float(loss.detach()) - means[kind])
        step, seen = step + 1, seen + int(mask.sum())
        if step % 500 == 0:
            found = {
                "step": step,
                "pair": round(float(means[0]), 4),
                "text": round(float(means[1]), 4),
            }
            print(
                json.dumps(
                    found | {"tokens": seen, "minutes": round((time.time() - begin) / 60, 1)}
                ),
                flush=True,
            )
        bar.n = round(done * args.minutes, 1)
        bar.refresh()
    config = bert.config
    config.num_labels = 2
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.1
    saved = BertForSequenceClassification(config)
    saved.bert.load_state_dict(bert.state_dict(), strict=False)
    with torch.no_grad():
        torch.nn.init.eye_(saved.bert.pooler.dense.weight)
    saved.save_pretrained(args.output)
    tokenizer.save_pretrained(args.output)


if __name__ == "__main__":
    main()
