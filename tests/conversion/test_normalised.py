"""The recipe of the normalised form: variances are led together, then polynomials divide."""

import contextlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from reference import polynomial_logits
from safetensors.torch import load_file
from source_models import save_source
from transformers import AutoTokenizer, BertForSequenceClassification

from thex_hf.backends.registry import get_backend
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.conversion import ConversionOptions, FitOptions, NormalisedOptions, convert
from thex_hf.conversion.checkpoint import Checkpoint, checkpoint_folder
from thex_hf.conversion.data.reading import read_texts
from thex_hf.conversion.options import options_from
from thex_hf.conversion.replacements import copy_model, fit_replacements
from thex_hf.conversion.roots import (
    check_degrees,
    copy_normalised,
    describe_roots,
    fit_roots,
    interval_of,
    measure_variances,
    norms_of,
    spread_around,
)
from thex_hf.conversion.scores import check_logits, lost_texts, score_served
from thex_hf.conversion.sources import start_model
from thex_hf.conversion.stage_options import NORMALISING
from thex_hf.conversion.training import trainer
from thex_hf.conversion.training.batches import collate, encode
from thex_hf.conversion.training.losses import run
from thex_hf.conversion.training.spread import NO_INTERVAL, Spread, log_variances
from thex_hf.conversion.training.stages import TrainingStage, distil_layers, follow
from thex_hf.errors import ConversionError, DivergenceError, OptionError
from thex_hf.local.session import LocalSession
from thex_hf.modeling import (
    ThexBertConfig,
    ThexBertForSequenceClassification,
    ThexBertForTokenClassification,
)
from thex_hf.modeling.norms import CentredNorm, ChebyshevNorm

torch.set_num_threads(1)
STAGES = ["unconverted", "fitted", "layer_wise", "layer_norms", "roots", "converted"]
SETTINGS = NormalisedOptions()
FORM = {"activation": "quadratic", "softmax": "power", "norm": "chebyshev"}
RATED = ("layer_wise", "layer_norms", "end_to_end", "steadying")


@pytest.fixture(scope="module")
def files(data_files):
    return {"train": data_files[0], "dev": data_files[1]}


@pytest.fixture(scope="module")
def exact(bert_folder):
    teacher = BertForSequenceClassification.from_pretrained(bert_folder)
    return start_model(teacher, activation="gelu", softmax="exact").eval()


@pytest.fixture(scope="module")
def data(bert_folder, data_files):
    tokenizer = AutoTokenizer.from_pretrained(bert_folder)
    return encode(tokenizer, read_texts(data_files[0]), 32)


@pytest.fixture(scope="module")
def normed(exact, data):
    student = copy_model(exact, activation="quadratic", softmax="power", attention_power=2)
    fit_replacements(exact, student, data, 200, "calibrated")
    return student


def short(**changes):
    settings = {"epochs": 3.0, "learning_rate": 1e-3, "batch_size": 32, "constants_rate": 5.0}
    return FitOptions(**{**settings, **changes})


def spread_of(variances):
    return float(np.mean([np.quantile(v, 0.99) - np.quantile(v, 0.01) for v in variances]))


def test_fits_leave_layer_norms_and_set_all_else(exact, normed):
    mine, theirs = normed.state_dict(), exact.state_dict()
    assert normed.config.norm == "layernorm"
    for name, tensor in theirs.items():
        assert torch.equal(tensor, mine[name]), name
    quadratic = normed.thex_bert.layers[0].activation.coefficients
    assert not torch.allclose(quadratic, normed.thex_bert.layers[1].activation.coefficients)


@pytest.mark.parametrize("train", [follow, distil_layers])
def test_training_brings_loss_and_spread_down(exact, normed, data, train):
    student = copy_model(normed)
    before = measure_variances(student, data, 200, SETTINGS, 0)
    losses, seen = replace(NORMALISING, spread_limit=0.1, spread_penalty=1.0), []
    spread = spread_around(before)
    start = spread.centres.detach().clone()
    stage = TrainingStage(data, short(epochs=5.0), losses, "layer norms", Checkpoint())
    fit_of = stage.fit

    def watched(model, loss_of, scored):
        def noting(net, batch):
            loss = loss_of(net, batch)
            seen.append(float(loss.detach()))
            return loss

        fit_of(model, noting, scored)

    object.__setattr__(stage, "fit", watched)
    train(student, exact, stage, spread=spread)
    after = measure_variances(student, data, 200, SETTINGS, 0)
    assert np.mean(seen[-10:]) < 0.5 * np.mean(seen[:10])
    assert spread_of(after) < 0.8 * spread_of(before)
    assert not torch.allclose(spread.centres, start, atol=1e-3)  # learned along


def test_the_penalty_is_of_rows_that_are_read(normed, data):
    batch = collate(data, torch.arange(8))
    with torch.no_grad():
        traces, _ = run(normed, batch)
    losses = replace(
        NORMALISING,
        spread_limit=0.3,
        spread_penalty=2.0,
        outside_penalty=3.0,
        interval_margin=(0.2, 0.4),
    )
    mean = worst = 0.0
    for number, trace in enumerate(traces):
        for logs in log_variances(trace):
            mask = batch["attention_mask"].bool()
            rows = [row[m][: 1 if number else None] for row, m in zip(logs, mask, strict=True)]
            mean += float((torch.relu((torch.cat(rows) - 0.5).abs() - 0.3) ** 2).mean())
            out = [
                (
                    torch.relu(row - 1 + losses.interval_margin[1])
                    + torch.relu(losses.interval_margin[0] - row)
                ).max()
                ** 2
                for row in rows
            ]
            worst += float(torch.stack(out).mean())
    alone = Spread([0.5] * 4)(normed, traces, batch, losses)
    assert float(alone.detach()) == pytest.approx(2 * mean, rel=1e-5)
    both = Spread([0.5] * 4, [(0.0, 1.0)] * 4)(normed, traces, batch, losses)
    assert float(both.detach()) == pytest.approx(2 * mean + 3 * worst, rel=1e-5)
    none = Spread([0.5] * 4, [NO_INTERVAL] * 4)(normed, traces, batch, losses)
    assert float(none.detach()) == pytest.approx(2 * mean, rel=1e-5)
    none.backward()  # endless intervals leave the gradient finite


@pytest.mark.parametrize("degrees", [None, ((0, 4), (8, 0))])
def test_intervals_hold_the_variances_of_the_sample(exact, normed, data, degrees):
    settings = replace(SETTINGS, norm_degrees=degrees, most_ratio=1e4)
    variances = measure_variances(normed, data, 200, settings, 0)
    student = copy_normalised(normed, check_degrees(exact, settings))
    fit_roots(student, variances, settings)
    assert student.config.form == "normalised"
    wanted = [degree for pair in student.config.degrees for degree in pair]
    for norm, logs, degree in zip(norms_of(student), variances, wanted, strict=True):
        if not degree:
            assert type(norm) is CentredNorm
            continue
        low, high = norm.interval.tolist()
        inside = (np.exp(logs) > low) & (np.exp(logs) < high)
        assert inside.mean() > 0.998
        root = norm.root(torch.tensor(np.exp(logs[inside]), dtype=torch.float32)).detach().numpy()
        assert np.abs(root * np.exp(0.5 * logs[inside]) - 1).max() < 0.35
    described = [norm for layer in describe_roots(student) for norm in layer.values()]
    assert [norm["degree"] for norm in described] == wanted


def test_an_interval_is_widened_and_bounded():
    logs = np.log(np.linspace(1.0, 2.0, 1001))
    low, high = interval_of(logs, SETTINGS)
    assert low == pytest.approx(0.7 * 1.001, rel=1e-3)
    assert high == pytest.approx(3.0 * 1.9995, rel=1e-3)
    low, high = interval_of(np.array([0.0, 10.0]), SETTINGS)
    assert high == pytest.approx(120 * low)


def test_the_last_stage_knows_the_intervals(exact, normed, data):
    variances = measure_variances(normed, data, 200, SETTINGS, 0)
    settings = replace(SETTINGS, norm_degrees=((4, 0), (4, 4)))
    student = copy_normalised(normed, check_degrees(exact, settings))
    fit_roots(student, variances, settings)
    spread = spread_around(variances, student)
    assert [name for name, _ in spread.named_parameters()] == ["centres"]
    first = student.thex_bert.layers[0].attention_norm.interval
    torch.testing.assert_close(spread.intervals[0], first.log())
    assert spread.intervals[1].tolist() == [-math.inf, math.inf]


def test_steps_of_training_are_in_training_mode_where_polynomials_are_guarded(
    exact, normed, data, monkeypatch
):
    student = copy_normalised(normed, check_degrees(exact, SETTINGS))
    variances = measure_variances(normed, data, 200, SETTINGS, 0)
    fit_roots(student, variances, SETTINGS)
    seen, root = [], ChebyshevNorm.root
    monkeypatch.setattr(
        ChebyshevNorm, "root", lambda self, v: seen.append(self.training) or root(self, v)
    )
    stage = TrainingStage(data, short(epochs=0.1), NORMALISING, "last", Checkpoint())
    follow(student, exact, stage, spread=spread_around(variances, student))
    assert seen
    assert all(seen)
    assert not any(norm.training for norm in norms_of(student))


def test_constants_alone_learn_at_a_rate_of_their_own(normed):
    groups = trainer._optimizer(normed, short()).param_groups
    assert [group["lr"] for group in groups] == [1e-3, 1e-3, 5e-3]
    assert len(groups[2]["params"]) == 2 * 3  # shift, scale and coefficients of both layers
    assert len(trainer._optimizer(normed, short(constants_rate=1.0)).param_groups) == 2


@pytest.fixture(scope="module")
def options():
    fast = FitOptions(epochs=6.0, learning_rate=5e-3, batch_size=32)
    settings = NormalisedOptions(
        layer_wise=short(epochs=1.0),
        layer_norms=short(),
        end_to_end=short(epochs=2.0),
        steadying=short(epochs=1.0, learning_rate=2e-4),
        rounds=2,
        drawn=256,
    )
    return ConversionOptions(form="normalised", fine_tuning=fast, normalised=settings)


@pytest.fixture(scope="module")
def whole(bert_folder, files, options, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "out"
    return folder, convert(bert_folder, folder, **files, options=options)


def test_conversion_end_to_end(whole, files):
    folder, report = whole
    assert list(report.stages) == STAGES
    assert min(report.unconverted, report.converted) > 95
    assert report.form == "normalised"
    assert set(report.stage_seconds) >= {"fine_tuning", *STAGES[1:]}
    assert set(report.approximations[0]) == {
        "activation",
        "attention",
        "attention_norm",
        "output_norm",
    }
    assert json.loads((folder / "conversion.json").read_text()) == report.to_dict()
    model = ThexBertForSequenceClassification.from_pretrained(folder).eval()
    assert model.config.form == "normalised"
    assert model.config.degrees == [[4, 4], [4, 4]]
    ids = encode(AutoTokenizer.from_pretrained(folder), read_texts(files["dev"]), 32).ids[3][None]
    expected = polynomial_logits(model.encoder_weights(), model.embed(ids)[0].detach().numpy())
    np.testing.assert_allclose(model(ids).logits[0].detach(), expected, atol=1e-4)


class Killed(BaseException):
    """Stands for a kill: nothing of ours may catch it."""


@pytest.mark.parametrize(
    "stage", ["distillation with layer norms", "end-to-end distillation", "steadying 2"]
)
def test_killed_it_goes_on_to_the_very_same_weights(
    bert_folder, files, options, whole, tmp_path, monkeypatch, stage
):
    monkeypatch.setattr(trainer, "BETWEEN_SAVES", -1.0)  # keep the state after every step
    check = trainer.DivergenceGuard.check

    def killing(self, loss, step):
        if self.name == stage and step == 5:
            raise Killed
        check(self, loss, step)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.DivergenceGuard, "check", killing)
        with pytest.raises(Killed):
            convert(bert_folder, tmp_path / "out", **files, options=options)
    assert not (tmp_path / "out").exists()
    again = convert(bert_folder, tmp_path / "out", **files, options=options)
    wanted, found = (load_file(f / "model.safetensors") for f in (whole[0], tmp_path / "out"))
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert again.approximations == whole[1].approximations
    assert not checkpoint_folder(tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "relu"}, "softplus-minimax"),
        ({"attention_power": 3}, "2, 4, 6 in normalised form"),
        ({"norm_degree": 3}, "1, 2, 4, 8 in normalised form"),
        ({"norm_degree": 0}, "norm_degree"),
        ({"dropout": 1.0}, "dropout"),
        ({"end_to_end": FitOptions(batch_size=0)}, "end_to_end"),
        ({"quantiles": (0.9, 0.1)}, "quantiles"),
        ({"widening": (1.2, 1.5)}, "widening"),
        ({"most_ratio": 1.0}, "most_ratio"),
    ],
)
def test_options_check_names_and_numbers(change, message):
    with pytest.raises(OptionError, match=message):
        NormalisedOptions(**change)


def test_degrees_that_do_not_fit_the_model_are_refused_at_once(exact):
    with pytest.raises(ConversionError, match="list of 2 pairs"):
        check_degrees(exact, replace(SETTINGS, norm_degrees=((4, 4),)))


def test_settings_of_one_form_are_refused_with_another():
    with pytest.raises(OptionError, match="--norm-degree: for --form normalised only"):
        options_from(form="polynomial", normalised={"norm_degree": 4})
    with pytest.raises(OptionError, match="--norm: for --form polynomial only"):
        options_from(form="normalised", polynomial={"norm": "centred"})
    with pytest.raises(OptionError, match="leave out form normalised"):
        options_from(form="normalised", recipe="as-published")


def test_effort_and_batch_size():
    settings = options_from(form="normalised", effort=0.5).normalised
    assert (settings.layer_norms.least_steps, settings.layer_norms.batch_size) == (375, 32)
    assert (settings.steadying.least_steps, settings.drawn, settings.rounds) == (100, 2048, 3)
    assert options_from(form="normalised", batch_size=8).normalised.end_to_end.batch_size == 8
    assert options_from(form="polynomial").polynomial.end_to_end.batch_size == 32


def test_command_line(asked):
    form = ["--form", "normalised"]
    flags = ["--activation", "quadratic", "--attention-power", "4", "--norm-degree", "8"]
    settings = asked(*form, *flags, "--effort", "2")[1]["options"].normalised
    assert (settings.activation, settings.attention_power) == ("quadratic", 4)
    assert (settings.norm_degree, settings.layer_norms.epochs) == (8, 1.0)
    for wrong in (["--norm", "centred"], ["--norm-degree", "5"], ["--recipe", "as-published"]):
        result, seen = asked(*form, *wrong)
        assert isinstance(result.exception, OptionError)
        assert not seen


@pytest.mark.parametrize(("hidden", "share"), [(128, 1.0), (384, 1.0), (768, 0.5), (1024, 0.375)])
def test_wide_models_learn_at_lower_rates(hidden, share):
    slower = SETTINGS.at_width(hidden)
    for name in RATED:
        own, usual = getattr(slower, name), getattr(SETTINGS, name)
        assert own == replace(usual, learning_rate=share * usual.learning_rate)
    assert replace(slower, **{n: getattr(SETTINGS, n) for n in RATED}) == SETTINGS


def test_the_recipe_takes_the_rates_of_its_width(mpnet, files, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(
        NormalisedOptions, "at_width", lambda self, hidden: seen.append(hidden) or self
    )
    none = short(epochs=0.0)
    settings = NormalisedOptions(**dict.fromkeys(RATED, none))
    options = ConversionOptions(form="normalised", normalised=settings, fine_tuning=none)
    with contextlib.suppress(ConversionError):  # untrained, it may run away
        convert(mpnet, tmp_path / "out", **files, options=options)
    assert seen == [32]


@pytest.fixture(scope="module")
def mpnet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mpnet")
    save_source(folder, "mpnet", num_labels=2)
    return folder


def test_mpnet_keeps_what_it_adds_to_scores(mpnet, files, options, tmp_path):
    quick = short(epochs=0.5)
    quick_stages = dict.fromkeys(("layer_wise", "layer_norms", "end_to_end"), quick)
    settings = replace(options.normalised, **quick_stages, rounds=1)
    report = convert(
        mpnet, tmp_path / "out", **files, options=replace(options, normalised=settings)
    )
    assert list(report.stages) == STAGES
    model = ThexBertForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    weights = model.encoder_weights()
    assert weights.relative.shape == (32, 4)
    assert np.abs(weights.relative).max() > 0.1
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = encode(tokenizer, read_texts(files["dev"]), 16).ids[3][None]
    x = model.embed(ids)[0].detach().numpy()
    expected = polynomial_logits(weights, x)
    np.testing.assert_allclose(model(ids).logits[0].detach(), expected, atol=1e-4)
    result = LocalSession(weights, get_backend("seal"), PlanOptions("prepared")).run(x)
    assert np.abs(result.logits - expected).max() < 0.02


@pytest.mark.parametrize("form", ["the-x", "polynomial"])
def test_mpnet_is_refused_in_other_forms_before_anything_is_trained(mpnet, files, form, tmp_path):
    with pytest.raises(ConversionError, match="convert it with --form normalised"):
        convert(mpnet, tmp_path / "out", **files, options=ConversionOptions(form=form))
    assert not (tmp_path / "out").exists()


def test_mpnet_with_buckets_that_transformers_ignores_is_refused(tmp_path, files):
    save_source(tmp_path / "source", "mpnet", num_labels=2, relative_attention_num_buckets=16)
    with pytest.raises(ConversionError, match=r"buckets 16, where transformers computes with 32"):
        convert(
            tmp_path / "source",
            tmp_path / "out",
            **files,
            options=ConversionOptions(form="normalised"),
        )


@pytest.mark.parametrize("bad", [math.inf, math.nan, -2000.0])
def test_development_texts_that_run_away_count_as_wrong(data, bad):
    model = ThexBertForSequenceClassification(ThexBertConfig(**FORM))
    labels = data.labels
    logits = torch.nn.functional.one_hot(labels, 2).float()
    logits[7] = bad
    lost = lost_texts(model, logits)
    assert lost.nonzero().tolist() == [[7]]
    check_logits(logits, {}, lost)
    assert score_served(logits, data, lost) == pytest.approx(100 * (1 - 1 / len(data)))
    assert score_served(logits, data, torch.zeros_like(lost)) >= 99
    logits[:5] = bad
    with pytest.raises(DivergenceError, match=rf"6 of {len(data)} development texts run away"):
        check_logits(logits, {}, lost_texts(model, logits))


def test_in_other_forms_no_text_may_run_away(data):
    model = ThexBertForSequenceClassification(ThexBertConfig())
    logits = torch.zeros(len(data), 2)
    logits[7] = math.inf
    lost = lost_texts(model, logits)
    assert not lost.any()
    with pytest.raises(DivergenceError, match="not finite"):
        check_logits(logits, {}, lost)


def test_of_tags_too():
    model = ThexBertForTokenClassification(ThexBertConfig(**FORM))
    logits = (torch.zeros(3, 2), torch.full((4, 2), 1e4), torch.zeros(2, 2))
    assert lost_texts(model, logits).tolist() == [False, True, False]
