"""``pipeline("thex-text-classification")``: a text-classification pipeline on ciphertexts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import AutoTokenizer, TextClassificationPipeline
from transformers.utils import logging

from thex_hf.bundled import DEFAULT_FORM, bundled_checkpoint
from thex_hf.modeling.export import weights_digest
from thex_hf.modeling.modeling_thex_bert import (
    ThexBertClassifier,
    ThexBertForSequenceClassification,
)
from thex_hf.options import RunOptions
from thex_hf.pipelines.call_options import CALL_OPTIONS, check_text_options
from thex_hf.pipelines.encrypted import WINDOWS, EncryptedMixin, SharingMixin
from thex_hf.pipelines.report import Report
from thex_hf.pipelines.runner import inputs_of
from thex_hf.tokens.options import LONGEST, TokenOptions
from thex_hf.tokens.texts import text_and_pair
from thex_hf.tokens.windows import WindowOptions, cut

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
        cls, wanted: RunOptions, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Exchange the bundled model for the bundled one of the form that the options need."""
        model: Any = kwargs.get("model", args[0] if args else None)
        form = _other_form(model, wanted)
        if form is None:
            return args, kwargs
        shipped = ThexBertForSequenceClassification.from_pretrained(model.name_or_path)
        if weights_digest(shipped, shipped.config) != weights_digest(model, model.config):
            return args, kwargs  # it was trained since: no other model may answer in its place
        other = bundled_checkpoint(form)
        logger.info("using the bundled model of the %s form, which the options need", form)
        kwargs["model"] = ThexBertForSequenceClassification.from_pretrained(other)
        if kwargs.get("tokenizer") is None:  # else it is the same one, perhaps with other limits
            kwargs["tokenizer"] = AutoTokenizer.from_pretrained(other, trust_remote_code=False)
        return (), kwargs

    def _sanitize_parameters(
        self,
        fhe: str | None = None,
        agreement: bool | None = None,
        on_error: str | None = None,
        **options: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        run_options = self._own_options(options, fhe, agreement, on_error)
        windows = self._window_options(options)
        check_text_options(options, max(LONGEST, self.runner.longest))
        pre, forward, post = super()._sanitize_parameters(**options)
        TokenOptions(**pre)
        return {**pre, **windows}, {**forward, **run_options}, post

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Classify; see the class and the stock pipeline."""
        answers = self._serve(inputs, dict(kwargs))
        return [answers] if isinstance(inputs, str) and "top_k" not in kwargs else answers

    def preprocess(
        self,
        inputs: Any,
        window: int | None = None,
        stride: int | None = None,
        pool: str | None = None,
        **tokenizer_kwargs: Any,
    ) -> Any:
        """Tokenise one text or pair, refusing what cannot be classified, and cut it if asked to."""
        options, windows = TokenOptions(**tokenizer_kwargs), WindowOptions.of(window, stride, pool)
        tokens = self._tokenise(*text_and_pair(inputs), options, whole=windows is not None)
        found: dict[str, Any] = inputs_of(tokens)
        return found if windows is None else {**found, WINDOWS: cut(tokens, windows)}

    def _output(self, row: Mapping[str, Any], report: Report) -> dict[str, Tensor]:
        """What the stock pipeline takes from its model: logits ``(1, labels)``."""
        return {"logits": torch.tensor([report.logits], dtype=torch.float32)}


def _other_form(model: Any, wanted: RunOptions) -> str | None:
    """The form of bundled model that options need, if the model is the default and of another."""
    name = None if model is None else getattr(model, "name_or_path", None)
    if name != bundled_checkpoint() or wanted.remote:
        return None
    needed = wanted.bundled_form()
    return None if needed == DEFAULT_FORM else needed
