"""The embedding block of a THE-X BERT, which the client runs in clear."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thex_hf.errors import InputError
from thex_hf.modeling.arguments import check_mask
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig


class Embeddings(nn.Module):
    """Word + position + segment embeddings, their exact layer norm, perhaps a projection.

    With ``config.embedding_size`` (ELECTRA) the tables are that wide and the linear map
    ``embeddings_project`` brings the norm's output to the hidden size.
    """

    def __init__(self, config: ThexBertConfig) -> None:
        super().__init__()
        size = config.embedding_size or config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, size)
        self.norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.embeddings_project: nn.Linear | None = None
        if config.embedding_size is not None:
            self.embeddings_project = nn.Linear(size, config.hidden_size)

    def forward(
        self,
        input_ids: Tensor,
        token_type_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """Map ids ``(batch, seq)`` to vectors ``(batch, seq, d)``.

        A model with one kind of segment takes no notice of ``token_type_ids``. Positions count
        from the first true token, so padding on the left moves nothing, unless ``position_ids``
        ``(batch, seq)`` says otherwise.

        Raises:
            InputError: more tokens than positions, or a mask of another shape.
        """
        if token_type_ids is None or self.token_type_embeddings.num_embeddings == 1:
            token_type_ids = torch.zeros_like(input_ids)
        if attention_mask is not None:
            check_mask(attention_mask, input_ids)
        if position_ids is None:
            self.check_length(input_ids, attention_mask)
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)
            if attention_mask is not None:
                last = self.position_embeddings.num_embeddings - 1
                first = first_true(attention_mask).unsqueeze(-1)
                position_ids = (position_ids - first).clamp(0, last)
        total = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        out: Tensor = self.dropout(self.norm(total + self.position_embeddings(position_ids)))
        if self.embeddings_project is not None:
            out = self.embeddings_project(out)
        return out

    def check_length(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> None:
        """Refuse texts with more tokens than there are positions; padding does not count.

        Raises:
            InputError: says how many there are.
        """
        most, count = self.position_embeddings.num_embeddings, input_ids.shape[1]
        if count > most and attention_mask is not None:
            after = first_true(attention_mask.flip(-1))
            count = int((count - after - first_true(attention_mask)).max())
        if count > most:
            raise InputError(f"the text has {count} tokens, the model has positions for {most}")


def first_true(mask: Tensor) -> Tensor:
    """Place of the first true token of each row of a mask ``(batch, seq)``; 0 if there is none."""
    return (mask != 0).long().argmax(-1)
