"""What a conversion says about its time, before it begins and on the way."""

import re
import time
from dataclasses import replace

import pytest
import torch
from transformers import AutoTokenizer, BertForSequenceClassification

from thex_hf.conversion import ConversionOptions, FitOptions, PolynomialOptions, convert
from thex_hf.conversion.checkpoint import Checkpoint
from thex_hf.conversion.data.reading import read_texts
from thex_hf.conversion.forecast import Clock, Work, plan_stages, spoken, time_steps
from thex_hf.conversion.options import options_from
from thex_hf.conversion.training.batches import encode

torch.set_num_threads(1)
FEW = FitOptions(epochs=0.4, learning_rate=1e-3, batch_size=32)


def test_plans_count_the_steps_of_every_stage(tmp_path):
    options = options_from(form="polynomial", effort=2.0)
    plan = plan_stages(options, 64, Checkpoint())
    assert list(plan) == ["bounded", "fitted", "layer_wise", "converted"]
    assert [work.steps for work in plan.values()] == [600, 0, 600, 5000 + 5 * 600]
    assert plan["fitted"].passes == 3
    checkpoint = Checkpoint.open(tmp_path / "w", {}, restart=False, writes=True)
    checkpoint.save_stage("bounded", torch.nn.Linear(1, 1))
    assert list(plan_stages(options, 64, checkpoint)) == ["fitted", "layer_wise", "converted"]
    nothing = plan_stages(options_from(effort=0.0), 64, Checkpoint())
    assert {name: work.steps for name, work in nothing.items()} == {"affine": 0}


def test_the_forecast_follows_the_pace_of_the_stages_that_ended():
    said = []
    clock = Clock(said.append)
    clock.begin([{"a": Work(1)}, {"b": Work(steps=100, passes=10)}], 0.01, 0.1)
    assert "about 3 s of work" in said[0]
    assert "b 100 steps 2 s" in said[0]
    with clock.timing("a"):
        time.sleep(0.1)
    assert 15 < clock.left < 60  # ten times slower than was said
    assert "a took 1 s; about" in said[1]
    with clock.timing("b"), clock.timing("c"):
        pass
    assert (clock.left, len(said), set(clock.seconds)) == (0.0, 2, {"a", "b", "c"})


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (99, "99 s"), (100, "2 min"), (7200, "2.0 h")]
)
def test_times_in_words(seconds, words):
    assert spoken(seconds) == words


def test_timing_changes_neither_model_nor_random_numbers(bert_folder, data_files):
    model = BertForSequenceClassification.from_pretrained(bert_folder)
    data = encode(AutoTokenizer.from_pretrained(bert_folder), read_texts(data_files[0]), 32)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    fitting = PolynomialOptions().end_to_end
    step, ask = time_steps(model, data, fitting, torch.device("cpu"))
    assert ask > 0
    assert step > 0
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_conversion_says_how_long_it_takes_and_took(bert_folder, data_files, tmp_path):
    settings = PolynomialOptions(
        bounding=FEW, layer_wise=FEW, end_to_end=FEW, steadying=replace(FEW, epochs=0.0)
    )
    options = ConversionOptions(form="polynomial", polynomial=settings)
    said = []
    train, dev = data_files
    report = convert(
        bert_folder, tmp_path / "o", train=train, dev=dev, options=options, announce=said.append
    )
    stages = ["answers", "bounded", "fitted", "layer_wise", "converted"]
    assert re.match(r"about \d+ s of work at [\d.e-]+ s a step: answers", said[0])
    assert [line.split()[0] for line in said[1:]] == stages[:-1]
    assert all(line.endswith("left") for line in said[1:])
    assert list(report.stage_seconds) == [*stages, "calibration"]
    assert sum(report.stage_seconds.values()) <= report.seconds + 0.5
    assert report.to_dict()["stage_seconds"] == report.stage_seconds
