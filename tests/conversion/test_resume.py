import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from thex_hf.conversion import ConversionOptions, FitOptions, TheXOptions, beginning, convert
from thex_hf.conversion.checkpoint import Checkpoint, checkpoint_folder
from thex_hf.conversion.forecast import Clock
from thex_hf.conversion.stage_options import stages_of
from thex_hf.conversion.training import trainer
from thex_hf.conversion.training.batches import Encoded
from thex_hf.errors import ConversionError


class Killed(BaseException):
    """Stands for a kill: nothing of ours may catch it."""


@pytest.fixture(scope="module")
def files(data_files):
    return {"train": data_files[0], "dev": data_files[1]}


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def short():
    few = FitOptions(epochs=0.4, learning_rate=1e-3, batch_size=32, average=0.9, token_dropout=0.1)
    stages = dict.fromkeys(stages_of(TheXOptions()), few)
    return ConversionOptions(fine_tuning=few, the_x=TheXOptions(**stages))


@pytest.fixture(scope="module")
def whole(bert_folder, files, short, tmp_path_factory):
    """What a conversion gives that nobody interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    convert(bert_folder, folder, **files, options=short)
    return weights(folder)


@pytest.mark.parametrize(
    "at", [pytest.param(3, marks=pytest.mark.slow), 18, pytest.param(34, marks=pytest.mark.slow)]
)
def test_killed_at_any_step_it_goes_on_to_the_very_same_weights(
    bert_folder, files, short, whole, tmp_path, monkeypatch, at
):
    monkeypatch.setattr(trainer, "BETWEEN_SAVES", -1.0)  # keep the state after every step
    left = iter(range(at))
    check = trainer.DivergenceGuard.check

    def killing(self, loss, step):
        if next(left, None) is None:
            raise Killed
        check(self, loss, step)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.DivergenceGuard, "check", killing)
        with pytest.raises(Killed):
            convert(bert_folder, tmp_path / "out", **files, options=short)
    assert not (tmp_path / "out").exists()
    kept = {path.suffix for path in checkpoint_folder(tmp_path / "out").iterdir()}
    assert kept <= {".json", ".safetensors"}
    convert(bert_folder, tmp_path / "out", **files, options=short)
    found = weights(tmp_path / "out")
    assert all(torch.equal(whole[name], found[name]) for name in whole)
    assert not checkpoint_folder(tmp_path / "out").exists()


def test_the_source_is_asked_once_for_its_answers(
    bert_folder, files, short, whole, tmp_path, monkeypatch
):
    def killing(self, loss, step):
        if self.name == "bounded scores":
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(trainer.DivergenceGuard, "check", killing)
        with pytest.raises(Killed):
            convert(bert_folder, tmp_path / "out", **files, options=short)
    kept = load_file(checkpoint_folder(tmp_path / "out") / "answers.safetensors")
    assert kept["logits"].shape == (400, 2)
    monkeypatch.setattr(beginning, "predict", refuse)
    said = []
    report = convert(bert_folder, tmp_path / "out", **files, options=short, announce=said.append)
    found = weights(tmp_path / "out")
    assert all(torch.equal(whole[name], found[name]) for name in whole)
    assert "answers" not in report.stage_seconds
    assert not [line for line in said if "answers" in line]


def refuse(*_):
    raise AssertionError("the source should not be asked again")


def test_answers_for_each_token_come_back_as_they_were(tmp_path, monkeypatch):
    ids = tuple(torch.arange(length) for length in (3, 5, 4))
    data = Encoded(ids, ids, ids, pad_id=0, mask_id=None, kind="tags")
    logits = tuple(torch.randn(len(row), 7) for row in ids)
    monkeypatch.setattr(beginning, "predict", lambda *_: logits)
    checkpoint = Checkpoint.open(tmp_path / "w", {}, restart=False, writes=True)
    asked = beginning.source_answers(torch.nn.Identity(), data, checkpoint, Clock())
    monkeypatch.setattr(beginning, "predict", refuse)
    again = beginning.source_answers(torch.nn.Identity(), data, checkpoint, Clock())
    assert asked is logits
    assert all(map(torch.equal, again, logits))
    path = tmp_path / "w" / "answers.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ConversionError, match=r"'answers\.safetensors'.*damaged.*restart"):
        beginning.source_answers(torch.nn.Identity(), data, checkpoint, Clock())


@pytest.mark.slow
def test_damaged_work_is_kept_until_restart(bert_folder, files, short, tmp_path, monkeypatch):
    def killing(self, loss, step):
        if self.name == "ReLU":
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(trainer.DivergenceGuard, "check", killing)
        with pytest.raises(Killed):
            convert(bert_folder, tmp_path / "out", **files, options=short)
    stage = checkpoint_folder(tmp_path / "out") / "bounded.safetensors"
    stage.write_bytes(stage.read_bytes()[:-5])
    with pytest.raises(ConversionError, match="damaged"):
        convert(bert_folder, tmp_path / "out", **files, options=short)
    assert stage.is_file()
    convert(bert_folder, tmp_path / "out", **files, options=replace(short, restart=True))
    assert not stage.exists()


@pytest.mark.slow
def test_other_options_are_refused_until_restart(bert_folder, files, short, tmp_path):
    folder = checkpoint_folder(tmp_path / "out")
    Checkpoint.open(folder, {"options": 1}, restart=False, writes=True)
    with pytest.raises(
        ConversionError, match=r"unfinished conversion with other .*options.*restart"
    ):
        convert(bert_folder, tmp_path / "out", **files, options=short)
    assert folder.is_dir()
    convert(bert_folder, tmp_path / "out", **files, options=replace(short, restart=True))
    assert not folder.exists()


def test_damaged_work_is_named(tmp_path):
    checkpoint = Checkpoint.open(tmp_path / "w", {}, restart=False, writes=True)
    model = torch.nn.Linear(2, 2)
    checkpoint.save_stage("relu", model)
    assert checkpoint.load_stage("relu", model)
    path = tmp_path / "w" / "relu.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ConversionError, match=r"'relu\.safetensors'.*damaged.*restart"):
        checkpoint.load_stage("relu", model)
    (tmp_path / "w" / "begun.json").write_text("{")
    with pytest.raises(ConversionError, match=r"begun\.json"):
        Checkpoint.open(tmp_path / "w", {}, restart=False, writes=True)


def test_a_state_cut_between_its_two_files_is_not_used(tmp_path):
    checkpoint = Checkpoint.open(tmp_path / "w", {}, restart=False, writes=True)
    checkpoint.save_loop("relu", {"a": torch.ones(1)}, {"step": 3})
    assert checkpoint.load_loop("relu")[1]["step"] == 3
    save_file({"a": torch.ones(1), "step": torch.tensor(4)}, tmp_path / "w/inside-relu.safetensors")
    assert checkpoint.load_loop("relu") is None


@pytest.mark.slow
def test_a_real_kill_of_the_command(bert_folder, files, tmp_path):
    command = [sys.executable, "-c", "from thex_hf.cli.main import app; app()", "convert"]
    command += [str(bert_folder), str(tmp_path / "out"), "--json", "--batch-size", "8"]
    command += ["--train", str(files["train"]), "--dev", str(files["dev"]), "--effort", "0.1"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stage = checkpoint_folder(tmp_path / "out") / "bounded.safetensors"
    until = time.monotonic() + 120
    while not stage.is_file() and time.monotonic() < until and running.poll() is None:
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert stage.is_file()
    assert not (tmp_path / "out").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "going on with the unfinished conversion" in done.stderr
    assert list(json.loads(done.stdout)["stages"])[-1] == "converted"
    assert not stage.exists()


@pytest.mark.slow
def test_early_stop_keeps_the_best_and_search_reports_every_decay(
    bert_folder, files, short, tmp_path
):
    tuned = FitOptions(epochs=6.0, learning_rate=5e-3, batch_size=32)
    long = FitOptions(epochs=2.0, learning_rate=1e-3, batch_size=32)
    options = replace(
        short,
        fine_tuning=tuned,
        the_x=replace(short.the_x, end_to_end=long),
        weight_decays=(0.0, 0.5),
        early_stop=True,
    )
    report = convert(bert_folder, tmp_path / "out", **files, options=options)
    assert set(report.search) == {"0.0", "0.5"}
    assert report.converted > 90


@pytest.mark.slow
def test_two_processes_share_the_batches_and_one_of_them_writes(bert_folder, files, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command += ["-m", "thex_hf.cli.main", "convert", str(bert_folder), str(tmp_path / "out")]
    command += ["--train", str(files["train"]), "--dev", str(files["dev"]), "--json"]
    command += ["--fine-tune", "--epochs", "12", "--learning-rate", "5e-3", "--effort", "0.2"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    report = json.loads(done.stdout)  # printed once
    assert report["unconverted"] > 90
    assert report["converted"] > 80
    assert not checkpoint_folder(tmp_path / "out").exists()
