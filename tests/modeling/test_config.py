import pytest

from thex_hf.errors import ConversionError
from thex_hf.modeling import ThexBertConfig
from thex_hf.modeling.configuration_thex_bert import RANGE_KEYS


@pytest.mark.parametrize("field", ["activation", "softmax", "norm"])
def test_unknown_approximations_are_refused_by_name(field):
    with pytest.raises(ConversionError, match=f"{field} should be one of .*swish"):
        ThexBertConfig(**{field: "swish"})


def test_heads_must_divide_hidden_size():
    with pytest.raises(ConversionError, match="multiple"):
        ThexBertConfig(hidden_size=32, num_attention_heads=5)


@pytest.mark.parametrize(
    "ranges",
    [
        [],
        [dict.fromkeys(RANGE_KEYS, 1.0)],
        [dict.fromkeys(RANGE_KEYS, float("nan"))] * 2,
        [dict.fromkeys(RANGE_KEYS[1:], 1.0)] * 2,
    ],
)
def test_incomplete_ranges_are_refused(ranges):
    with pytest.raises(ConversionError, match="ranges"):
        ThexBertConfig(ranges=ranges)


def test_fields_survive_saving(tmp_path):
    ranges = [dict.fromkeys(RANGE_KEYS, 1.5)] * 2
    config = ThexBertConfig(activation="gelu", softmax="exact", norm="layernorm", ranges=ranges)
    config.save_pretrained(tmp_path)
    loaded = ThexBertConfig.from_pretrained(tmp_path)
    for name in ("activation", "softmax", "norm", "ranges"):
        assert getattr(loaded, name) == getattr(config, name)


def test_fully_converted():
    assert ThexBertConfig().fully_converted
    assert ThexBertConfig(softmax="exact").fully_converted
    assert not ThexBertConfig(activation="gelu").fully_converted
    assert not ThexBertConfig(norm="layernorm").fully_converted
