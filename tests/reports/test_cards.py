"""``thex-hf card``: figures are measured here, written, merged, and read back from the card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from transformers import AutoTokenizer
from typer.testing import CliRunner

import thex_hf
from thex_hf.circuits.dispatch import plan_for
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.ckks.parameters import MAX_MODULUS_BITS_128
from thex_hf.cli.main import commands
from thex_hf.errors import ConversionError, OptionError
from thex_hf.evaluation import evaluate_model
from thex_hf.modeling import ThexBertConfig, ThexBertForTokenClassification
from thex_hf.modeling.cards.measures import read_measures, write_measures
from thex_hf.modeling.opening import open_model
from thex_hf.pipelines.token_classification import ThexTokenClassificationPipeline
from thex_hf.reports import make_card
from thex_hf.reports.card import with_earlier
from thex_hf.reports.measuring import as_row, estimated_costs, executed_costs

TEXTS = "text\tlabel\na warm film\t1\na dull mess\t0\nfunny and moving\t1\nlifeless\t0\n"


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(thex_hf.bundled_checkpoint("the-x"), tmp_path / "model")
    (tmp_path / "model" / "measures.json").unlink(missing_ok=True)
    return tmp_path / "model"


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "dev.tsv").write_text(TEXTS)
    return tmp_path / "dev.tsv"


def test_costs_are_those_of_the_plan_and_of_real_keys_and_ciphertexts(folder):
    model = open_model(folder)
    (row,) = estimated_costs(model, ["client-aided"], tokens=9)
    plan = plan_for(model.encoder_weights(), 16, model.config.ranges, PlanOptions("client-aided"))
    assert (row["tokens"], row["rounds"]) == (16, plan.schedule.rounds)
    assert (row["levels"], row["key_switches"]) == (plan.levels, plan.key_switches)
    assert row["modulus_bits"] <= row["modulus_limit"] == MAX_MODULUS_BITS_128[row["ring_degree"]]
    assert row["key_bytes"] > 1_000_000
    assert row["up_bytes"] > row["down_bytes"] > 100_000
    assert row["server_seconds"] > 0


def test_the_command_writes_measures_and_the_card(folder, texts):
    arguments = ["card", str(folder), "--data", str(texts), "--tokens", "9", "--limit", "3"]
    result = CliRunner().invoke(commands, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(next(x for x in result.stdout.splitlines() if x.startswith("{")))
    assert found["card_written"] is True
    assert [(row["fhe"], row.get("protocol")) for row in found["scores"]] == [
        ("disable", None),
        ("simulate", "client-aided"),
        ("simulate", "prepared"),
    ]
    assert [row["protocol"] for row in found["costs"]] == ["client-aided", "prepared"]
    assert found["texts"] == {"name": "dev.tsv", "type": "custom", "available": 4}
    simulated = found["scores"][1]
    assert (simulated["texts"], simulated["agreement"]) == (3, 1.0)
    assert 0 < simulated["largest_logit_difference"] < 1e-3
    stored = read_measures(folder)
    assert stored is not None
    assert stored["scores"] == found["scores"]
    card = (folder / "README.md").read_text()
    assert f"{simulated['largest_logit_difference']:.1e}" in card
    assert found["machine"]["processor"] in card
    assert "TenSEAL 0." in card
    assert str(texts.parent) not in card + json.dumps(stored)
    assert "| simulated | `client-aided` | 3 of 4 |" in card
    assert "is partial: the metadata of this card do not have it" in card
    assert "left out of its model-index" in result.stderr
    (whole,) = ModelCard(card).data.eval_results  # of the conversion
    assert (whole.metric_name, whole.metric_args["texts"]) == ("accuracy, in clear", 872)


@pytest.mark.slow
def test_a_card_of_the_users_own_is_left_alone_and_the_command_says_so(folder):
    (folder / "README.md").write_text("mine\n")
    result = CliRunner().invoke(commands, ["card", str(folder), "--tokens", "9"])
    assert result.exit_code == 0, result.output
    assert "left alone" in result.stdout
    assert (folder / "README.md").read_text() == "mine\n"
    assert read_measures(folder)


def test_a_model_that_classifies_tokens_gets_entity_scores(folder, tmp_path):
    names = dict(enumerate(["O", "B-PER", "I-PER"]))
    whole = open_model(folder)
    sizes = {k: v for k, v in whole.config.to_dict().items() if k not in ("id2label", "label2id")}
    config = ThexBertConfig(**sizes | {"num_hidden_layers": 1, "ranges": None}, id2label=names)
    model = ThexBertForTokenClassification(config)
    model.thex_bert.embeddings.load_state_dict(whole.thex_bert.embeddings.state_dict())
    ThexTokenClassificationPipeline(
        model=model, tokenizer=AutoTokenizer.from_pretrained(folder)
    ).save_pretrained(tmp_path / "tokens")
    rows = [
        {"tokens": ["ann", "went", "home"], "tags": ["B-PER", "O", "O"]},
        {"tokens": ["john", "smith", "left"], "tags": ["B-PER", "I-PER", "O"]},
    ]
    (tmp_path / "dev.jsonl").write_text("\n".join(map(json.dumps, rows)))
    measures = make_card(tmp_path / "tokens", tmp_path / "dev.jsonl", tokens=9)
    clear, simulated, _ = measures["scores"]
    assert clear["metric"] == simulated["metric"] == "overall_f1"
    assert simulated["agreement_of"] == "words"
    card = (tmp_path / "tokens" / "README.md").read_text()
    assert "100.00 % of words" in card
    results = ModelCard(card).data.eval_results
    assert {r.task_type for r in results} == {"token-classification"}
    assert {"f1", "accuracy"} <= {r.metric_type for r in results}


@pytest.mark.slow
def test_encrypted_scores_become_a_row_of_measured_costs(folder, texts):
    found = evaluate_model(str(folder), texts, fhe="execute", limit=1)
    row = as_row(found, "execute", "client-aided")
    assert row["clear_value"] == row["value"]
    assert row["agreement"] == 1.0
    spent = executed_costs(row)
    assert (spent["rounds"], spent["executed"]) == (6, True)
    assert spent["tokens"] == "16 (mean of 1 texts)"
    assert spent["key_bytes"] == found.costs["bytes"]["keys"] > 1_000_000
    assert spent["server_seconds"] > spent["client_seconds"] > 0
    write_measures(folder, {"costs": [spent], "scores": [row]})
    make_card(folder, tokens=9)  # another machine is noted, so nothing earlier stays
    assert [bool(cost.get("executed")) for cost in read_measures(folder)["costs"]] == [False, False]


def test_earlier_figures_stay_only_if_nothing_else_changed():
    place = {"machine": {"cores": 2}, "versions": {"thex_hf": "1"}, "backend": {"name": "seal"}}
    simulated = {"fhe": "simulate", "protocol": "refresh", "value": 0.5}
    encrypted = {"fhe": "execute", "protocol": "refresh", "value": 0.25}
    guessed, paid = {"protocol": "refresh"}, {"protocol": "refresh", "executed": True}
    old = {
        **place,
        "texts": {"name": "a"},
        "scores": [simulated, encrypted],
        "costs": [guessed, paid],
    }
    again = {"fhe": "simulate", "protocol": "refresh", "value": 0.75}
    new = {**place, "texts": {"name": "a"}, "scores": [again], "costs": [dict(guessed)]}
    merged = with_earlier(new, old)
    assert merged["scores"] == [again, encrypted]
    assert merged["costs"] == [guessed, paid]
    other_texts = with_earlier({**new, "texts": {"name": "b"}}, old)
    assert other_texts["scores"] == [again]
    assert other_texts["costs"] == [guessed]
    elsewhere = {**new, "machine": {"cores": 64}}
    assert with_earlier(elsewhere, old) == elsewhere
    assert with_earlier(new, None) == new
    costs_only = {**place, "scores": [], "costs": [dict(guessed)]}
    assert with_earlier(costs_only, old)["scores"] == [simulated, encrypted]


def test_what_cannot_be_measured_is_said_before_anything_is_written(folder, texts, tmp_path):
    with pytest.raises(ConversionError, match=r"has no config\.json"):
        make_card(tmp_path / "nowhere")
    with pytest.raises(OptionError, match="did you mean 'simulate'"):
        make_card(folder, texts, fhe=["simulated"])
    with pytest.raises(OptionError, match="client-aided"):
        make_card(folder, protocols=["one-shot"])
    unconverted = ThexBertConfig(vocab_size=20, hidden_size=16, norm="layernorm")
    ThexBertForTokenClassification(unconverted).save_pretrained(tmp_path / "raw")
    with pytest.raises(ConversionError, match="Finish the conversion"):
        make_card(tmp_path / "raw")
    for name in (folder, tmp_path / "raw"):
        assert not Path(name, "measures.json").exists()


@pytest.mark.slow
def test_figures_are_drawn_and_shown_as_long_as_they_are_there(folder, tmp_path):
    pytest.importorskip("matplotlib")
    measures = make_card(folder, tokens=16, figures=True)
    names = [path for path, _ in measures["figures"]]
    assert names == [
        "figures/stages.png",
        "figures/cost-client-aided.png",
        "figures/levels-client-aided.png",
    ]
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in names)
    card = (folder / "README.md").read_text()
    assert all(f"]({name})" in card for name in names)

    make_card(folder, tokens=16)  # without drawing them again
    assert all(f"]({name})" in (folder / "README.md").read_text() for name in names)

    model = thex_hf.ThexBertForSequenceClassification.from_pretrained(folder)
    model.save_pretrained(tmp_path / "again")
    again = (tmp_path / "again" / "README.md").read_text()
    assert "](figures/" not in again
    assert "## Costs of one text" in again
