"""Classifiers on a THE-X BERT encoder, as Hugging Face models."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers.modeling_outputs import (
    BaseModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.encoder import ThexBertModel, ThexBertPreTrainedModel
from thex_hf.modeling.export import export_weights
from thex_hf.modeling.guards import refuse_pickle
from thex_hf.modeling.tasks import pool, problem_type, task_loss, token_loss
from thex_hf.weights import EncoderWeights

__all__ = [
    "ThexBertClassifier",
    "ThexBertForSequenceClassification",
    "ThexBertForTokenClassification",
    "ThexBertModel",
    "ThexBertPreTrainedModel",
    "problem_type",
    "refuse_pickle",
    "task_loss",
]


class ThexBertClassifier(ThexBertPreTrainedModel):
    """The encoder with a linear classifier; its two kinds differ in what the classifier reads."""

    every_token: ClassVar[bool] = False
    saved_as: str | None = None
    """Name of the class in the checkpoint that it was loaded from."""

    def __init__(self, config: ThexBertConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.thex_bert = ThexBertModel(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Load a checkpoint; see :meth:`ThexBertPreTrainedModel.from_pretrained`.

        One of another class loads too, with a fresh classifier if it has none, to be trained;
        :attr:`saved_as` remembers what it was.
        """
        found = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        model = found[0] if isinstance(found, tuple) else found
        model.saved_as = next(iter(model.config.architectures or []), None)
        return found

    @property
    def head(self) -> str:
        """What the classifier reads: ``cls``, ``mean`` or ``tokens``."""
        return "tokens" if self.every_token else str(self.config.pooling)

    def read(self, stream: Tensor, mask: Tensor | None) -> Tensor:
        """Return the rows of the last stream ``(batch, seq, d)`` that the classifier reads.

        Args:
            stream: output of the last layer.
            mask: zeros and ones, shape ``(batch, seq)``; None for all ones.

        Returns:
            Shape ``(batch, d)``, or ``(batch, seq, d)`` if every token is classified.
        """
        return stream if self.every_token else pool(stream, mask, self.config.pooling)

    def classify(self, stream: Tensor, mask: Tensor | None) -> Tensor:
        """Return the logits of the last stream; arguments as in :meth:`read`."""
        logits: Tensor = self.classifier(self.dropout(self.read(stream, mask)))
        return logits

    def embed(
        self,
        input_ids: Tensor,
        token_type_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Return the exact embeddings ``(batch, seq, d)``, norm and projection included.

        The mask tells where each text begins, if there is padding on the left.
        """
        embedded: Tensor = self.thex_bert.embeddings(input_ids, token_type_ids, attention_mask)
        return embedded

    def encoder_weights(self) -> EncoderWeights:
        """Copy layers and classifier to float64 numpy for the encrypted side.

        Raises:
            ConversionError: the model is not fully converted.
        """
        layers: list[Any] = list(self.thex_bert.layers)
        return export_weights(self.config, layers, self.classifier, self.head)


class ThexBertForSequenceClassification(ThexBertClassifier):
    """One answer a text, from the ``[CLS]`` row or the mean row of the last layer."""

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
        encoded: BaseModelOutput = self.thex_bert(
            input_ids,
            attention_mask,
            token_type_ids,
            inputs_embeds,
            output_hidden_states=output_hidden_states,
        )
        logits = self.classify(encoded.last_hidden_state, attention_mask)
        output = SequenceClassifierOutput(
            loss=None if labels is None else self._loss(logits, labels),
            logits=logits,
            hidden_states=encoded.hidden_states,
        )
        return output.to_tuple() if return_dict is False else output

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.config.problem_type is None:
            self.config.problem_type = problem_type(self.num_labels, labels)
        return task_loss(logits, labels, self.config.problem_type)


class ThexBertForTokenClassification(ThexBertClassifier):
    """One answer a token, from its own row of the last layer."""

    every_token: ClassVar[bool] = True

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
    ) -> TokenClassifierOutput | tuple[Any, ...]:
        """Classify every token; arguments as in :meth:`ThexBertModel.forward`.

        Args:
            input_ids: shape ``(batch, seq)``.
            attention_mask: zeros and ones, shape ``(batch, seq)``.
            token_type_ids: shape ``(batch, seq)``.
            inputs_embeds: shape ``(batch, seq, d)``, embedded completely.
            labels: class ids ``(batch, seq)``; -100 where a token does not count.
            output_hidden_states: also return the stream before and after each layer.
            return_dict: False for a tuple.

        Returns:
            Logits of shape ``(batch, seq, labels)``; those of padding mean nothing.
        """
        encoded: BaseModelOutput = self.thex_bert(
            input_ids,
            attention_mask,
            token_type_ids,
            inputs_embeds,
            output_hidden_states=output_hidden_states,
        )
        logits = self.classify(encoded.last_hidden_state, attention_mask)
        output = TokenClassifierOutput(
            loss=None if labels is None else token_loss(logits, labels),
            logits=logits,
            hidden_states=encoded.hidden_states,
        )
        return output.to_tuple() if return_dict is False else output
