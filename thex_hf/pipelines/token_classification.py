"""``pipeline("thex-token-classification")``: a token-classification pipeline on ciphertexts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import GeneratorType
from typing import Any, ClassVar

import torch
from torch.utils.data import Dataset
from transformers import TokenClassificationPipeline

from thex_hf.errors import InputError
from thex_hf.modeling import ThexBertClassifier, ThexBertForTokenClassification
from thex_hf.pipelines.encrypted import EncryptedMixin
from thex_hf.pipelines.options import TOKEN_OPTIONS, one_of
from thex_hf.pipelines.report import Report
from thex_hf.pipelines.rows import inputs_of, rows_of
from thex_hf.pipelines.sharing import SharingMixin
from thex_hf.tokens.options import TokenOptions
from thex_hf.tokens.texts import check_text
from thex_hf.tokens.words import join_words, moved

AGGREGATIONS = ("none", "simple", "first", "average", "max")


class ThexTokenClassificationPipeline(
    EncryptedMixin,
    SharingMixin,
    TokenClassificationPipeline,  # type: ignore[misc]
):
    """Classify the tokens of texts whose encoder runs on encrypted data.

    Takes and returns what the stock token-classification pipeline takes and returns, but for
    ``stride``: a text has to fit into one request. For further options, reports and errors see
    :class:`EncryptedMixin`. As there, a text that is too long is refused unless
    ``truncation=True``; the stock pipeline cuts it silently.
    """

    model_class: ClassVar[type[ThexBertClassifier]] = ThexBertForTokenClassification
    call_options: ClassVar[tuple[str, ...]] = TOKEN_OPTIONS

    def _sanitize_parameters(
        self,
        fhe: str | None = None,
        agreement: bool | None = None,
        truncation: Any = None,
        stride: int | None = None,
        **options: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if stride is not None:
            options["stride"] = stride  # refused below
        own = self._own_options(options, fhe, agreement)
        strategy = options.get("aggregation_strategy")
        if strategy is not None:
            name = getattr(strategy, "value", strategy)
            options["aggregation_strategy"] = one_of("aggregation_strategy", name, AGGREGATIONS)
        pre, forward, post = super()._sanitize_parameters(**options)
        if truncation is not None:
            pre["truncation"] = TokenOptions(truncation=truncation).truncation
        return pre, {**forward, **own}, post

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Classify tokens; see the class and the stock pipeline.

        Args:
            inputs: a text, several texts, a generator or data set of texts; with
                ``is_split_into_words=True`` lists of words.
            **kwargs: see the class.
        """
        self.reports = []
        if not isinstance(inputs, str | list | tuple | GeneratorType | Dataset):
            raise InputError(
                f"expected a text (str), or a list, generator or torch data set of texts, got "
                f"{type(inputs).__name__}"
            )
        if isinstance(inputs, list | tuple) and len(inputs) == 0:
            return []
        return super().__call__(inputs, **kwargs)

    def preprocess(
        self,
        sentence: Any,
        offset_mapping: Any = None,
        truncation: Any = False,
        is_split_into_words: bool = False,
        delimiter: str = " ",
    ) -> Iterator[dict[str, Any]]:
        """Tokenise one text, refusing what cannot be classified.

        Words are tokenised as the text that they make with blanks between, as in training. The
        delimiter is for the places in the answer only.
        """
        _check_sentence(sentence, is_split_into_words)
        words = sentence if is_split_into_words else [sentence]
        text, _ = join_words(words)
        found = self._tokenise(text, options=TokenOptions(truncation=truncation))
        spans = None if found.spans is None else torch.tensor([found.spans])
        yield {
            **inputs_of(found),
            "special_tokens_mask": torch.tensor([found.special], dtype=torch.long),
            "offset_mapping": spans if offset_mapping is None else offset_mapping,
            "sentence": text,
            "shown": (words, delimiter),
            "is_last": True,
        }

    def _forward(
        self, model_inputs: Mapping[str, Any], fhe: str = "execute", agreement: bool = False
    ) -> dict[str, Any]:
        reports = self._classify(model_inputs, fhe, agreement)
        return {
            "logits": _spread(reports, model_inputs["attention_mask"]),
            **dict.fromkeys(("word_ids", "word_to_chars_map")),  # the text is no list of words
            **model_inputs,
        }

    def postprocess(self, all_outputs: Any, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """Name tokens or group them; places are those in the words joined by the delimiter."""
        own = [{**output, **rows_of(output)[0]} for output in all_outputs]  # without padding
        found: list[dict[str, Any]] = super().postprocess(own, *args, **kwargs)
        words, delimiter = all_outputs[0]["shown"]
        if delimiter != " " and len(words) > 1:
            _, old = join_words(words)
            _, new = join_words(words, delimiter)
            for entry in found:
                if entry["start"] is not None:
                    place = moved((entry["start"], entry["end"]), old, new)
                    entry["start"], entry["end"] = place
        return found


def _check_sentence(sentence: Any, split: bool) -> None:
    """Refuse what is no text, or no list of words if words are wanted.

    Raises:
        InputError: says what came.
    """
    if not split:
        check_text(sentence)
        return
    if not isinstance(sentence, list | tuple) or not sentence:
        raise InputError(
            f"with is_split_into_words=True a text is a list of words, not {sentence!r:.80}"
        )
    for word in sentence:
        check_text(word)


def _spread(reports: list[Report], mask: torch.Tensor) -> torch.Tensor:
    """Put logits of true tokens at their places in the batch; zeros at padding.

    Args:
        reports: one a text, with logits ``(n true tokens, labels)``.
        mask: ``(batch, seq)``, 1 for true tokens.

    Returns:
        Shape ``(batch, seq, labels)``, float32.
    """
    found = mask.new_zeros((*mask.shape, len(reports[0].logits[0])), dtype=torch.float32)
    for row, report in enumerate(reports):
        found[row, mask[row].bool()] = torch.tensor(report.logits, dtype=torch.float32)
    return found.cpu()
