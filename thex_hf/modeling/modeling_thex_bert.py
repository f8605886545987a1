"""BERT with the non-linearities of THE-X, as Hugging Face models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

from thex_hf.approx.reciprocal import load_reciprocal
from thex_hf.errors import ConversionError, InputError
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.export import export_weights
from thex_hf.modeling.layers import (
    AffineNorm,
    Embeddings,
    LayerTrace,
    PowerAttention,
    Quadratic,
    ThexBertLayer,
)
from thex_hf.weights import EncoderWeights


class ThexBertPreTrainedModel(PreTrainedModel):  # type: ignore[misc]
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
            **kwargs: as in Hugging Face.

        Raises:
            ConversionError: it is another kind of checkpoint (a plain BERT, say), or
                its weights are pickled.
        """
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
            InputError: not exactly one of ``input_ids`` and ``inputs_embeds`` is given.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise InputError("give exactly one of input_ids and inputs_embeds.")
        if inputs_embeds is None:
            inputs_embeds = self.embeddings(input_ids, token_type_ids)
        traces = self.run_layers(inputs_embeds, attention_mask)
        wanted = output_hidden_states
        if wanted is None:
            wanted = self.config.output_hidden_states
        last = traces[-1].layer_norm if traces else inputs_embeds
        states = (inputs_embeds, *(t.layer_norm for t in traces)) if wanted else None
        output = BaseModelOutput(last_hidden_state=last, hidden_states=states)
        return output.to_tuple() if return_dict is False else output


class ThexBertForSequenceClassification(ThexBertPreTrainedModel):
    """The encoder with a linear head on the ``[CLS]`` row of the last layer."""

    def __init__(self, config: ThexBertConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.thex_bert = ThexBertModel(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def embed(self, input_ids: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Return the exact embeddings ``(batch, seq, d)``, their layer norm included."""
        embedded: Tensor = self.thex_bert.embeddings(input_ids, token_type_ids)
        return embedded

    def encoder_weights(self) -> EncoderWeights:
        """Copy layers and classifier to float64 numpy for the encrypted side.

        Raises:
            ConversionError: the model is not fully converted.
        """
        layers: list[Any] = list(self.thex_bert.layers)
        return export_weights(self.config, layers, self.classifier)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput | tuple[Any, ...]:
        """Classify; arguments as in :meth:`ThexBertModel.forward`.

        Args:
            input_ids: shape ``(batch, seq)``.
            attention_mask: zeros and ones, shape ``(batch, seq)``.
            token_type_ids: shape ``(batch, seq)``.
            inputs_embeds: shape ``(batch, seq, d)``, embedded completely.
            labels: class ids ``(batch,)``; numbers ``(batch,)`` for regression; zeros
                and ones ``(batch, labels)`` for several labels at once.
            output_hidden_states: also return the stream before and after each layer.
            return_dict: False for a tuple.
        """
        encoded = self.thex_bert(
            input_ids,
            attention_mask,
            token_type_ids,
            inputs_embeds,
            output_hidden_states=output_hidden_states,
        )
        logits = self.classifier(self.dropout(encoded.last_hidden_state[:, 0]))
        loss = None if labels is None else self._loss(logits, labels)
        output = SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=encoded.hidden_states
        )
        return output.to_tuple() if return_dict is False else output

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.config.problem_type is None:
            self.config.problem_type = problem_type(self.num_labels, labels)
        return task_loss(logits, labels, self.config.problem_type)


def problem_type(num_labels: int, labels: Tensor) -> str:
    """Tell the kind of task from labels, by Hugging Face's rule."""
    if num_labels == 1:
        return "regression"
    if labels.dtype in (torch.long, torch.int):
        return "single_label_classification"
    return "multi_label_classification"


def task_loss(logits: Tensor, labels: Tensor, kind: str, smoothing: float = 0.0) -> Tensor:
    """Loss of logits ``(batch, labels)`` for a problem type.

    Raises:
        ConversionError: unknown problem type.
    """
    if kind == "regression":
        return nn.functional.mse_loss(logits.squeeze(-1), labels.to(logits.dtype).squeeze(-1))
    if kind == "single_label_classification":
        return nn.functional.cross_entropy(
            logits, labels.view(-1).long(), label_smoothing=smoothing
        )
    if kind == "multi_label_classification":
        return nn.functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    raise ConversionError(
        "problem_type should be regression, single_label_classification or "
        f"multi_label_classification; got {kind!r}."
    )


def check_reciprocal(config: ThexBertConfig) -> None:
    """Refuse weights that were trained with another reciprocal network."""
    if config.softmax != "estimate" or config.reciprocal is None:
        return
    shipped = load_reciprocal().fingerprint()
    if config.reciprocal != shipped:
        raise ConversionError(
            f"this checkpoint was converted with reciprocal network {config.reciprocal}, and "
            f"this version of thex_hf has {shipped}. Convert the model again, or use the "
            "version of thex_hf that converted it."
        )


def refuse_pickle(folder: Path) -> None:
    """Refuse a local folder that holds pickled weights and no safetensors.

    Raises:
        ConversionError: there are ``.bin`` files and no ``.safetensors`` file.
    """
    if not folder.is_dir() or any(folder.glob("*.safetensors")):
        return
    pickled = sorted(path.name for path in folder.glob("*.bin"))
    if pickled:
        raise ConversionError(
            f"{str(folder)!r} should hold model.safetensors, but has only {', '.join(pickled)}. "
            "Pickled weights can run code and are never read: load the model in a safe place "
            "and save it again with save_pretrained(..., safe_serialization=True)."
        )
