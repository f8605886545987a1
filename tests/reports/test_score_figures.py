"""Attention scores: what is measured is what the layers compute, and the figure shows it."""

import json
import math

import numpy as np
import pytest
import torch
from source_models import make_tokenizer, save_source

import thex_hf
from thex_hf.approximations.softmax import ZERO_AT, cubed_relu
from thex_hf.conversion.data.reading import LabelledTexts
from thex_hf.errors import ConversionError
from thex_hf.modeling.configuration_thex_bert import RANGE_KEYS
from thex_hf.reports.plots import scores
from thex_hf.reports.plots.scores import LayerScores, Scores, draw_scores

TEXTS = LabelledTexts(("a good film", "the plot"), None, (1, 0), ("bad", "good"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A random BERT on disk, and as transformers loads it."""
    folder = tmp_path_factory.mktemp("bert")
    return folder, save_source(folder, num_labels=2)


@pytest.fixture(scope="module")
def converted():
    config = thex_hf.ThexBertConfig(
        vocab_size=24,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=20,
        initializer_range=0.3,
        ranges=[dict.fromkeys(RANGE_KEYS, limit) for limit in (2.5, 1.5)],
    )
    torch.manual_seed(0)
    return thex_hf.ThexBertForSequenceClassification(config)


def test_scores_of_a_source_are_its_own_but_for_the_key_bias(source, converted):
    folder, bert = source
    model, tokenizer = scores.open_source(folder, converted)
    found = scores.measure_scores(model, tokenizer, TEXTS, "source")
    with torch.no_grad():
        for bias in (layer.attention.self.key.bias for layer in bert.bert.encoder.layer):
            bias.zero_()
        expected = []
        for text in TEXTS.texts:
            layer = bert.bert.encoder.layer[0].attention.self
            ids = make_tokenizer()(text, return_tensors="pt")["input_ids"]
            stream = bert.bert.embeddings(ids)
            query, key = layer.query(stream)[0], layer.key(stream)[0]
            for q, k in zip(query.split(8, -1), key.split(8, -1), strict=True):
                expected.append((q @ k.T).flatten() / math.sqrt(8))
    values = torch.cat(expected).numpy()
    seen = found.layers[0].percentiles
    assert seen["0"] == pytest.approx(values.min(), rel=1e-4)
    assert seen["50"] == pytest.approx(np.median(values), rel=1e-3, abs=1e-5)
    assert seen["100"] == pytest.approx(values.max(), rel=1e-4)
    assert (found.form, found.texts) == ("unconverted", 2)
    assert found.layers[0].interval is None


def test_padding_does_not_count(converted):
    tokenizer = make_tokenizer()
    both = scores.measure_scores(converted, tokenizer, TEXTS, "mine")
    alone = [
        scores.measure_scores(
            converted, tokenizer, LabelledTexts((text,), None, (0,), ("bad", "good")), "mine"
        )
        for text in TEXTS.texts
    ]
    for layer in range(2):
        most = max(found.layers[layer].percentiles["100"] for found in alone)
        assert both.layers[layer].percentiles["100"] == pytest.approx(most, abs=1e-5)


def test_intervals_and_ranges_are_those_of_the_model(converted):
    found = scores.measure_scores(converted, make_tokenizer(), TEXTS, "mine")
    assert [layer.calibrated for layer in found.layers] == [2.5, 1.5]
    assert {layer.interval for layer in found.layers} == {(ZERO_AT, 3.0)}
    assert cubed_relu(np.array([ZERO_AT])) == 0.0 < cubed_relu(np.array([ZERO_AT + 0.01]))
    poly = thex_hf.ThexBertForSequenceClassification.from_pretrained(
        thex_hf.bundled_checkpoint("polynomial")
    )
    shifts = [layer.attention.softmax.shift.min().item() for layer in poly.thex_bert.layers]
    assert scores.intervals_of(poly) == [(-shift, 3.0) for shift in shifts]


def test_shares_outside_are_counted():
    found = LayerScores.of(np.array([-3.0, -1.0, 0.0, 4.0, 5.0], np.float32), (-2.0, 3.0), None)
    assert (found.below, found.above) == (0.2, 0.4)


def test_the_figure_has_boxes_ranges_and_intervals():
    layer = LayerScores.of(np.linspace(-4, 4, 101, dtype=np.float32), (-2.0, 3.0), 5.0)
    bare = LayerScores.of(np.linspace(-9, 9, 101, dtype=np.float32), None, None)
    models = [Scores("before", "unconverted", 7, (bare,)), Scores("mine", "the-x", 7, (layer,))]
    figure = draw_scores(models)
    (axes,) = figure.axes
    (band,) = [bar for bars in axes.containers for bar in bars]
    assert (band.get_y(), band.get_y() + band.get_height()) == (-2.0, 3.0)
    (ranges,) = axes.collections
    assert sorted(segment[0][1] for segment in ranges.get_segments()) == [-5.0, 5.0]
    flat = [line.get_ydata().tolist() for line in axes.lines]
    for found in (bare, layer):
        seen = found.percentiles
        assert pytest.approx([seen["0"], seen["100"]]) in flat
        assert pytest.approx([seen["50"]] * 2) in flat
    (words,) = [text.get_text() for text in axes.texts]
    assert words == f"{100 * layer.above:.1f} % above\n{100 * layer.below:.1f} % below"
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels[:2] == ["before (unconverted, 7 texts)", "mine (the-x, 7 texts)"]


def test_records_survive_a_file(converted):
    found = scores.measure_scores(converted, make_tokenizer(), TEXTS, "mine")
    assert Scores.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_source_of_another_depth_is_refused(converted, tmp_path):
    save_source(tmp_path, num_labels=2, num_hidden_layers=1)
    model, tokenizer = scores.open_source(tmp_path, converted)
    good = scores.intervals_of(converted)
    with pytest.raises(ConversionError, match="1 layers and the converted model 2"):
        scores.measure_scores(model, tokenizer, TEXTS, "source", intervals=good)
