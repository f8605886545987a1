import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from reference import polynomial_logits
from safetensors.torch import load_file
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from thex_hf.conversion import ConversionOptions, FitOptions, PolynomialOptions, convert
from thex_hf.conversion.checkpoint import Checkpoint
from thex_hf.conversion.data.reading import read_texts
from thex_hf.conversion.options import LossOptions
from thex_hf.conversion.replacements import copy_polynomial, fit_replacements
from thex_hf.conversion.scores import check_learned, check_values, score
from thex_hf.conversion.sources import start_model
from thex_hf.conversion.training.batches import collate, encode, sample
from thex_hf.conversion.training.losses import run
from thex_hf.conversion.training.stages import TrainingStage, distil_layers
from thex_hf.conversion.training.trainer import fit
from thex_hf.errors import ConversionError, OptionError
from thex_hf.modeling import ThexBertForSequenceClassification
from thex_hf.modeling.configuration_thex_bert import RANGE_KEYS

STAGES = ["unconverted", "bounded", "fitted", "layer_wise", "converted"]
NONE = FitOptions(epochs=0.0)


@pytest.fixture(scope="module")
def files(data_files):
    return {"train": data_files[0], "dev": data_files[1]}


@pytest.fixture
def quick():
    fast = FitOptions(epochs=6.0, learning_rate=5e-3, batch_size=32)
    slow = FitOptions(epochs=2.0, learning_rate=1e-3, batch_size=32)
    losses = LossOptions(guide=1.0, hidden=1.0, value_penalty=0.01)
    return ConversionOptions(
        form="polynomial",
        fine_tuning=fast,
        polynomial=PolynomialOptions(
            activation="calibrated",
            bounding=slow,
            layer_wise=slow,
            end_to_end=slow,
            steadying=slow,
            rounds=1,
            drawn=256,
            losses=losses,
        ),
    )


@pytest.fixture(scope="module")
def exact(bert_folder):
    """A model with GELU, softmax and layer norms, weights small enough for gentle scores."""
    teacher = BertForSequenceClassification.from_pretrained(bert_folder)
    model = start_model(teacher, activation="gelu", softmax="exact")
    with torch.no_grad():
        for layer in model.thex_bert.layers:
            layer.attention.query.weight.mul_(0.3)
    return model


@pytest.fixture(scope="module")
def data(bert_folder, data_files):
    tokenizer = AutoTokenizer.from_pretrained(bert_folder)
    return encode(tokenizer, read_texts(data_files[0]), 32)


@pytest.mark.parametrize(
    ("norm", "power"), [("affine", 2), pytest.param("centred", 4, marks=pytest.mark.slow)]
)
def test_conversion_end_to_end(bert_folder, files, quick, tmp_path, norm, power):
    options = replace(quick, polynomial=replace(quick.polynomial, norm=norm, attention_power=power))
    report = convert(bert_folder, tmp_path / "out", **files, options=options)
    assert list(report.stages) == STAGES
    assert min(report.unconverted, report.converted) > 95
    assert report.converted == report.stages["converted"]
    assert report.form == "polynomial"
    assert [n["activation"]["name"] for n in report.approximations] == ["calibrated"] * 2

    model = ThexBertForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    assert (model.config.form, model.config.attention_power) == ("polynomial", power)
    assert [set(entry) for entry in model.config.ranges] == [set(RANGE_KEYS)] * 2
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    dev = encode(tokenizer, read_texts(files["dev"]), 32)
    assert score(model, dev) == report.converted
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}

    ids = dev.ids[3][None]
    stream = model.embed(ids)[0].detach().numpy()
    expected = polynomial_logits(model.encoder_weights(), stream)
    np.testing.assert_allclose(model(ids).logits[0].detach(), expected, atol=1e-5)

    card = (tmp_path / "out" / "README.md").read_text()
    assert f"| this checkpoint | {report.converted:.2f} |" in card
    assert f"(x + c)^{power}" in card
    assert "None" not in card
    assert json.loads((tmp_path / "out" / "conversion.json").read_text()) == report.to_dict()


@torch.no_grad()
def error(exact, student, data):
    batch = collate(data, torch.arange(len(data)))
    ours, theirs = run(student, batch)[0][-1], run(exact, batch)[0][-1]
    return float(((ours.layer_norm - theirs.layer_norm)[:, 0] ** 2).mean())


@pytest.mark.slow
def test_fits_beat_the_start_and_layer_wise_training_beats_them(exact, data):
    before = {name: tensor.clone() for name, tensor in exact.state_dict().items()}
    student = copy_polynomial(exact, 2, "affine")
    copied = error(exact, student, data)
    notes = fit_replacements(exact, student, data, 400, "calibrated")
    fitted = error(exact, student, data)
    assert fitted < 0.5 * copied
    fitting = FitOptions(epochs=8.0, learning_rate=3e-3, batch_size=32)
    distil_layers(
        student, exact, TrainingStage(data, fitting, LossOptions(), "layers", Checkpoint())
    )
    assert error(exact, student, data) < 0.7 * fitted
    assert all(torch.equal(before[name], t) for name, t in exact.state_dict().items())
    low, high = notes[0]["activation"]["interval"]
    assert low < 0 < high


def test_the_fitted_names_differ_in_their_coefficients(exact, data):
    found = set()
    for name in ("quadratic", "softplus-minimax", "calibrated"):
        student = copy_polynomial(exact, 2, "affine")
        fit_replacements(exact, student, data, 100, name)
        found.add(tuple(student.thex_bert.layers[0].activation.coefficients.tolist()))
    assert len(found) == 3
    assert (0.125, 0.25, 0.5) in found


@pytest.mark.slow
def test_centred_norms_follow_layer_norms_more_closely(exact, data):
    errors = {}
    for norm in ("affine", "centred"):
        student = copy_polynomial(exact, 4, norm)
        fit_replacements(exact, student, data, 400, "calibrated")
        errors[norm] = error(exact, student, data)
    assert errors["centred"] < errors["affine"]


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param("bounding", marks=pytest.mark.slow),
        "layer_wise",
        pytest.param("end_to_end", marks=pytest.mark.slow),
    ],
)
def test_divergence_in_any_stage_is_an_error_and_nothing_is_saved(
    bert_folder, files, quick, tmp_path, stage
):
    wild = FitOptions(epochs=3.0, learning_rate=1e6, gradient_norm=1e30)
    calm = {"bounding": NONE, "layer_wise": NONE, "end_to_end": NONE}
    settings = replace(quick.polynomial, **{**calm, stage: wild})
    options = replace(quick, polynomial=settings, fine_tuning=NONE)
    with pytest.raises(ConversionError, match=r"[Nn]othing was saved|not finite"):
        convert(bert_folder, tmp_path / "out", **files, options=options)
    assert [path.name for path in tmp_path.iterdir()] == ["out.partial"]


def test_an_exploding_loss_is_named_with_stage_step_and_figure(exact, data):
    steps = iter(range(1000))

    def loss_of(net, batch):
        step = next(steps)
        return (1e4 if step == 3 or step > 6 else 1.0) + 0 * net.classifier.bias.sum()

    student = copy_polynomial(exact, 2, "affine")
    options = FitOptions(epochs=2.0, batch_size=32)
    with pytest.raises(
        ConversionError, match=r"some stage: the loss exploded to 1e\+04 at step 17 of 26"
    ):
        fit(student, loss_of, data, options, "some stage")


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 8, 9, 10, 11, 19, 20])
def test_a_stage_may_be_as_short_as_one_step(steps, data):
    model = torch.nn.Linear(1, 1)
    before = model.weight.detach().clone()
    options = FitOptions(epochs=1e-9, learning_rate=0.1, batch_size=4, least_steps=steps)
    fit(model, lambda net, batch: net(torch.ones(1, 1)).square().mean(), data, options, "short")
    assert torch.isfinite(model.weight).all()
    assert not torch.equal(model.weight, before)


def test_values_that_ran_away_are_named():
    ranges = [dict.fromkeys(RANGE_KEYS, 5.0), {**dict.fromkeys(RANGE_KEYS, 5.0), "ffn_pre": 4e5}]
    check_values(ranges[:1])
    with pytest.raises(ConversionError, match=r"ffn_pre of layer 1 reaches 4e\+05.*1024"):
        check_values(ranges)


def test_ending_at_chance_is_an_error_with_all_stages(data):
    dev = replace(data.pick(range(100)), labels=torch.tensor([0] * 60 + [1] * 40))
    good = {"unconverted": 90.0, "bounded": 89.0, "fitted": 60.0, "converted": 88.0}
    check_learned(good, dev)
    with pytest.raises(ConversionError, match=r"chance \(60\.00\).*bounded 89\.00"):
        check_learned({**good, "converted": 60.0}, dev)
    check_learned({**good, "bounded": 62.0, "converted": 60.0}, dev)  # nothing to lose


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "relu"}, "softplus-minimax"),
        ({"attention_power": 3}, "2, 4, 6"),
        ({"norm": "layernorm"}, "centred"),
        ({"dropout": 1.0}, "dropout"),
        ({"layer_wise": FitOptions(batch_size=0)}, "layer_wise"),
    ],
)
def test_options_check_names_and_numbers(change, message):
    with pytest.raises(OptionError, match=message):
        PolynomialOptions(**change)


def test_unknown_form():
    with pytest.raises(OptionError, match=r"the-x, polynomial, normalised; got 'taylor'"):
        ConversionOptions(form="taylor")


def test_command_line(asked):
    flags = ["--form", "polynomial", "--activation", "softplus-minimax"]
    flags += ["--attention-power", "4", "--norm", "centred", "--effort", "0.5"]
    flags += ["--weight-decay", "0.1", "--weight-decay", "0.01", "--early-stop"]
    options = asked(*flags)[1]["options"]
    settings = options.polynomial
    assert options.form == "polynomial"
    assert (settings.activation, settings.attention_power) == ("softplus-minimax", 4)
    assert (settings.norm, settings.layer_wise.epochs) == ("centred", 0.375)
    assert (options.weight_decays, options.early_stop) == ((0.1, 0.01), True)
    for wrong, word in (
        (["--norm", "centred"], "--norm"),
        (["--epochs", "2"], "--fine-tune"),
        (["--form", "polynomial", "--recipe", "as-published"], "as-published"),
        (["--recipe", "best"], "as-published"),
    ):
        result, seen = asked(*wrong)
        assert isinstance(result.exception, OptionError)
        assert word in str(result.exception)
        assert not seen


def test_samples_of_one_text_have_no_padded_queries(data):
    assert all(len(batch["input_ids"]) == 1 for batch in sample(data, 5, size=1))


@pytest.mark.slow
def test_regression_and_pairs(bert_folder, quick, tmp_path):
    config = BertConfig.from_pretrained(bert_folder, num_labels=1)
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(tmp_path / "source")
    AutoTokenizer.from_pretrained(bert_folder).save_pretrained(tmp_path / "source")
    rows = [(f"{'good ' * n}film", "the plot", n) for n in range(1, 6)] * 8
    lines = ["text_a\ttext_b\tscore", *(f"{a}\t{b}\t{s}" for a, b, s in rows)]
    path = tmp_path / "d.tsv"
    path.write_text("\n".join(lines))
    report = convert(tmp_path / "source", tmp_path / "out", train=path, dev=path, options=quick)
    assert report.metric == "pearson"
    assert report.converted > 80
