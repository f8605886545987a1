"""``pipeline("thex-text-classification")``: a text-classification pipeline on ciphertexts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, TextClassificationPipeline
from transformers.utils import logging

from thex_hf.encrypted.circuits import FORMS
from thex_hf.encrypted.schedule import SOFTMAX
from thex_hf.encrypted.shape import BUCKETS, bucket
from thex_hf.errors import ConversionError, InputError, OptionError
from thex_hf.modeling.modeling_thex_bert import ThexBertForSequenceClassification
from thex_hf.modeling.switch import set_softmax
from thex_hf.pipelines.bundled import bundled_checkpoint
from thex_hf.pipelines.options import (
    FHE_MODES,
    LEARNS,
    choose_protocol,
    one_of,
    refuse_unknown,
)
from thex_hf.pipelines.report import Report
from thex_hf.pipelines.runner import Runner

logger = logging.get_logger(__name__)
LONGEST = BUCKETS[-1]


class ThexTextClassificationPipeline(TextClassificationPipeline):  # type: ignore[misc]
    """Classify texts whose encoder runs on encrypted data.

    Takes and returns what the stock text-classification pipeline takes and returns. More:

    Args:
        backend: slot backend, ``seal`` by default.
        protocol: ``client-aided`` for models of the THE-X form; ``refresh`` (the default) or
            ``one-shot`` for those of the polynomial form.
        fhe: ``execute`` (ciphertexts), ``simulate`` (the same circuit on numbers, with
            modelled noise) or ``disable`` (the clear torch model); also at each call.
        keys: directory to keep keys in; in memory when None. Never a model folder.
        softmax: ``estimate`` (THE-X's, finished by the client), ``exact`` (by the client) or
            ``estimate-on-server`` (as published: the client does nothing but ReLU; more
            rounds, more levels, the same result); the checkpoint's by default. For
            ``client-aided`` only.
        ring: ring degree N for ``refresh`` and ``one-shot``: larger rings carry more levels
            between visits; the smallest that will do by default.
        processes: how many the server's work is spread over; all usable cores by default.
        agreement: also run the clear model and report the difference; also at each call.

    After a call :attr:`reports` holds one :class:`~thex_hf.pipelines.report.Report` a text.

    Raises:
        OptionError: an option is unknown or has a value not on offer.
        InputError: a text is empty, too long, or no text.
        ConversionError: the model is not a converted THE-X model.
    """

    def __init__(
        self,
        *args: Any,
        backend: str = "seal",
        protocol: str | None = None,
        keys: str | os.PathLike[str] | None = None,
        softmax: str | None = None,
        ring: int | None = None,
        processes: int | None = None,
        **kwargs: Any,
    ) -> None:
        args, kwargs = _fitting_bundle(protocol, args, kwargs)
        model = kwargs.get("model", args[0] if args else None)
        if not isinstance(model, ThexBertForSequenceClassification):
            raise ConversionError(
                f"expected a THE-X model (ThexBertForSequenceClassification), got "
                f"{type(model).__name__}; convert it first: thex-hf convert"
            )
        self.protocol = choose_protocol(protocol, model.config.form)
        self.reports: list[Report] = []
        model.float()
        if softmax is not None:
            if self.protocol != "client-aided":
                raise OptionError(f"softmax is an option of client-aided, not of {self.protocol}")
            one_of("softmax", softmax, SOFTMAX)
            set_softmax(model, "exact" if softmax == "exact" else "estimate")
        folder = None if keys is None else Path(keys)
        self.runner = Runner(
            model,
            backend=backend,
            protocol=self.protocol,
            softmax=softmax,
            ring=ring,
            processes=processes,
            keys=folder,
        )
        self._told = False
        super().__init__(*args, **kwargs)

    def check_model_type(self, supported_models: Any) -> None:
        """Accept THE-X models, which the stock name table does not know."""

    def _sanitize_parameters(
        self, fhe: str | None = None, agreement: bool | None = None, **options: Any
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        refuse_unknown(options, loading=not hasattr(self, "_forward_params"))
        pre, forward, post = super()._sanitize_parameters(**options)
        if fhe is not None:
            forward["fhe"] = one_of("fhe", fhe, FHE_MODES)
        if agreement is not None:
            forward["agreement"] = bool(agreement)
        return pre, forward, post

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Classify; see the class and the stock pipeline."""
        self.reports = []
        if isinstance(inputs, list | tuple) and len(inputs) == 0:
            return []
        return super().__call__(inputs, **kwargs)

    def preprocess(self, inputs: Any, **tokenizer_kwargs: Any) -> Any:
        """Tokenise one text or pair, refusing what cannot be classified."""
        _check_text(inputs)
        if tokenizer_kwargs.get("truncation"):
            limit = min(LONGEST, int(self.tokenizer.model_max_length))
            tokenizer_kwargs["max_length"] = min(tokenizer_kwargs.get("max_length") or limit, limit)
        if isinstance(inputs, Mapping):
            inputs = {name: text for name, text in inputs.items() if text is not None}
        encoded = super().preprocess(inputs, **tokenizer_kwargs)
        count = int(encoded["attention_mask"].sum())
        if count > LONGEST:
            raise InputError(
                f"the text has {count} tokens, {LONGEST} are the most; shorten it, or pass "
                f"truncation=True to classify its beginning"
            )
        return encoded

    def _forward(
        self, model_inputs: Mapping[str, Tensor], fhe: str = "execute", agreement: bool = False
    ) -> dict[str, Tensor]:
        if fhe != "disable" and not self._told:
            self._told = True
            logger.warning(LEARNS[self.protocol])
        rows = [
            {name: tensor[index : index + 1] for name, tensor in model_inputs.items()}
            for index in range(len(model_inputs["input_ids"]))
        ]
        reports = self.runner.run(rows, fhe=fhe, agreement=agreement)
        self.reports += reports
        return {"logits": torch.tensor([r.logits for r in reports], dtype=torch.float32)}

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save model and tokenizer; keys are never saved with a model."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.tokenizer.save_pretrained(save_directory, **kwargs)

    @property
    def report(self) -> Report | None:
        """The report of the last text, None before any."""
        return self.reports[-1] if self.reports else None

    def plan(self, tokens: int) -> dict[str, Any]:
        """The plan for texts of ``tokens`` tokens, as JSON values."""
        return self.runner.session("execute").plan(bucket(tokens)).to_json()


def _fitting_bundle(
    protocol: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
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


def _check_text(inputs: Any) -> None:
    texts = [inputs]
    if isinstance(inputs, Mapping):
        unknown = set(inputs) - {"text", "text_pair"}
        if unknown or "text" not in inputs:
            raise InputError(
                f"expected a dictionary with 'text' and perhaps 'text_pair', "
                f"got keys {sorted(inputs)}"
            )
        texts = [inputs["text"], inputs.get("text_pair") or "-"]
    elif isinstance(inputs, list | tuple):  # the old [[text, pair]] form, checked by transformers
        return
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"expected a text (str), got {type(text).__name__}")
        if not text.strip():
            raise InputError("the text is empty; there is nothing to classify")
