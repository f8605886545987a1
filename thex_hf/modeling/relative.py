"""What a model adds to attention scores by how far apart two tokens are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.weights import distance_buckets


class RelativeScores(nn.Module):
    """``b[h, bucket(j - i)]``, added to the score of query ``i`` and key ``j`` in every layer.

    MPNet has it (Song et al. 2020). Places are public, so it is a constant of the server.
    """

    def __init__(self, config: ThexBertConfig) -> None:
        super().__init__()
        self.buckets = config.relative_attention_num_buckets or 0
        self.table = nn.Embedding(self.buckets, config.num_attention_heads)

    def forward(self, tokens: int) -> Tensor:
        """For texts of that padded length ``(heads, tokens, tokens)``, by query and key."""
        places = np.arange(tokens)
        buckets = distance_buckets(places[None, :] - places[:, None], self.buckets)
        numbers: Tensor = self.table(torch.tensor(buckets, device=self.table.weight.device))
        return numbers.permute(2, 0, 1)
