"""``backend="remote"``: the same pipeline, with the server half in other processes."""

import json

import numpy as np
import pytest
from served import load, running, spec_of
from transformers import AutoTokenizer, pipeline
from typer.testing import CliRunner

import thex_hf
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.cli.main import commands
from thex_hf.errors import ConnectionLost, InputError, OptionError, PlanMismatch
from thex_hf.evaluation.runs import open_pipeline

TASK = "thex-text-classification"
TEXTS = ["A warm, funny film.", "Dull. 😴", "Dreadful!"]


@pytest.fixture(scope="module")
def models():
    return {form: load(form) for form in ("the-x", "polynomial")}


@pytest.fixture(scope="module")
def services(models, tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys")
    with running(spec_of(models["the-x"], keys, backend="seal"), workers=2) as one:
        polynomial = spec_of(
            models["polynomial"], keys, backend="seal", options=PlanOptions("refresh")
        )
        with running(polynomial) as other:
            yield {"the-x": one, "polynomial": other}


def classifier(models, services, form, **options):
    options = {"backend": "remote", "url": services[form].url, **options}
    name = thex_hf.bundled_checkpoint(form)
    tokenizer = AutoTokenizer.from_pretrained(name)
    return pipeline(TASK, model=models[form], tokenizer=tokenizer, **options)


def test_the_call_is_the_same_and_so_is_the_answer(models, services, tmp_path):
    pipe = classifier(models, services, "the-x", keys=tmp_path / "keys")
    results = pipe(TEXTS, agreement=True, batch_size=3)
    assert [result["label"] for result in results] == ["POSITIVE", "NEGATIVE", "NEGATIVE"]
    for report in pipe.reports:
        assert report.agreement.same_label
        assert report.agreement.largest_logit_difference < 1e-3
        assert (report.backend, report.fhe, report.bucket) == ("remote", "execute", 16)
        assert report.rounds == 6
        assert report.bytes.up > 100_000
        assert report.bytes.keys > 1_000_000
    assert sum(report.seconds.keygen > 0 for report in pipe.reports) >= 1
    simulated = pipe(TEXTS[0], fhe="simulate")
    np.testing.assert_allclose(simulated[0]["score"], results[0]["score"], atol=1e-4)
    assert pipe(TEXTS[0], fhe="disable")[0]["label"] == "POSITIVE"
    assert (tmp_path / "keys").exists()


def test_the_protocol_is_the_servers(models, services):
    pipe = classifier(models, services, "polynomial")
    assert pipe.protocol == "refresh"
    assert "model are protected" in pipe.runner.learns
    assert pipe(TEXTS[0], agreement=True)[0]["label"] == "POSITIVE"
    assert pipe.report.rounds == 4
    assert pipe.plan(5)["tokens"] == 16
    with pytest.raises(InputError, match="takes 16 at most"):
        pipe("word " * 40)
    with pytest.raises(OptionError, match="window can be 16 at most"):
        pipe("word " * 40, window=17)
    assert pipe("dreadful " * 20, window=16, batch_size=2, agreement=True)[0]["label"] == "NEGATIVE"
    assert [(one.tokens, one.bucket) for one in pipe.report.windows] == [(16, 16), (8, 16)]
    assert pipe.report.rounds == 8
    assert pipe.report.agreement.largest_logit_difference < 0.1


def test_what_does_not_go_together(models, services):
    with pytest.raises(PlanMismatch, match="load the checkpoint that it serves"):
        classifier(models, services, "the-x", url=services["polynomial"].url)
    with pytest.raises(OptionError, match="runs the protocol refresh, not one-shot"):
        classifier(models, services, "polynomial", protocol="one-shot")
    with pytest.raises(OptionError, match="url goes with backend='remote'"):
        classifier(models, services, "the-x", backend="seal")
    with pytest.raises(OptionError, match="needs url="):
        classifier(models, services, "the-x", url=None)
    for option in (
        {"softmax": "exact"},
        {"ring": 16384},
        {"flood": "strong"},
        {"processes": 2},
        {"relu": "server"},
    ):
        with pytest.raises(OptionError, match=f"{next(iter(option))} is the server's choice"):
            classifier(models, services, "the-x", **option)
    with pytest.raises(ConnectionLost, match="is it running"):
        classifier(models, services, "the-x", url="http://127.0.0.1:9")
    with pytest.raises(ConnectionLost, match="is it running"):
        open_pipeline(None, backend="remote", url="http://127.0.0.1:9")


@pytest.mark.slow
def test_a_data_set_is_scored_on_a_server(services, tmp_path):
    data = tmp_path / "data.tsv"
    data.write_text("label\ttext\n1\tA warm, funny film.\n0\tDull.\n0\tDreadful!\n")
    model = thex_hf.bundled_checkpoint("the-x")
    arguments = ["evaluate", model, "--data", str(data), "--fhe", "execute", "--backend", "remote"]
    done = CliRunner().invoke(commands, [*arguments, "--url", services["the-x"].url, "--json"])
    scores = json.loads(done.stdout)
    assert scores["metrics"]["accuracy"] == 1.0
    assert scores["agreement"] == 1.0
    assert scores["thex"]["backend"] == "remote"
