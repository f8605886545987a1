"""Classifiers on a THE-X BERT encoder, as Hugging Face models known to the Auto classes."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from transformers.modeling_outputs import (
    BaseModelOutput,
    ModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

from thex_hf.errors import OptionError
from thex_hf.modeling.adapters import adapters_mark, merged, refuse_ignored_adapter
from thex_hf.modeling.configuration_thex_bert import ThexBertConfig
from thex_hf.modeling.encoder import ThexBertModel, ThexBertPreTrainedModel, wanted
from thex_hf.modeling.export import (
    export_weights,
    refuse_foreign,
    refuse_stale_ranges,
    refuse_unconverted,
    structure_mark,
    weights_mark,
)
from thex_hf.modeling.guards import misfit, refuse_misfit, tell_if_stock
from thex_hf.modeling.layers import Attention, make_softmax
from thex_hf.modeling.tasks import pool, problem_type, task_loss, token_loss
from thex_hf.tasks import TEXT, TOKEN, Task
from thex_hf.weights import EncoderWeights

__all__ = [
    "CLASSIFIERS",
    "ThexBertClassifier",
    "ThexBertForSequenceClassification",
    "ThexBertForTokenClassification",
    "ThexBertModel",
    "ThexBertPreTrainedModel",
]


class ThexBertClassifier(ThexBertPreTrainedModel):
    """The encoder with a linear classifier; each task has a class of its own."""

    task: ClassVar[Task]
    """What it is for."""
    every_token: ClassVar[bool] = False
    """Whether each token is classified, not the text: the task says so."""
    output_class: ClassVar[type[ModelOutput]]
    accepts_loss_kwargs: ClassVar[bool] = False
    """Tells a Trainer that the loss is a mean over the batch, which it must divide by itself."""
    saved_as: str | None = None
    """Name of the class in the checkpoint that it was loaded from."""
    misfit: str | None = None
    """What was wrong with the weights that it was loaded from, if they were another model's."""
    told_clear: bool = False
    """Whether it was said that a stock pipeline encrypts nothing."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.every_token = cls.task.every_token

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

        Raises:
            ConversionError: it has an adapter, and peft is not installed.
        """
        if kwargs.get("convert"):  # comes back here with the result
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        full = kwargs.pop("output_loading_info", False)
        model, report = super().from_pretrained(
            pretrained_model_name_or_path, *args, output_loading_info=True, **kwargs
        )
        model.saved_as = next(iter(model.config.architectures or []), None)
        model.misfit = misfit(str(pretrained_model_name_or_path), report)
        if pretrained_model_name_or_path is not None:
            refuse_ignored_adapter(pretrained_model_name_or_path, model)
        tell_if_stock(model)
        return (model, report) if full else model

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

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **others: Any,
    ) -> ModelOutput | tuple[Any, ...]:
        """Classify each text, or each token; inputs as in :meth:`ThexBertModel.forward`.

        Args:
            input_ids: shape ``(batch, seq)``.
            attention_mask: zeros and ones, shape ``(batch, seq)``.
            token_type_ids: shape ``(batch, seq)``.
            position_ids: shape ``(batch, seq)``; counted from 0 if None.
            inputs_embeds: shape ``(batch, seq, d)``, embedded completely.
            labels: of texts class ids ``(batch,)``, numbers ``(batch,)`` for regression, or zeros
                and ones ``(batch, labels)`` for several labels at once; of tokens class ids
                ``(batch, seq)``, -100 where a token does not count.
            output_attentions: also return each layer's attention weights.
            output_hidden_states: also return the stream before and after each layer.
            return_dict: False for a tuple.
            **others: of other models; only None and False are taken.

        Returns:
            Logits of shape ``(batch, labels)``, or of tokens ``(batch, seq, labels)``, where those
            of padding mean nothing; and the loss if there are labels.
        """
        tell_if_stock(self)
        encoded: BaseModelOutput = self.thex_bert(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
            **others,
        )
        logits = self.classify(encoded.last_hidden_state, attention_mask)
        output = self.output_class(
            loss=None if labels is None else self._loss(logits, labels),
            logits=logits,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )
        return output if wanted(return_dict, self.config, "return_dict") else output.to_tuple()

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of the task; shapes as in :meth:`forward`."""
        raise NotImplementedError

    def plain(self) -> ThexBertClassifier:
        """The model itself; where it has adapters (LoRA), a copy with them merged.

        Raises:
            ConversionError: an adapter cannot be merged, or there is something else in the model
                that the encrypted encoder would leave out: a hook, another kind of layer, ...; or
                weights were missing when it was loaded.
        """
        refuse_misfit(self)
        model = merged(self)
        refuse_foreign(model)
        return model

    def merge_and_unload(self) -> ThexBertClassifier:
        """As of a ``PeftModel``: a copy with adapters merged; the model itself if it has none.

        Its ranges are still those of before: calibrate it.

        Raises:
            ConversionError: an adapter cannot be merged.
        """
        return merged(self)

    def encoder_weights(self) -> EncoderWeights:
        """Copy layers and classifier to float64 numpy for the encrypted side.

        All that encrypts, simulates or plans gets the weights here.

        Raises:
            ConversionError: the model is not fully converted, its weights changed since it was
                calibrated, or as :meth:`plain`.
        """
        refuse_unconverted(self.config)
        model = self.plain()
        refuse_stale_ranges(model)
        layers: list[Any] = list(model.thex_bert.layers)
        relative = model.thex_bert.relative
        return export_weights(self.config, layers, model.classifier, self.head, relative)

    def encoder_mark(self) -> tuple[Any, ...]:
        """Something cheap that changes when :meth:`encoder_weights` would give something else."""
        config = self.config
        told = repr((config.ranges, config.calibration, config.softmax))
        return (weights_mark(self), structure_mark(self), adapters_mark(self), told)


class ThexBertForSequenceClassification(ThexBertClassifier):
    """One answer a text, from the ``[CLS]`` row or the mean row of the last layer."""

    task: ClassVar[Task] = TEXT
    output_class: ClassVar[type[ModelOutput]] = SequenceClassifierOutput

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.config.problem_type is None:
            self.config.problem_type = problem_type(self.num_labels, labels)
        return task_loss(logits, labels, self.config.problem_type)


class ThexBertForTokenClassification(ThexBertClassifier):
    """One answer a token, from its own row of the last layer."""

    task: ClassVar[Task] = TOKEN
    output_class: ClassVar[type[ModelOutput]] = TokenClassifierOutput

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return token_loss(logits, labels)


CLASSIFIERS: dict[str, type[ThexBertClassifier]] = {
    kind.task.name: kind
    for kind in (ThexBertForSequenceClassification, ThexBertForTokenClassification)
}
"""Our classifiers, by the Hub's name of their task."""


def set_softmax(model: ThexBertClassifier, kind: str) -> None:
    """Use ``estimate`` (THE-X) or ``exact`` softmax in every layer and in the configuration.

    Raises:
        OptionError: the model has power attention, whose weights are not made for a softmax.
    """
    if model.config.softmax == "power":
        raise OptionError(
            f"softmax={kind!r} is for models in THE-X form; this one is in {model.config.form} "
            "form, with power attention trained in its place. Leave the option out."
        )
    model.config.softmax = kind
    for module in model.modules():
        if isinstance(module, Attention):
            module.softmax = make_softmax(model.config)


def register_auto_classes() -> None:
    """Make ``AutoConfig`` and the Auto models know ``model_type: thex_bert``.

    May be called any number of times.
    """
    AutoConfig.register(ThexBertConfig.model_type, ThexBertConfig, exist_ok=True)
    AutoModel.register(ThexBertConfig, ThexBertModel, exist_ok=True)
    for kind in CLASSIFIERS.values():
        auto = getattr(transformers, kind.task.auto_class)
        auto.register(ThexBertConfig, kind, exist_ok=True)
