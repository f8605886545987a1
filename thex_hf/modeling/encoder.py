"""The encoder of a THE-X BERT, and what all its models share, as Hugging Face models.

``from_pretrained(..., convert=True)`` is part of it; the conversion lies above this package, so
:func:`set_converter` is told of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from thex_hf.errors import ConversionError, InputError, OptionError
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.guards import check_reciprocal, refuse_client_half, refuse_pickle
from thex_hf.modeling.hub import HubMixin
from thex_hf.modeling.layers import (
    Embeddings,
    LayerTrace,
    PowerAttention,
    Quadratic,
    ThexBertLayer,
    check_mask,
)
from thex_hf.modeling.norms import AffineNorm, ChebyshevNorm
from thex_hf.modeling.relative import RelativeScores
from thex_hf.tasks import TEXT, Task

EAGER = "eager"
Converter = Callable[..., str]
"""Takes source and settings, returns the folder of the converted model."""

_known: list[Converter] = []


class ThexBertPreTrainedModel(HubMixin, PreTrainedModel):  # type: ignore[misc]
    """Loading, saving and initialisation shared by the THE-X BERT models."""

    config_class = ThexBertConfig
    base_model_prefix = "thex_bert"
    supports_gradient_checkpointing = True

    def _init_weights(self, module: nn.Module) -> None:
        """Give a fresh module its starting values."""
        with torch.no_grad():
            if isinstance(module, nn.Linear | nn.Embedding):
                module.weight.normal_(0.0, self.config.initializer_range)
            if isinstance(module, nn.LayerNorm | AffineNorm):
                module.weight.fill_(1.0)
            if isinstance(module, PowerAttention | Quadratic):
                module.reset_parameters()
            if isinstance(module, ChebyshevNorm):
                module.reset_polynomial()
            if getattr(module, "bias", None) is not None:
                module.bias.zero_()  # type: ignore[operator]

    def _check_and_adjust_attn_implementation(
        self, attn_implementation: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Refuse attention kernels: they compute softmax, and these models have another function.

        Raises:
            OptionError: any but ``eager``.
        """
        if attn_implementation not in (None, EAGER):
            raise OptionError(
                f"attn_implementation should be {EAGER!r}, or be left out: THE-X models put other "
                f"functions in the place of softmax, which no kernel knows; got "
                f"{attn_implementation!r}."
            )
        return super()._check_and_adjust_attn_implementation(EAGER, *args, **kwargs)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Load a THE-X checkpoint; weights come from safetensors only.

        They are float32, whatever the file has, unless ``dtype`` names another type.

        Args:
            pretrained_model_name_or_path: folder or Hub name.
            *args: as in Hugging Face.
            **kwargs: as in Hugging Face. With ``convert=True`` a classifier of the BERT family is
                converted first, and ``kwargs`` are those of
                :func:`thex_hf.conversion.convert.convert_pretrained`: ``train``, ``dev``,
                ``form``, ``output``, ... The result is kept and found again.

        Raises:
            ConversionError: it is another kind of checkpoint (a plain BERT, say), or
                its weights are pickled.
        """
        if kwargs.pop("convert", False):
            task: Task = getattr(cls, "task", TEXT)  # an encoder is taken from a text classifier
            folder = converted(pretrained_model_name_or_path, task.source, kwargs)
            return cls.from_pretrained(folder, *args)
        if kwargs.setdefault("use_safetensors", True) is not True:
            raise ConversionError(
                "thex_hf reads safetensors only, never pickled weights: leave out "
                "use_safetensors=False."
            )
        if pretrained_model_name_or_path is not None:
            refuse_pickle(Path(pretrained_model_name_or_path) / kwargs.get("subfolder", ""))
        asked = kwargs.pop("torch_dtype", None)
        dtype = kwargs.pop("dtype", asked)
        kwargs["dtype"] = torch.float32 if dtype in (None, "auto") else dtype
        return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)


class ThexBertModel(ThexBertPreTrainedModel):
    """The encoder: embeddings and layers, no pooler."""

    def __init__(self, config: ThexBertConfig) -> None:
        super().__init__(config)
        refuse_client_half(config)
        check_reciprocal(config)
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(
            ThexBertLayer(config, number) for number in range(config.num_hidden_layers)
        )
        self.relative: RelativeScores | None = None
        if config.relative_attention_num_buckets:
            self.relative = RelativeScores(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the word embeddings."""
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the word embeddings."""
        self.embeddings.word_embeddings = value

    def between(self, stream: Tensor) -> Tensor | None:
        """What is added to the scores of every layer, ``(heads, seq, seq)``; None: nothing."""
        return None if self.relative is None else self.relative(stream.shape[1])

    def run_layers(self, stream: Tensor, mask: Tensor | None) -> list[LayerTrace]:
        """Run the layers on an embedded input and keep what happens inside them.

        Args:
            stream: shape ``(batch, seq, d)``.
            mask: zeros and ones, shape ``(batch, seq)``; None for all ones.
        """
        zeros_and_ones = check_mask(mask, stream)
        traces: list[LayerTrace] = []
        between = self.between(stream)
        for layer in self.layers:
            stream, trace = layer(stream, zeros_and_ones, between)
            traces.append(trace)
        return traces

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **others: Any,
    ) -> BaseModelOutput | tuple[Any, ...]:
        """Encode ids, or an input that is embedded already.

        Args:
            input_ids: shape ``(batch, seq)``.
            attention_mask: zeros and ones, shape ``(batch, seq)``.
            token_type_ids: shape ``(batch, seq)``; not used with ``inputs_embeds``.
            position_ids: shape ``(batch, seq)``; counted from 0 if None.
            inputs_embeds: shape ``(batch, seq, d)``: what the embedding block returns,
                positions, segments and layer norm included (unlike in BERT).
            output_attentions: also return each layer's attention weights
                ``(batch, heads, seq, seq)``; those of power attention do not sum to one.
            output_hidden_states: also return the stream before and after each layer.
            return_dict: False for a tuple.
            **others: of other models; only None and False are taken.

        Raises:
            InputError: not exactly one of ``input_ids`` and ``inputs_embeds`` is given, more
                tokens than the model has positions for, or a mask of another shape.
            OptionError: an argument that this model has no use for.
        """
        refuse_arguments(others)
        if (input_ids is None) == (inputs_embeds is None):
            raise InputError("give exactly one of input_ids and inputs_embeds.")
        if inputs_embeds is None:
            stream = self.embeddings(input_ids, token_type_ids, attention_mask, position_ids)
        else:
            refuse_arguments({"position_ids with inputs_embeds": position_ids})
            stream = inputs_embeds
        mask = check_mask(attention_mask, stream)
        streams, attentions = [stream], []
        between = self.between(stream)
        for layer in self.layers:
            stream, trace = layer(stream, mask, between)
            streams.append(stream)
            attentions.append(trace.weights)
            del trace  # or it would hold what gradient checkpointing means to drop
        config = self.config
        output = BaseModelOutput(
            last_hidden_state=stream,
            hidden_states=tuple(streams)
            if wanted(output_hidden_states, config, "output_hidden_states")
            else None,
            attentions=tuple(attentions)
            if wanted(output_attentions, config, "output_attentions")
            else None,
        )
        return output if wanted(return_dict, config, "return_dict") else output.to_tuple()


def set_converter(converter: Converter) -> None:
    """Say what converts; ``import thex_hf`` does."""
    _known[:] = [converter]


def converted(source: str | os.PathLike[str] | None, task: str, settings: dict[str, Any]) -> str:
    """Convert a checkpoint and return the folder of the result.

    Args:
        source: folder or Hub name of the model to convert.
        task: ``"sequence"`` or ``"tokens"``.
        settings: see :func:`thex_hf.conversion.convert.convert_pretrained`.

    Raises:
        ConversionError: there is no source, or ``thex_hf`` itself was not imported.
    """
    if source is None:
        raise ConversionError("convert=True needs the name or the folder of the model to convert.")
    if not _known:
        raise ConversionError("convert=True needs the whole package: run import thex_hf first.")
    return _known[0](source, task=task, **settings)


def refuse_arguments(given: Mapping[str, Any]) -> None:
    """Refuse arguments that no THE-X model can honour; None and False ask for nothing.

    Raises:
        OptionError: names the first one.
    """
    for name, value in given.items():
        if value is not None and value is not False:
            raise OptionError(
                f"a THE-X model cannot honour {name}; got {_short(value)}. Leave it out."
            )


def wanted(given: bool | None, config: Any, name: str) -> bool:
    """Whether a call wants something: it says so, or else the configuration."""
    return bool(getattr(config, name) if given is None else given)


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return type(value).__name__ if not isinstance(value, bool | int | float | str) else repr(value)
