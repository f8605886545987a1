"""The encoder of a THE-X BERT, and what all its models share, as Hugging Face models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from thex_hf.errors import ConversionError, InputError
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.converter import converted
from thex_hf.modeling.embeddings import Embeddings
from thex_hf.modeling.guards import check_reciprocal, refuse_client_half, refuse_pickle
from thex_hf.modeling.hub import HubMixin
from thex_hf.modeling.layers import (
    AffineNorm,
    LayerTrace,
    PowerAttention,
    Quadratic,
    ThexBertLayer,
)


class ThexBertPreTrainedModel(HubMixin, PreTrainedModel):  # type: ignore[misc]
    """Loading, saving and initialisation shared by the THE-X BERT models."""

    config_class = ThexBertConfig
    base_model_prefix = "thex_bert"
    supports_gradient_checkpointing = False

    def _init_weights(self, module: nn.Module) -> None:
        """Give a fresh module its starting values."""
        with torch.no_grad():
            if isinstance(module, nn.Linear | nn.Embedding):
                module.weight.normal_(0.0, self.config.initializer_range)
            if isinstance(module, nn.LayerNorm | AffineNorm):
                module.weight.fill_(1.0)
            if isinstance(module, PowerAttention | Quadratic):
                module.reset_parameters()
            if getattr(module, "bias", None) is not None:
                module.bias.zero_()  # type: ignore[operator]

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Load a THE-X checkpoint; weights come from safetensors only.

        Args:
            pretrained_model_name_or_path: folder or Hub name.
            *args: as in Hugging Face.
            **kwargs: as in Hugging Face. With ``convert=True`` a classifier of the BERT family is
                converted first, and ``kwargs`` are those of
                :func:`thex_hf.conversion.pretrained.convert_pretrained`: ``train``, ``dev``,
                ``form``, ``output``, ... The result is kept and found again.

        Raises:
            ConversionError: it is another kind of checkpoint (a plain BERT, say), or
                its weights are pickled.
        """
        if kwargs.pop("convert", False):
            task = "tokens" if cls.__name__.endswith("TokenClassification") else "sequence"
            folder = converted(pretrained_model_name_or_path, task, kwargs)
            return super().from_pretrained(folder, *args, use_safetensors=True)
        if kwargs.setdefault("use_safetensors", True) is not True:
            raise ConversionError(
                "thex_hf reads safetensors only, never pickled weights: leave out "
                "use_safetensors=False."
            )
        if pretrained_model_name_or_path is not None:
            refuse_pickle(Path(pretrained_model_name_or_path) / kwargs.get("subfolder", ""))
        return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)


class ThexBertModel(ThexBertPreTrainedModel):
    """The encoder: embeddings and layers, no pooler."""

    def __init__(self, config: ThexBertConfig) -> None:
        super().__init__(config)
        refuse_client_half(config)
        check_reciprocal(config)
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(ThexBertLayer(config) for _ in range(config.num_hidden_layers))
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the word embeddings."""
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the word embeddings."""
        self.embeddings.word_embeddings = value

    def run_layers(self, stream: Tensor, mask: Tensor | None) -> list[LayerTrace]:
        """Run the layers on an embedded input and keep what happens inside them.

        Args:
            stream: shape ``(batch, seq, d)``.
            mask: zeros and ones, shape ``(batch, seq)``; None for all ones.
        """
        if mask is None:
            mask = stream.new_ones(stream.shape[:2])
        traces: list[LayerTrace] = []
        for layer in self.layers:
            stream, trace = layer(stream, mask.to(stream.dtype))
            traces.append(trace)
        return traces

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **_: Any,
    ) -> BaseModelOutput | tuple[Any, ...]:
        """Encode ids, or an input that is embedded already.

        Args:
            input_ids: shape ``(batch, seq)``.
            attention_mask: zeros and ones, shape ``(batch, seq)``.
            token_type_ids: shape ``(batch, seq)``.
            inputs_embeds: shape ``(batch, seq, d)``: what the embedding block returns,
                positions, segments and layer norm included (unlike in BERT).
            output_hidden_states: also return the stream before and after each layer.
            return_dict: False for a tuple.

        Raises:
            InputError: not exactly one of ``input_ids`` and ``inputs_embeds`` is given, or more
                tokens than the model has positions for.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise InputError("give exactly one of input_ids and inputs_embeds.")
        if inputs_embeds is None:
            inputs_embeds = self.embeddings(input_ids, token_type_ids, attention_mask)
        traces = self.run_layers(inputs_embeds, attention_mask)
        wanted = output_hidden_states
        if wanted is None:
            wanted = self.config.output_hidden_states
        last = traces[-1].layer_norm if traces else inputs_embeds
        states = (inputs_embeds, *(t.layer_norm for t in traces)) if wanted else None
        output = BaseModelOutput(last_hidden_state=last, hidden_states=states)
        return output.to_tuple() if return_dict is False else output
