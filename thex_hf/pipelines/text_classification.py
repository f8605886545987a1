"""``pipeline("thex-text-classification")``: a text-classification pipeline on ciphertexts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import AutoTokenizer, TextClassificationPipeline
from transformers.utils import logging

from thex_hf.encrypted.circuits import FORMS
from thex_hf.errors import InputError
from thex_hf.modeling import ThexBertClassifier, ThexBertForSequenceClassification
from thex_hf.pipelines.bundled import bundled_checkpoint
from thex_hf.pipelines.call_options import check_text_options
from thex_hf.pipelines.encrypted import LONGEST as LONGEST
from thex_hf.pipelines.encrypted import EncryptedMixin, check_length, check_text
from thex_hf.pipelines.options import CALL_OPTIONS
from thex_hf.pipelines.report import Report
from thex_hf.pipelines.sharing import SharingMixin

logger = logging.get_logger(__name__)


class ThexTextClassificationPipeline(
    EncryptedMixin,
    SharingMixin,
    TextClassificationPipeline,  # type: ignore[misc]
):
    """Classify texts whose encoder runs on encrypted data.

    Takes and returns what the stock text-classification pipeline takes and returns. For its
    further options, reports and errors see :class:`EncryptedMixin`.
    """

    model_class: ClassVar[type[ThexBertClassifier]] = ThexBertForSequenceClassification
    call_options: ClassVar[tuple[str, ...]] = CALL_OPTIONS

    @classmethod
    def _fitting(
        cls, protocol: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Exchange the bundled THE-X model for the polynomial one when the protocol needs that."""
        model = kwargs.get("model", args[0] if args else None)
        name = getattr(model, "name_or_path", None)
        if FORMS.get(str(protocol)) != "polynomial" or name != bundled_checkpoint():
            return args, kwargs
        other = bundled_checkpoint("polynomial")
        logger.info("protocol %s: using the bundled model of the polynomial form", protocol)
        kwargs["model"] = ThexBertForSequenceClassification.from_pretrained(other)
        kwargs["tokenizer"] = AutoTokenizer.from_pretrained(other)
        return (), kwargs

    def _sanitize_parameters(
        self,
        fhe: str | None = None,
        agreement: bool | None = None,
        on_error: str | None = None,
        **options: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        own = self._own_options(options, fhe, agreement, on_error)
        special = self.tokenizer.num_special_tokens_to_add() if "max_length" in options else 0
        check_text_options(options, LONGEST, special)
        pre, forward, post = super()._sanitize_parameters(**options)
        return pre, {**forward, **own}, post

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Classify; see the class and the stock pipeline."""
        found = self._serve(inputs, dict(kwargs))
        return [found] if isinstance(inputs, str) and "top_k" not in kwargs else found

    def preprocess(self, inputs: Any, **tokenizer_kwargs: Any) -> Any:
        """Tokenise one text or pair, refusing what cannot be classified."""
        _check_inputs(inputs)
        if tokenizer_kwargs.get("truncation"):
            limit = self._limit()
            tokenizer_kwargs["max_length"] = min(tokenizer_kwargs.get("max_length") or limit, limit)
        if isinstance(inputs, Mapping):
            inputs = {name: text for name, text in inputs.items() if text is not None}
        try:
            encoded = super().preprocess(inputs, **tokenizer_kwargs)
        except Exception as error:  # the library of tokenizers has no class of its own for it
            if "Truncation error" not in str(error):
                raise
            raise InputError(f"the text cannot be cut that way: {error}") from error
        check_length(int(encoded["attention_mask"].sum()), LONGEST)
        return encoded

    def _output(self, row: Mapping[str, Any], report: Report) -> dict[str, Tensor]:
        """What the stock pipeline takes from its model: logits ``(1, labels)``."""
        return {"logits": torch.tensor([report.logits], dtype=torch.float32)}


def _check_inputs(inputs: Any) -> None:
    """Refuse what is neither a text nor a pair of texts."""
    texts = [inputs]
    if isinstance(inputs, Mapping):
        unknown = set(inputs) - {"text", "text_pair"}
        if unknown or "text" not in inputs:
            raise InputError(
                f"expected a dictionary with 'text' and perhaps 'text_pair', "
                f"got keys {list(inputs)}"
            )
        pair = inputs.get("text_pair")
        texts = [inputs["text"]] if pair is None else [inputs["text"], pair]
    elif isinstance(inputs, list | tuple):
        texts = list(_old_pair(inputs))
    for text in texts:
        check_text(text)


def _old_pair(inputs: Sequence[Any]) -> Sequence[Any]:
    """The texts of the old form ``[[text, pair]]``, which transformers still reads.

    Raises:
        InputError: it is another list or tuple.
    """
    inner = inputs[0] if type(inputs) is list and len(inputs) == 1 else None
    if type(inner) is list and len(inner) == 2:
        return inner
    raise InputError(
        f"expected a text, got a {type(inputs).__name__}; several texts are one flat list, a pair "
        f"is a dictionary: {{'text': ..., 'text_pair': ...}}"
    )
