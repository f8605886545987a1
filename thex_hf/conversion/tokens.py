"""Texts to tokens for one source, within what its embeddings have rows for."""

from __future__ import annotations

from dataclasses import replace

import torch

from thex_hf.conversion.batches import Encoded, encode
from thex_hf.conversion.data import LabelledTexts
from thex_hf.conversion.sources import Source, family_of
from thex_hf.errors import ConversionError
from thex_hf.modeling import ThexBertConfig

MULTIPLE = 4
"""Batches are padded to a multiple of it, which must not pass the last position either."""


def positions_of(source: Source) -> int:
    """How many tokens a source has positions for."""
    config = source.model.config
    if isinstance(config, ThexBertConfig):
        return int(config.max_position_embeddings)
    return int(config.max_position_embeddings - family_of(config).position_offset)


def tokenise(source: Source, data: LabelledTexts, max_length: int) -> Encoded:
    """Tokenise texts with a source's tokenizer.

    A model with one kind of segment is given zeros for segments whatever its tokenizer says, as
    the converted model gives itself.

    Args:
        source: tokenizer and model.
        data: the texts.
        max_length: where they are cut, in tokens, if the model has so many positions.

    Raises:
        ConversionError: the model has too few positions for any text, or no embedding for a token
            or a segment that the tokenizer gives.
    """
    encoded = encode(source.tokenizer, data, _length(source, data, max_length))
    config = source.model.config
    kinds = int(getattr(config, "type_vocab_size", 1))
    if kinds == 1:
        none = tuple(torch.zeros_like(one) for one in encoded.segments)
        encoded = replace(encoded, segments=none)
    for what, parts, rows in (
        ("tokens", encoded.ids, config.vocab_size),
        ("segments", encoded.segments, kinds),
    ):
        largest = max((int(part.max()) for part in parts if len(part)), default=0)
        if largest >= rows:
            raise ConversionError(
                f"the tokenizer gives {what} up to number {largest} and the model has embeddings "
                f"for 0 to {rows - 1}: they do not belong together."
            )
    return encoded


def _length(source: Source, data: LabelledTexts, max_length: int) -> int:
    """Where texts are cut.

    Raises:
        ConversionError: nothing of a text would be left.
    """
    there = positions_of(source)
    if there < max_length:
        there -= there % MULTIPLE
    length = min(max_length, there)
    special = int(source.tokenizer.num_special_tokens_to_add(pair=data.pairs is not None))
    least = special + (1 if data.pairs is None else 2)
    if length < least:
        raise ConversionError(
            f"a text needs at least {least} tokens, {special} special ones included, and only "
            f"{length} are allowed: max_length is {max_length}, and the model has positions for "
            f"{positions_of(source)}."
        )
    return length
