"""The torch modules of a THE-X BERT: embeddings, attention and activations, a layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from thex_hf.approximations.activation import QUADRATIC
from thex_hf.approximations.softmax import load_reciprocal
from thex_hf.errors import InputError
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.norms import make_norm


@dataclass(frozen=True)
class LayerTrace:
    """The values inside one layer that training and calibration look at.

    ``scores`` and the ``weights`` made of them have shape ``(batch, heads, q, k)``, ``ffn_pre``
    ``(batch, seq, m)``, all others ``(batch, seq, d)``. ``attention_out`` and ``layer_out`` are
    the inputs of the two norms, ``attention_norm`` and ``layer_norm`` their outputs.
    """

    stream_in: Tensor
    value: Tensor
    scores: Tensor
    weights: Tensor
    attention_out: Tensor
    attention_norm: Tensor
    ffn_pre: Tensor
    layer_out: Tensor
    layer_norm: Tensor


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


def check_mask(mask: Tensor | None, stream: Tensor) -> Tensor:
    """The attention mask as numbers of the stream's type; all ones if there is none.

    Args:
        mask: zeros and ones, ``(batch, seq)``.
        stream: ``(batch, seq, d)``.

    Raises:
        InputError: another shape.
    """
    if mask is None:
        return stream.new_ones(stream.shape[:2])
    if mask.shape != stream.shape[:2]:
        raise InputError(
            f"attention_mask should have shape {tuple(stream.shape[:2])}, one zero or one for each "
            f"token; got {tuple(mask.shape)}."
        )
    return mask.to(stream.dtype)


class SoftmaxEstimate(nn.Module):
    """``m c(x) T(sum m c(x))`` with ``c(x) = ReLU((x/2+1)^3)`` (THE-X, equation 4).

    The reciprocal network ``T`` is the one shipped in :mod:`thex_hf.approximations` and takes
    no part in training: its weights are constants here, neither parameters nor
    buffers, so that no checkpoint can hold another one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._cache: dict[tuple[torch.device, torch.dtype], tuple[Tensor, ...]] = {}

    def _weights(self, like: Tensor) -> tuple[Tensor, ...]:
        key = (like.device, like.dtype)
        if key not in self._cache:
            net = load_reciprocal()
            arrays = (net.w1, net.b1, net.w2, net.b2, net.w3, net.b3)
            self._cache[key] = tuple(
                torch.tensor(a, device=like.device, dtype=like.dtype) for a in arrays
            )
        return self._cache[key]

    def reciprocal(self, sums: Tensor) -> Tensor:
        """Evaluate T elementwise."""
        w1, b1, w2, b2, w3, b3 = self._weights(sums)
        first = torch.relu(sums.unsqueeze(-1) * w1 + b1)
        return torch.relu(first @ w2.T + b2) @ w3 + b3

    def forward(self, scores: Tensor, mask: Tensor) -> Tensor:
        """Map scores ``(batch, heads, q, k)`` and a 0/1 mask ``(batch, 1, 1, k)`` to weights."""
        weights = torch.relu((0.5 * scores + 1.0) ** 3) * mask
        return weights * self.reciprocal(weights.sum(-1)).unsqueeze(-1)


class ExactSoftmax(nn.Module):
    """Softmax over the unmasked keys."""

    def forward(self, scores: Tensor, mask: Tensor) -> Tensor:
        """Map scores ``(batch, heads, q, k)`` and a 0/1 mask ``(batch, 1, 1, k)`` to weights."""
        hidden = scores.masked_fill(mask == 0, torch.finfo(scores.dtype).min)
        return torch.softmax(hidden, dim=-1) * mask


class PowerAttention(nn.Module):
    """``(s + c)^p exp(r) m / n`` with learned ``c``, ``r`` a head and ``n`` true keys.

    No comparison and no division by anything encrypted (after BPMax of Powerformer, ACL 2025,
    and MPCFormer's 2Quad). ``p`` is even, so weights are not negative; they do not sum to one.
    The scale is kept as its logarithm: it stays positive and float16 can hold it.
    """

    def __init__(self, heads: int, power: int) -> None:
        super().__init__()
        self.power = power
        self.shift = nn.Parameter(torch.empty(heads))
        self.log_scale = nn.Parameter(torch.empty(heads))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start with the shift that follows softmax near zero, ``exp(s) ~ (1 + s/p)^p``."""
        self.shift.fill_(float(self.power))
        self.log_scale.fill_(-self.power * math.log(self.power))

    def forward(self, scores: Tensor, mask: Tensor) -> Tensor:
        """Map scores ``(batch, heads, q, k)`` and a 0/1 mask ``(batch, 1, 1, k)`` to weights."""
        raised = (scores + self.shift[:, None, None]) ** self.power
        weights: Tensor = raised * (
            self.log_scale.exp()[:, None, None] * mask / mask.sum(-1, keepdim=True)
        )
        return weights


class Quadratic(nn.Module):
    """``a x^2 + b x + c`` with learned coefficients, one set a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.coefficients = nn.Parameter(torch.empty(3))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start with MPCFormer's stand-in for GELU."""
        self.coefficients.copy_(torch.tensor(QUADRATIC))

    def forward(self, values: Tensor) -> Tensor:
        """Map any shape to the same shape."""
        a, b, c = self.coefficients
        result: Tensor = (a * values + b) * values + c
        return result


class Attention(nn.Module):
    """Multi-head self-attention without key bias and value bias."""

    def __init__(self, config: ThexBertConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.heads = config.num_attention_heads
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size, bias=False)
        self.value = nn.Linear(size, size, bias=False)
        self.output = nn.Linear(size, size)
        self.softmax = make_softmax(config)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, -1).transpose(1, 2)

    def forward(
        self, x: Tensor, mask: Tensor, between: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the projected context ``(batch, seq, d)``, scores, weights and values.

        ``between`` ``(heads, seq, seq)`` is added to the scores.
        """
        value = self.value(x)
        query, key = self._split(self.query(x)), self._split(self.key(x))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if between is not None:
            scores = scores + between
        weights = self.dropout(self.softmax(scores, mask[:, None, None, :]))
        context = (weights @ self._split(value)).transpose(1, 2).flatten(-2)
        return self.output(context), scores, weights, value


class ThexBertLayer(GradientCheckpointingLayer):  # type: ignore[misc]
    """One encoder layer: attention, norm, feed-forward, norm."""

    def __init__(self, config: ThexBertConfig, number: int = 0) -> None:
        super().__init__()
        size = config.hidden_size
        first, second = config.degrees[number]
        self.attention = Attention(config)
        self.attention_norm = make_norm(config, first)
        self.up = nn.Linear(size, config.intermediate_size)
        self.activation = make_activation(config)
        self.down = nn.Linear(config.intermediate_size, size)
        self.output_norm = make_norm(config, second)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.clears_padding = config.norm == "chebyshev"  # no interval holds its variances

    def forward(
        self, x: Tensor, mask: Tensor, between: Tensor | None = None
    ) -> tuple[Tensor, LayerTrace]:
        """Map the stream ``(batch, seq, d)`` and the 0/1 mask ``(batch, seq)`` to the next one.

        ``between`` is what a model adds to the scores, see
        :class:`thex_hf.modeling.relative.RelativeScores`.
        """
        attended, scores, weights, value = self.attention(x, mask, between)
        attention_out = x + self.dropout(attended)
        middle = self.attention_norm(attention_out)
        ffn_pre = self.up(middle)
        layer_out = middle + self.dropout(self.down(self.activation(ffn_pre)))
        out = self.output_norm(layer_out)
        if self.clears_padding:
            out = out * mask.unsqueeze(-1)
        inside = (scores, weights, attention_out, middle, ffn_pre, layer_out)
        return out, LayerTrace(x, value, *inside, out)


def make_softmax(config: ThexBertConfig) -> nn.Module:
    """Build the softmax, or what stands for it, that the configuration names."""
    if config.softmax == "power":
        return PowerAttention(config.num_attention_heads, config.attention_power)
    return SoftmaxEstimate() if config.softmax == "estimate" else ExactSoftmax()


def make_activation(config: ThexBertConfig) -> nn.Module:
    """Build the feed-forward activation that the configuration names."""
    if config.activation == "quadratic":
        return Quadratic()
    return nn.ReLU() if config.activation == "relu" else nn.GELU()
