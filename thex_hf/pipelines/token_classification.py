"""``pipeline("thex-token-classification")``: a token-classification pipeline on ciphertexts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from transformers import TokenClassificationPipeline

from thex_hf._choices import one_of
from thex_hf.errors import InputError, OptionError
from thex_hf.modeling.modeling_thex_bert import ThexBertClassifier, ThexBertForTokenClassification
from thex_hf.pipelines.call_options import TOKEN_OPTIONS, check_token_options
from thex_hf.pipelines.encrypted import WINDOWS, EncryptedMixin, SharingMixin
from thex_hf.pipelines.report import Report
from thex_hf.pipelines.runner import inputs_of
from thex_hf.tokens.options import TokenOptions
from thex_hf.tokens.texts import check_text, join_words, moved
from thex_hf.tokens.windows import WindowOptions, cut

SPLIT = "is_split_into_words"
WORDS = (SPLIT, "delimiter")
AGGREGATIONS = ("none", "simple", "first", "average", "max")


class ThexTokenClassificationPipeline(
    EncryptedMixin,
    SharingMixin,
    TokenClassificationPipeline,  # type: ignore[misc]
):
    """Classify the tokens of texts whose encoder runs on encrypted data.

    Takes and returns what the stock token-classification pipeline takes and returns; ``stride``
    goes with ``window``. For further options, reports and errors see :class:`EncryptedMixin`. As
    there, a text that is too long is refused unless ``truncation=True`` or ``window`` is given; the
    stock pipeline cuts it silently. Of windows each word has the logits of the one where it has
    most context.
    """

    model_class: ClassVar[type[ThexBertClassifier]] = ThexBertForTokenClassification
    call_options: ClassVar[tuple[str, ...]] = TOKEN_OPTIONS

    def _sanitize_parameters(
        self,
        fhe: str | None = None,
        agreement: bool | None = None,
        on_error: str | None = None,
        truncation: Any = None,
        **options: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        run_options = self._own_options(options, fhe, agreement, on_error)
        windows = self._window_options(options)
        check_token_options(options)
        strategy = options.get("aggregation_strategy")
        if strategy is not None:
            name = getattr(strategy, "value", strategy)
            options["aggregation_strategy"] = one_of("aggregation_strategy", name, AGGREGATIONS)
        pre, forward, post = super()._sanitize_parameters(**options)
        if truncation is not None:
            pre["truncation"] = TokenOptions(truncation=truncation).truncation
        return {**pre, **windows}, {**forward, **run_options}, post

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """Classify tokens; see the class and the stock pipeline.

        Args:
            inputs: a text, several texts, a generator or data set of texts; with
                ``is_split_into_words=True`` lists of words.
            **kwargs: see the class.
        """
        made = {name: x for name, x in self._preprocess_params.items() if name in WORDS}
        options = {**made, **kwargs}
        words = options.get(SPLIT, False)
        several = isinstance(inputs, list | tuple) and all(
            isinstance(text, list | tuple) for text in inputs
        )
        if words and isinstance(inputs, list | tuple) and inputs and not several:
            inputs = [inputs]  # the words of one text
        elif isinstance(inputs, tuple):
            inputs = list(inputs)
        if kwargs.get("offset_mapping") is not None and not isinstance(inputs, str):
            raise OptionError("offset_mapping is of one text: call with one text (str) at a time")
        return self._serve(inputs, options)

    def preprocess(
        self,
        sentence: Any,
        offset_mapping: Any = None,
        truncation: Any = False,
        is_split_into_words: bool = False,
        delimiter: str = " ",
        window: int | None = None,
        stride: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Tokenise one text, refusing what cannot be classified.

        Words are tokenised as the text that they make with blanks between, as in training. The
        delimiter is for the places in the answer only.
        """
        _check_sentence(sentence, is_split_into_words)
        words = sentence if is_split_into_words else [sentence]
        text, _ = join_words(words)
        windows = WindowOptions.of(window, stride)
        options = TokenOptions(truncation=truncation)
        tokens = self._tokenise(text, options=options, whole=windows is not None)
        spans = None if tokens.spans is None else torch.tensor([tokens.spans])
        yield {
            **inputs_of(tokens),
            "special_tokens_mask": torch.tensor([tokens.special], dtype=torch.long),
            "offset_mapping": spans if offset_mapping is None else offset_mapping,
            "sentence": text,
            "shown": (words, delimiter),
            "is_last": True,
            **({} if windows is None else {WINDOWS: cut(tokens, windows, [text])}),
        }

    def _output(self, row: Mapping[str, Any], report: Report) -> dict[str, Any]:
        """What the stock pipeline has of its model: logits ``(1, tokens, labels)`` and the row."""
        absent = dict.fromkeys(("word_ids", "word_to_chars_map"))  # the text is no list of words
        logits = torch.tensor([report.logits], dtype=torch.float32)
        return {"logits": logits, **absent, **row}

    def _outputs(self, row: Mapping[str, Any], report: Report) -> list[dict[str, Any]]:
        """The whole text; its windows are one by now."""
        return [self._output(row, report)]

    def postprocess(self, all_outputs: Any, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        """Name tokens or group them; places are those in the words joined by the delimiter."""
        entities: list[dict[str, Any]] = super().postprocess(all_outputs, *args, **kwargs)
        words, delimiter = all_outputs[0]["shown"]
        if delimiter != " " and len(words) > 1:
            _, old = join_words(words)
            _, new = join_words(words, delimiter)
            for entry in entities:
                if entry["start"] is not None:
                    place = moved((entry["start"], entry["end"]), old, new)
                    entry["start"], entry["end"] = place
        return entities


def _check_sentence(sentence: Any, split: bool) -> None:
    """Refuse what is no text, or no list of words if words are wanted.

    Raises:
        InputError: says what came.
    """
    if not split:
        check_text(sentence)
        return
    if not isinstance(sentence, list) or not sentence:
        raise InputError(
            f"with is_split_into_words=True a text is a list of words, not {sentence!r:.80}"
        )
    for word in sentence:
        check_text(word)
