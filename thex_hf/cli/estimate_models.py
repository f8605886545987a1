"""What ``thex-hf estimate`` is asked about: a converted model, or the sizes of any other BERT."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from thex_hf._paths import user_path
from thex_hf.approximations.layernorm import inverse_root
from thex_hf.bundled import bundled_checkpoint
from thex_hf.errors import ConversionError
from thex_hf.modeling.configuration_thex_bert import RANGE_KEYS, ThexBertConfig
from thex_hf.weights import Array, EncoderWeights, InverseRoot, LayerWeights, PolynomialTerms

RANGE = 8.0
"""What is assumed of every range of a model that was not converted; trained ones are near it."""
KINDS = {
    "the-x": {"activation": "relu", "softmax": "estimate", "norm": "affine"},
    "polynomial": {"activation": "quadratic", "softmax": "power", "norm": "affine"},
    "normalised": {"activation": "quadratic", "softmax": "power", "norm": "chebyshev"},
}
INTERVAL = (0.1, 3.0)
"""Of the variances in the norms of a model that was not converted."""


@dataclass(frozen=True)
class Subject:
    """A model to plan for.

    Args:
        weights: its own, or drawn ones of its sizes.
        config: with ranges and softmax.
        drawn: whether the weights are drawn, since the model is not converted.
    """

    weights: EncoderWeights
    config: ThexBertConfig
    drawn: bool = False


def subject_of(model: str | None, form: str) -> Subject:
    """The model to plan for in one form.

    Args:
        model: folder or Hub name of a converted model, which has one form; of an unconverted
            one, or a ``config.json``, which is taken in the form asked for; the bundled if None.
        form: one of :data:`thex_hf.circuits.protocols.MODEL_FORMS`.

    Raises:
        ConversionError: there is none, or it is of no family that can be converted.
        OptionError: no bundled model has that form.
    """
    from thex_hf.modeling.opening import open_model

    sizes = None if model is None else unconverted(model)
    if sizes is not None:
        config = converted_config(sizes, str(model), form)
        return Subject(drawn_weights(config), config, drawn=True)
    loaded = open_model(model or bundled_checkpoint(form))
    return Subject(loaded.encoder_weights(), loaded.config)


def form_of(model: str | None) -> str | None:
    """The form of a converted model; None where the bundled ones, or sizes, can be of either.

    Raises:
        ConversionError: as :func:`subject_of`.
    """
    from thex_hf.modeling.opening import open_model

    if model is None or unconverted(model) is not None:
        return None
    form: str = open_model(model).config.form
    return form


def only_form(model: str | None) -> str | None:
    """The one form that an unconverted model can take; None where it is converted, or has a choice.

    Raises:
        ConversionError: as :func:`subject_of`.
    """
    from thex_hf.conversion.sources.families import DISTANCE_BUCKETS
    from thex_hf.conversion.sources.registry import find_family

    sizes = None if model is None else unconverted(model)
    if sizes is None:
        return None
    family = find_family(str(sizes.get("model_type")))
    adds = sizes.get(DISTANCE_BUCKETS) or (family is not None and DISTANCE_BUCKETS in family.sizes)
    return "normalised" if adds else None


def unconverted(model: str) -> dict[str, Any] | None:
    """The configuration of a model that is not converted; None where it is, or is none.

    Raises:
        ConversionError: a file that is no configuration.
    """
    place = user_path("model", model)
    if place.is_file():
        return _read_file(place)
    if place.is_dir() and not (place / "config.json").is_file():
        return None  # an adapter's folder, or none of a model
    from thex_hf.conversion.sources.reading import read_config

    config = read_config(model)
    if config.get("model_type") != ThexBertConfig.model_type:
        return config
    partly = config.get("activation") == "gelu" or config.get("norm") == "layernorm"
    return config if partly else None


def _read_file(place: Path) -> dict[str, Any]:
    try:
        config = json.loads(place.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it holds no JSON object")
    except ValueError as error:
        raise ConversionError(
            f"{str(place)!r} should be a model's config.json, or its folder: {error}"
        ) from error
    return config


def converted_config(sizes: dict[str, Any], name: str, form: str) -> ThexBertConfig:
    """The configuration that a conversion would give, with ranges that are assumed.

    Args:
        sizes: ``config.json`` as read, of a family that can be converted, or of our own.
        name: of the model, for messages.
        form: that the model would be converted to.

    Raises:
        ConversionError: it cannot be converted, says why.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CONFIG_MAPPING

    from thex_hf.conversion.sources.families import HEADLESS, SEQUENCE
    from thex_hf.conversion.sources.registry import family_of, head_of
    from thex_hf.conversion.sources.start import thex_config

    try:
        if sizes.get("model_type") == ThexBertConfig.model_type:
            kept = {**sizes, **KINDS[form], "calibration": None}
            if form != "normalised":
                kept["norm_degrees"] = None
            config = ThexBertConfig(**kept)
        else:
            head = head_of(sizes, name)
            task = SEQUENCE if head == HEADLESS else head
            source = CONFIG_MAPPING[sizes["model_type"]].from_dict(sizes)
            config = thex_config(source, family_of(source, task), **KINDS[form])
            config.architectures = [task]
    except (AttributeError, KeyError, TypeError, ValueError, StrictDataclassError) as error:
        raise ConversionError(f"the configuration of {name!r} cannot be read: {error}") from error
    config.ranges = [dict.fromkeys(RANGE_KEYS, RANGE)] * config.num_hidden_layers
    return config


def drawn_weights(config: ThexBertConfig) -> EncoderWeights:
    """Weights of a configuration's sizes and form, drawn at random, of ordinary size."""
    draw = partial(_matrix, np.random.default_rng(0))
    size, wide, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads

    def layer(degrees: list[int]) -> LayerWeights:
        terms = PolynomialTerms(
            config.attention_power,
            np.full(heads, 3.0),
            np.full(heads, 0.1),
            _SQUARE,
            centred=config.norm != "affine",
        )
        first, second = map(_root, degrees)
        zeros, ones = np.zeros(size), np.ones(size)
        return LayerWeights(
            query=draw(size, size),
            query_bias=zeros,
            key=draw(size, size),
            value=draw(size, size),
            output=draw(size, size),
            output_bias=zeros,
            attention_scale=ones,
            attention_shift=zeros,
            up=draw(wide, size),
            up_bias=np.zeros(wide),
            down=draw(size, wide),
            down_bias=zeros,
            output_scale=ones,
            output_shift=zeros,
            polynomial=None if config.form == "the-x" else terms,
            attention_root=first,
            output_root=second,
        )

    tokens = any("token" in str(name).lower() for name in config.architectures or [])
    return EncoderWeights(
        heads,
        tuple(map(layer, config.degrees)),
        draw(config.num_labels, size),
        np.zeros(config.num_labels),
        "tokens" if tokens else config.pooling,
    )


_SQUARE = np.array([0.125, 0.25, 0.5])
"""Coefficients of an activation."""


def _root(degree: int) -> InverseRoot | None:
    return InverseRoot(inverse_root(*INTERVAL, degree)[0], np.array(INTERVAL)) if degree else None


def _matrix(rng: np.random.Generator, out: int, inner: int) -> Array:
    drawn: Array = rng.normal(size=(out, inner)) * 0.5 / np.sqrt(inner)
    return drawn
