"""Configuration of a BERT whose non-linearities are those of THE-X, or polynomials."""

from __future__ import annotations

import os
from typing import Any

from transformers import PretrainedConfig

from thex_hf._choices import NORM_DEGREES, POOLINGS, POWERS
from thex_hf.errors import ConversionError
from thex_hf.weights import USUAL_DEGREE

ACTIVATIONS = ("relu", "quadratic", "gelu")
SOFTMAXES = ("estimate", "power", "exact")
NORMS = ("affine", "centred", "chebyshev", "layernorm")
COUNTS = ("texts", "strange", "beyond", "lost")
"""Of texts, in the record of a calibration."""
RANGE_KEYS = (
    "stream_in",
    "value",
    "scores",
    "attention_out",
    "ffn_pre",
    "layer_out",
)
"""What :func:`thex_hf.modeling.calibrate.measure_ranges` records for each layer."""


class ThexBertConfig(PretrainedConfig):  # type: ignore[misc]
    """Sizes, approximations and calibrated ranges of a THE-X BERT.

    Three sets of approximations can run under encryption, see :attr:`form`: THE-X's (``relu``,
    ``estimate`` or ``exact``, ``affine``), whose comparisons need the client; the polynomial form
    (``quadratic``, ``power``, ``affine`` or ``centred``), which the server evaluates alone; and the
    normalised form (``quadratic``, ``power``, ``chebyshev``) for deep models, under ``prepared``.

    Args:
        vocab_size: number of word pieces.
        hidden_size: d.
        num_hidden_layers: number of encoder layers.
        num_attention_heads: h; must divide d.
        intermediate_size: m, width of the feed-forward part.
        max_position_embeddings: longest input, in tokens.
        type_vocab_size: number of segment kinds.
        layer_norm_eps: epsilon of the exact layer norms.
        initializer_range: standard deviation of fresh weights.
        hidden_dropout_prob: dropout after embeddings and each block, in training.
        attention_probs_dropout_prob: dropout of attention weights, in training.
        pad_token_id: id of the padding token.
        activation: ``"relu"`` (THE-X), ``"quadratic"`` (coefficients of each layer are among
            the weights) or ``"gelu"`` (unconverted).
        softmax: ``"estimate"`` (THE-X, equation 4), ``"power"`` (each head's shift and scale
            are among the weights) or ``"exact"``.
        norm: ``"affine"`` (THE-X), ``"centred"`` (affine, mean over features subtracted first),
            ``"chebyshev"`` (divided by the deviation too, through a polynomial of the variance) or
            ``"layernorm"`` for the norms inside the layers; the norm of the embeddings is
            always exact, since the client runs it.
        norm_degrees: of ``"chebyshev"`` norms, for each layer the degrees of the polynomials of the
            norm after attention and of the one after the feed-forward part, each 0, 1, 2, 4 or 8;
            a norm of degree 0 is ``"centred"``. None: all of degree 4.
        pooling: what a sequence classifier reads: ``"cls"``, the first row of the last layer,
            or ``"mean"``, the mean over the rows of true tokens.
        embedding_size: width of the embedding tables where a linear map brings them to
            ``hidden_size`` (ELECTRA); None, or ``hidden_size`` itself: no such map.
        relative_attention_num_buckets: of MPNet, how many numbers a head has to add to scores by
            the distance of two tokens, see :class:`thex_hf.modeling.relative.RelativeScores`; a
            multiple of 4. Of the forms the normalised one alone has it. None: none.
        attention_power: exponent of ``"power"`` attention, 2, 4 or 6.
        reciprocal: fingerprint of the reciprocal network the weights were trained
            with; a model refuses to start with another one. None: not recorded.
        ranges: per layer, the largest absolute values seen on sample texts, under
            the names in :data:`RANGE_KEYS`; None before calibration.
        calibration: what the ranges were measured with: ``weights``, the digest of
            :func:`thex_hf.modeling.export.weights_digest`, and perhaps ``logit``, the largest
            absolute logit seen, ``texts``, how many there were, ``strange``, how many that nobody
            wrote, ``beyond``, how many of these went beyond twice the range, and ``lost``, how many
            usual texts ran away. None: not recorded.
        **kwargs: everything a Hugging Face configuration takes.

    Raises:
        ConversionError: a field has a value that is not on offer.
    """

    model_type = "thex_bert"

    def __init__(
        self,
        vocab_size: int = 30522,
        hidden_size: int = 128,
        num_hidden_layers: int = 2,
        num_attention_heads: int = 2,
        intermediate_size: int = 512,
        max_position_embeddings: int = 512,
        type_vocab_size: int = 2,
        layer_norm_eps: float = 1e-12,
        initializer_range: float = 0.02,
        hidden_dropout_prob: float = 0.1,
        attention_probs_dropout_prob: float = 0.1,
        pad_token_id: int | None = 0,
        activation: str = "relu",
        softmax: str = "estimate",
        norm: str = "affine",
        attention_power: int = 2,
        reciprocal: str | None = None,
        ranges: list[dict[str, float]] | None = None,
        pooling: str = "cls",
        embedding_size: int | None = None,
        calibration: dict[str, Any] | None = None,
        norm_degrees: list[list[int]] | None = None,
        relative_attention_num_buckets: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.max_position_embeddings = max_position_embeddings
        self.type_vocab_size = type_vocab_size
        self.layer_norm_eps = layer_norm_eps
        self.initializer_range = initializer_range
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.activation = activation
        self.softmax = softmax
        self.norm = norm
        self.attention_power = attention_power
        self.reciprocal = reciprocal
        self.ranges = ranges
        self.calibration = calibration
        self.pooling = pooling
        self.norm_degrees = norm_degrees
        self.relative_attention_num_buckets = relative_attention_num_buckets
        self.embedding_size = None if embedding_size == hidden_size else embedding_size
        self._check()
        if kwargs.get("is_decoder") or kwargs.get("add_cross_attention"):
            raise ConversionError(
                "THE-X models are encoders, every token sees every other: leave is_decoder and "
                "add_cross_attention out."
            )
        super().__init__(pad_token_id=pad_token_id, **kwargs)
        fields: Any = self
        if sorted(fields.id2label) != list(range(len(fields.id2label))):
            raise ConversionError(
                f"id2label should name the labels 0, 1, ... in order; got {fields.id2label!r}."
            )
        if fields.problem_type is None and fields.num_labels == 1:
            fields.problem_type = "regression"  # else a pipeline would make a probability of it

    @property
    def form(self) -> str:
        """``"the-x"``, ``"polynomial"``, ``"normalised"``, or ``"unconverted"``: none throughout.

        In THE-X form the softmax may be estimate or exact: both need the client anyway.
        """
        kinds = (self.activation, self.softmax, self.norm)
        if kinds in {("relu", "estimate", "affine"), ("relu", "exact", "affine")}:
            return "the-x"
        if kinds in {("quadratic", "power", "affine"), ("quadratic", "power", "centred")}:
            return "polynomial"
        if kinds == ("quadratic", "power", "chebyshev"):
            return "normalised"
        return "unconverted"

    @property
    def fully_converted(self) -> bool:
        """Whether the encoder can run under encryption, in one of the forms."""
        return self.form != "unconverted"

    @property
    def degrees(self) -> list[list[int]]:
        """Degrees of the norms of each layer, see ``norm_degrees``; 0 throughout in other forms."""
        usual = USUAL_DEGREE if self.norm == "chebyshev" else 0
        return self.norm_degrees or [[usual, usual] for _ in range(self.num_hidden_layers)]

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read ``config.json`` and refuse one of another model type.

        Raises:
            ConversionError: the checkpoint is not of type ``thex_bert``.
        """
        values, rest = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        kind = values.get("model_type")
        if kind != cls.model_type:
            raise ConversionError(
                f"{str(pretrained_model_name_or_path)!r} should be a THE-X checkpoint "
                f"(model_type {cls.model_type!r}), but its model_type is {kind!r}. "
                "Convert it first: run thex-hf convert."
            )
        return values, rest

    def _check(self) -> None:
        """Raise on values that are not on offer."""
        offers = {
            "activation": ACTIVATIONS,
            "softmax": SOFTMAXES,
            "norm": NORMS,
            "pooling": POOLINGS,
        }
        for name, values in offers.items():
            value = getattr(self, name)
            if value not in values:
                raise ConversionError(
                    f"{name} should be one of {', '.join(values)}; got {value!r}."
                )
        if self.attention_power not in POWERS:
            raise ConversionError(
                f"attention_power should be one of {', '.join(map(str, POWERS))}; got "
                f"{self.attention_power!r}."
            )
        if self.num_hidden_layers < 1:
            raise ConversionError(
                f"num_hidden_layers should be at least 1; got {self.num_hidden_layers!r}: without "
                "an encoder there is nothing to run under encryption."
            )
        if self.num_attention_heads < 1 or self.hidden_size % self.num_attention_heads:
            raise ConversionError(
                f"hidden_size {self.hidden_size} should be a multiple of "
                f"num_attention_heads, which is {self.num_attention_heads}."
            )
        size = self.embedding_size
        if size is not None and (not isinstance(size, int) or size < 1):
            raise ConversionError(
                f"embedding_size should be a positive whole number or None; got {size!r}."
            )
        if self.relative_attention_num_buckets is not None:
            self._check_relative(self.relative_attention_num_buckets)
        if self.norm_degrees is not None:
            self._check_degrees(self.norm_degrees)
        if self.ranges is not None:
            self._check_ranges(self.ranges)
        if self.calibration is not None:
            self._check_calibration(self.calibration)

    def _check_relative(self, buckets: Any) -> None:
        """Raise unless there are some, and they go with the form."""
        if type(buckets) is not int or buckets < 4 or buckets % 4:
            raise ConversionError(
                f"relative_attention_num_buckets should be a positive multiple of 4, or None; got "
                f"{buckets!r}."
            )
        if self.form in ("the-x", "polynomial"):
            raise ConversionError(
                f"a model that adds to attention scores by distance (MPNet) runs under protocol "
                f"'prepared' in normalised form, not in {self.form} form: convert it with --form "
                f"normalised."
            )

    def _check_degrees(self, degrees: Any) -> None:
        """Raise unless there are two of them for each layer, and one that divides."""
        offered = ", ".join(map(str, NORM_DEGREES))
        right = (
            self.norm == "chebyshev"
            and isinstance(degrees, list)
            and len(degrees) == self.num_hidden_layers
            and all(isinstance(pair, list) and len(pair) == 2 for pair in degrees)
            and all(type(one) is int and one in NORM_DEGREES for pair in degrees for one in pair)
            and any(map(any, degrees))
        )
        if not right:
            raise ConversionError(
                f"norm_degrees should be a list of {self.num_hidden_layers} pairs, one a layer, of "
                f"the numbers {offered}, not 0 throughout, and goes with norm 'chebyshev'; got "
                f"{degrees!r} with norm {self.norm!r}."
            )

    def _check_ranges(self, ranges: list[dict[str, float]]) -> None:
        """Raise unless there is one complete entry for each layer."""
        wanted = f"{self.num_hidden_layers} entries, one a layer, with {', '.join(RANGE_KEYS)}"
        if not isinstance(ranges, list) or len(ranges) != self.num_hidden_layers:
            raise ConversionError(f"ranges should be a list of {wanted}; got {ranges!r}.")
        for number, entry in enumerate(ranges):
            bad = [key for key in RANGE_KEYS if not _is_size(entry.get(key))]
            if bad:
                raise ConversionError(
                    f"ranges should be a list of {wanted}; entry {number} has no "
                    f"non-negative number for {', '.join(bad)}. Calibrate the model again."
                )

    def _check_calibration(self, record: Any) -> None:
        """Raise unless the known keys are right; those of later versions pass."""
        known = record if isinstance(record, dict) else {}
        logit = known.get("logit")
        counts = [known[name] for name in COUNTS if name in known]
        right = (
            isinstance(known.get("weights"), str),
            logit is None or _is_size(logit),
            *(_is_size(count) and isinstance(count, int) for count in counts),
        )
        if not all(right):
            raise ConversionError(
                "calibration should be a table with weights, a digest, and perhaps logit, "
                f"{', '.join(COUNTS)}, numbers that are not negative; got {record!r}. "
                "Calibrate the model again: thex-hf calibrate MODEL DATA."
            )


def _is_size(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < float("inf")
