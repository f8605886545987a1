"""Open the model to convert, or say why it cannot be converted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, PretrainedConfig

from thex_hf.errors import ConversionError
from thex_hf.modeling.modeling_thex_bert import refuse_pickle

SUPPORTED = (
    "Supported: model_type bert, architecture BertForSequenceClassification, hidden_act "
    "gelu or relu, absolute positions, weights in safetensors."
)
ACTIVATIONS = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu")


def load_source(source: str | Path) -> tuple[BertForSequenceClassification, Any]:
    """Load a fine-tuned BERT classifier and its tokenizer.

    Args:
        source: folder or Hub name.

    Raises:
        ConversionError: it cannot be read, or is not what is supported.
    """
    check_config(read_config(source), str(source))
    refuse_pickle(Path(source))
    try:
        model = BertForSequenceClassification.from_pretrained(source, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ConversionError(f"{str(source)!r} cannot be loaded: {error} {SUPPORTED}") from error
    return model.float().eval(), tokenizer


def read_config(source: str | Path) -> dict[str, Any]:
    """Read ``config.json`` without building anything.

    Raises:
        ConversionError: there is none.
    """
    try:
        found: dict[str, Any] = PretrainedConfig.get_config_dict(source)[0]
    except OSError as error:
        raise ConversionError(
            f"{str(source)!r} should be a model folder or a Hub name: {error}"
        ) from error
    return found


def check_config(found: dict[str, Any], name: str) -> None:
    """Raise unless a configuration dictionary is of the supported kind.

    Raises:
        ConversionError: says what was found and lists what is supported.
    """
    defaults = BertConfig()
    architectures = found.get("architectures") or []
    problems = {
        f"model_type {found.get('model_type')!r}": found.get("model_type") != "bert",
        f"architectures {architectures}": "BertForSequenceClassification" not in architectures,
        f"hidden_act {found.get('hidden_act')!r}": found.get("hidden_act", defaults.hidden_act)
        not in ACTIVATIONS,
        f"position_embedding_type {found.get('position_embedding_type')!r}": found.get(
            "position_embedding_type", "absolute"
        )
        != "absolute",
        "is_decoder": bool(found.get("is_decoder")),
        "add_cross_attention": bool(found.get("add_cross_attention")),
    }
    wrong = [problem for problem, present in problems.items() if present]
    if wrong:
        raise ConversionError(f"{name!r} cannot be converted: {', '.join(wrong)}. {SUPPORTED}")
