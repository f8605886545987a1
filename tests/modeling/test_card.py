"""Model cards: written at every save, ours refreshed, the user's words and fields left alone."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, ModelCardData

import thex_hf.modeling
from thex_hf.conversion.forecast import STAGES as FORM_STAGES
from thex_hf.errors import ConversionError
from thex_hf.modeling import (
    ThexBertConfig,
    ThexBertForSequenceClassification,
    ThexBertForTokenClassification,
    ThexBertModel,
)
from thex_hf.modeling.cards.card import BEGIN, END, write_card
from thex_hf.modeling.cards.measures import (
    STAGES,
    carry_records,
    model_digest,
    read_measures,
    write_measures,
)

POLYNOMIAL = {"activation": "quadratic", "softmax": "power"}
BUNDLED = Path(thex_hf.modeling.__file__).parents[1] / "checkpoints" / "thex-tiny-sst2"
REPORT = {
    "source": "my-bert",
    "metric": "accuracy",
    "unconverted": 90.0,
    "converted": 87.5,
    "stages": {
        "unconverted": 90.0,
        "relu_softmax": 89.25,
        "something_new": 88.0,
        "converted": 87.5,
    },
    "train_texts": 100,
    "dev_texts": 40,
    "seed": 3,
}
COST = {
    "protocol": "client-aided", "tokens": 32, "ring_degree": 8192, "modulus_bits": 210,
    "modulus_limit": 218, "levels": 3, "rounds": 6, "key_switches": 571, "key_bytes": 7_600_000,
    "up_bytes": 3_600_000, "down_bytes": 2_500_000, "server_seconds": 2.5,
}  # fmt: skip
MEASURES = {
    "date": "2026-01-02",
    "backend": {"name": "seal", "library": "Microsoft SEAL through TenSEAL 0.3.18"},
    "machine": {"processor": "A 9000", "cores": 2, "system": "Linux x86_64", "python": "3.11.0"},
    "versions": {"thex_hf": "0.1.0"},
    "texts": {"name": "dev.tsv", "type": "custom", "available": 40},
    "costs": [COST],
    "scores": [
        {"fhe": "disable", "metric": "accuracy", "value": 0.875, "texts": 40},
        {
            "fhe": "execute", "protocol": "client-aided", "metric": "accuracy", "value": 0.85,
            "metrics": {"accuracy": 0.85, "f1": 0.8}, "clear_value": 0.9, "texts": 20,
            "agreement": 0.95, "largest_logit_difference": 1.24e-5,
            "costs": {"seconds": {"server": 2.75, "client": 0.15}, "batch": 1},
        },
    ],
}  # fmt: skip


def words(folder):
    return (folder / "README.md").read_text(encoding="utf-8")


def row(text, start):
    """The cells of the table row that starts so."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def saved(make_model, tmp_path):
    make_model().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_every_save_writes_a_card_that_says_how_to_load_it_and_what_is_not_measured(saved):
    text = words(saved)
    assert 'pipeline("thex-text-classification", model="model")' in text
    assert "import thex_hf" in text
    assert "`BertForSequenceClassification.from_pretrained`" in text
    assert row(text, "feed-forward activation")[2] == "relu"
    assert row(text, "simulated")[1:4] == ["`client-aided`", "", "not measured"]
    assert row(text, "encrypted")[1:4] == ["`client-aided`", "", "not measured"]
    for item in ("library and version", "batch or latency", "hardware", "accuracy, clear against"):
        assert row(text, item)[1] == "not measured"
    data = ModelCard(text).data
    assert (data.library_name, data.pipeline_tag) == ("thex_hf", "text-classification")
    assert data.eval_results is None


def test_a_model_of_the_the_x_form_is_served_by_two_protocols(saved):
    text = words(saved)
    assert "protocols `client-aided` and `prepared`" in text
    assert row(text, "`prepared` | the padded")[3] == "text"
    assert "the model is not" in text
    assert "softmax and ReLU between masked numbers" in row(text, "interactivity")[1]


def test_what_serves_a_model_beside_its_own_protocol_has_rows_once_it_is_measured(saved):
    text = words(saved)
    assert "| `prepared` |" not in text.partition("## Who learns")[0]
    assert "`prepared` can serve the model too; this card has no score under it." in text
    assert "this card has no costs under it" in text
    scored = {"fhe": "simulate", "protocol": "prepared", "metric": "accuracy", "value": 0.5}
    write_card(saved, measures={**MEASURES, "scores": [{**scored, "texts": 40}]})
    text = words(saved)
    assert row(text, "simulated | `prepared`")[2:4] == ["40", "0.5000"]
    assert "no score under it" not in text
    assert "this card has no costs under it" in text


@pytest.mark.parametrize(
    ("degrees", "said"),
    [
        (None, "polynomial of degree 4"),
        ([[4, 0], [8, 1]], "after attention 4, 8; after the feed-forward part 0, 1; 0: no"),
    ],
)
def test_a_card_of_a_normalised_model(make_model, tmp_path, degrees, said):
    kinds = {**POLYNOMIAL, "norm": "chebyshev"}
    make_model(**kinds, norm_degrees=degrees).save_pretrained(tmp_path / "model")
    text = words(tmp_path / "model")
    assert "in normalised form" in text
    assert "serves the protocol `prepared`." in text
    norms = row(text, "layer norms")
    assert norms[2].startswith("gamma * (x - mean(x)) * P(variance(x)) + beta")
    assert said in norms[2]
    assert norms[3] == row(text, "feed-forward activation")[3] == "client and server, on shares"
    assert "the weights are not shown" in text
    assert row(text, "scheme")[1].startswith("`prepared`: BFV")
    assert row(text, "key bias")[2] == "none (trained without)"


@pytest.mark.parametrize(
    ("kinds", "schemes"),
    [
        ({}, ["ckks", "bfv"]),
        (POLYNOMIAL, ["ckks", "bfv"]),
        ({**POLYNOMIAL, "norm": "chebyshev"}, ["bfv"]),
        ({"activation": "gelu", "softmax": "exact", "norm": "layernorm"}, []),
    ],
)
def test_the_scheme_among_the_tags_is_that_of_what_runs_the_form(
    make_model, tmp_path, kinds, schemes
):
    make_model(**kinds).save_pretrained(tmp_path / "model")
    tags = ModelCard(words(tmp_path / "model")).data.tags
    assert tags == ["thex", "fhe", "homomorphic-encryption", *schemes]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (
            ["mine", "thex", "fhe", "homomorphic-encryption", "ckks", "too"],
            ["mine", "thex", "fhe", "homomorphic-encryption", "too", "ckks", "bfv"],
        ),
        (["thex", "ckks"], ["thex", "ckks"]),
        (["thex", "fhe", "homomorphic-encryption"], ["thex", "fhe", "homomorphic-encryption"]),
    ],
)
def test_a_scheme_beside_our_tags_is_made_true_and_no_other_tag_is_touched(saved, given, kept):
    path = saved / "README.md"
    card = ModelCard.load(path)
    card.data.tags = given
    card.save(path)
    for _ in range(2):
        write_card(saved)
        assert ModelCard(words(saved)).data.tags == kept


def test_every_stage_of_a_conversion_has_words(saved):
    named = {name for stages in FORM_STAGES.values() for name in stages}
    assert named <= set(STAGES)
    names = ["unconverted", *FORM_STAGES["normalised"]]
    write_card(saved, {**REPORT, "stages": dict.fromkeys(names, 80.0)})
    text = words(saved)
    assert row(text, "trained, layer norms left")[1] == "80.00"
    assert row(text, "polynomials in norms, not trained")[1] == "80.00"
    assert not [name for name in names[1:] if f"| {name.replace('_', ' ')} |" in text]


def test_report_and_measures_fill_tables_checklist_and_metadata(saved):
    write_card(saved, REPORT, measures=MEASURES, metadata={"license": "mit"})
    text = words(saved)
    assert row(text, "ReLU and softmax estimate")[1] == "89.25"
    assert row(text, "something new")[1] == "88.00"
    assert row(text, "encrypted")[2:] == ["20 of 40", "0.8500", "19 of 20", "1.2e-05"]
    cells = row(text, "`client-aided` | 32")
    assert cells[2:10] == ["8192", "210 of 218", "3", "6", "571", "7.6 MB", "3.6 MB", "2.5 MB"]
    assert "2.50 s (estimated)" in cells
    assert "A 9000, 2 cores" in row(text, "hardware")[1]
    assert "6 rounds" in row(text, "interactivity")[1]
    assert "0.9000 in clear and 0.8500 encrypted" in row(text, "accuracy, clear against")[1]
    assert "on the same 20 of 40 texts" in row(text, "accuracy, clear against")[1]
    assert "not measured" not in text.partition("## Reporting checklist")[2].partition("\n## ")[0]
    card = ModelCard(text)
    found = {(r.metric_type, r.metric_name): r.metric_value for r in card.data.eval_results}
    assert found == {("accuracy", "accuracy, in clear"): 0.875}  # not what is of 20 texts only
    assert card.data.license == "mit"
    assert {r.dataset_name for r in card.data.eval_results} == {"dev.tsv"}


def test_only_a_score_of_all_texts_is_a_result_for_the_hub(saved):
    clear, encrypted = MEASURES["scores"]
    scores = [clear, {**encrypted, "texts": 40}]
    write_card(saved, REPORT, measures={**MEASURES, "scores": scores})
    found = {r.metric_name: r for r in ModelCard(words(saved)).data.eval_results}
    assert found["accuracy, encrypted (client-aided)"].metric_value == 0.85
    assert found["f1, encrypted (client-aided)"].metric_value == 0.8
    assert "partial" not in words(saved)
    few = [{**one, "texts": 20} for one in scores]
    for measures in ({**MEASURES, "scores": few}, {"scores": few}):
        write_card(saved, REPORT, measures=measures)
        (result,) = ModelCard(words(saved)).data.eval_results
        assert result.metric_value == 0.875  # the conversion's, of all development texts
        assert result.metric_args["texts"] == 40
        write_card(saved, measures=measures)
        assert ModelCard(words(saved)).data.eval_results is None


HUB_ID = re.compile(r"(?:[\w-]+/)?[\w.-]+", re.ASCII)  # what the Hub takes as a data set of results


@pytest.mark.parametrize(
    ("known", "kind", "revision"),
    [
        ({"name": "glue", "type": "glue", "config": "sst2", "revision": "ab1"}, "glue", "ab1"),
        ({"name": "own/set", "type": "own/set", "split": "test"}, "own/set", None),
        ({"name": "my dev.tsv", "type": "custom"}, "custom", None),
        ({"name": "odd", "type": "no id at all"}, "custom", None),
        ({}, "custom", None),
    ],
)
def test_results_name_their_data_set_as_the_hub_does(saved, known, kind, revision):
    given = {"datasets": "other/data"} if known else None  # trained on, and not scored on
    texts = {**known, "available": 40}
    measures = {**MEASURES, "texts": texts, "scores": MEASURES["scores"][:1]}
    for own in ({"measures": measures}, {"measures": {}}):
        write_card(saved, {**REPORT, "dev_data": known}, metadata=given, **own)
        fields = yaml.safe_load(words(saved).split("---\n")[1])
        (found,) = ModelCardData(**fields).eval_results  # refuses what lacks a field
        assert (found.dataset_type, found.dataset_revision) == (kind, revision)
        assert (found.dataset_config, found.dataset_split) == (
            known.get("config"),
            known.get("split"),
        )
        assert HUB_ID.fullmatch(found.dataset_type)
        assert found.dataset_name
    write_card(saved, measures=measures)
    assert ("(revision ab1)" in words(saved)) == (revision is not None)


def test_an_older_report_is_about_the_one_data_set_of_the_card(saved):
    write_card(saved, REPORT, metadata={"datasets": ["stanfordnlp/sst2"]})
    (found,) = ModelCard(words(saved)).data.eval_results
    assert (found.dataset_type, found.dataset_name) == ("stanfordnlp/sst2", "sst2")


def test_fields_of_the_sources_card_fill_what_a_head_lacks(saved):
    carried = {"base_model": "a/b", "license": "other", "license_name": "own", "language": ["en"]}
    write_card(saved, {**REPORT, "card": {**carried, "tags": ["no"], "extra": 1}})
    head = ModelCard(words(saved)).data.to_dict()
    assert {name: head.get(name) for name in carried} == carried
    assert "no" not in head["tags"]
    assert "extra" not in head
    (saved / "README.md").unlink()
    write_card(saved, {**REPORT, "card": carried}, metadata={"license": "mit"})
    head = ModelCard(words(saved)).data.to_dict()
    assert (head["license"], head.get("license_name")) == ("mit", None)
    write_card(saved, {**REPORT, "card": ["odd"], "dev_data": "odd"})
    assert ModelCard(words(saved)).data.base_model == "a/b"


def test_a_second_save_renews_our_part_and_leaves_the_users_words_and_fields(saved):
    write_card(saved, REPORT, metadata={"license": "mit"})
    path = saved / "README.md"
    mine = {"type": "accuracy", "value": 0.99, "name": "by hand"}
    result = {"task": {"type": "text-classification"}, "dataset": {"name": "a", "type": "b"}}
    card = ModelCard.load(path)
    fields = card.data.to_dict() | {"license": "gpl", "tags": ["only-mine"]}
    ours = fields["model-index"][0]["results"]
    fields["model-index"] = [{"name": "given", "results": [{**result, "metrics": [mine]}, *ours]}]
    head = json.dumps(fields)  # JSON is YAML
    body = path.read_text().partition("\n---\n")[2]
    path.write_text(f"---\n{head}\n---\nbefore\n{body}\nafter  \n")

    later = {**REPORT, "converted": 70.0, "stages": {"converted": 70.0}}
    (saved / "conversion.json").write_text(json.dumps(later))
    write_card(saved, later)
    text = words(saved)
    assert "before\n<!-- thex_hf: generated -->" in text
    assert text.endswith("\nafter  \n")
    assert "87.50" not in text
    assert "70.00" in text
    data = ModelCard(text).data
    assert (data.license, data.tags) == ("gpl", ["only-mine"])
    assert data.model_name == "given"
    assert sorted(r.metric_value for r in data.eval_results) == [0.7, 0.99]
    once = words(saved)
    write_card(saved)
    write_card(saved)
    assert words(saved) == once


@pytest.mark.parametrize(
    "text",
    [
        "mine\n",
        f"{BEGIN}\nno end mark\n",
        f"{BEGIN}\na\n{END}\n{BEGIN}\nb\n{END}\n",
        f"{END}\nturned round\n{BEGIN}\n",
        "",
    ],
)
def test_a_readme_without_both_marks_is_left_alone(make_model, tmp_path, text):
    (tmp_path / "README.md").write_text(text)
    make_model().save_pretrained(tmp_path)
    assert words(tmp_path) == text


def test_line_ends_and_a_head_that_is_no_yaml_survive(saved):
    path = saved / "README.md"
    broken = f"---\r\n: [\r\n---\r\nmine\r\n{BEGIN}\r\nold\r\n{END}\r\nmine too\r\n"
    path.write_bytes(b"---\r\n: [ \xff" + broken.encode()[8:])
    write_card(saved)
    data = path.read_bytes()
    assert data.startswith(b"---\r\n: [ \xff\r\n---\r\nmine\r\n")
    assert data.endswith(b"\r\nmine too\r\n")
    assert b"\r\nold" not in data


def test_nothing_filled_in_can_close_our_part(saved):
    write_card(saved, {**REPORT, "source": f"x {END} {BEGIN} y"})
    write_card(saved, {**REPORT, "source": "z"})
    assert "&lt;!--" not in words(saved)
    assert words(saved).count(BEGIN) == words(saved).count(END) == 1


def test_figures_of_other_weights_are_not_shown(saved, make_model):
    (saved / "conversion.json").write_text(json.dumps(REPORT))
    write_measures(saved, MEASURES)
    write_card(saved)
    assert "87.50" in words(saved)
    assert row(words(saved), "encrypted")[3] == "0.8500"
    model = make_model()
    with torch.no_grad():
        model.classifier.bias.add_(1.0)
    model.save_pretrained(saved)
    for _ in range(2):  # and not at the next save either
        assert "87.50" not in words(saved)
        assert row(words(saved), "encrypted")[3] == "not measured"
        assert ModelCard(words(saved)).data.eval_results is None
        write_card(saved)


def test_a_model_that_is_loaded_and_saved_again_keeps_its_figures(saved, tmp_path):
    (saved / "conversion.json").write_text(json.dumps(REPORT))
    write_measures(saved, MEASURES)
    write_card(saved)
    with (saved / "README.md").open("a") as file:
        file.write("\nmy words\n")
    model = ThexBertForSequenceClassification.from_pretrained(saved)
    model.save_pretrained(tmp_path / "copy")
    text = words(tmp_path / "copy")
    assert "# copy\n" in text
    assert 'model="copy"' in text
    assert "my words" in text
    assert row(text, "encrypted")[3] == "0.8500"
    assert "87.50" in text
    with torch.no_grad():
        model.classifier.bias.add_(1.0)
    model.save_pretrained(tmp_path / "other")
    assert not (tmp_path / "other" / "conversion.json").exists()
    assert row(words(tmp_path / "other"), "encrypted")[3] == "not measured"
    assert "my words" not in words(tmp_path / "other")


def test_the_digest_is_of_numbers_and_approximations_not_of_bytes(tmp_path):
    model = ThexBertForSequenceClassification.from_pretrained(BUNDLED)  # float16 in the file
    model.save_pretrained(tmp_path / "a")
    same = model_digest(tmp_path / "a")
    assert same == model_digest(BUNDLED)
    assert (tmp_path / "a" / "conversion.json").read_bytes() == (
        BUNDLED / "conversion.json"
    ).read_bytes()
    path = tmp_path / "a" / "config.json"
    path.write_text(path.read_text().replace('"estimate"', '"exact"'))
    assert model_digest(tmp_path / "a") != same


def test_a_readme_of_the_users_own_does_not_come_along(saved, tmp_path):
    (saved / "README.md").write_text("mine")
    ThexBertForSequenceClassification.from_pretrained(saved).save_pretrained(tmp_path / "copy")
    assert BEGIN in words(tmp_path / "copy")


def test_broken_records_are_no_records(saved, tmp_path):
    before = words(saved)
    (saved / "conversion.json").write_text('{"metric": "accuracy"}')
    write_card(saved)
    assert words(saved) == before
    (saved / "conversion.json").write_text("{")
    (saved / "measures.json").write_text("[1]")
    assert read_measures(saved) is None
    write_card(saved)
    carry_records(tmp_path / "nothing", saved)


def test_cards_of_other_tasks_and_forms(make_model, tmp_path):
    sizes = {n: getattr(make_model().config, n) for n in ("vocab_size", "hidden_size")}
    models = {
        "number": ThexBertForSequenceClassification(ThexBertConfig(**sizes, num_labels=1)),
        "tokens": ThexBertForTokenClassification(
            ThexBertConfig(**sizes, num_labels=9, **POLYNOMIAL)
        ),
        "mean": ThexBertForSequenceClassification(ThexBertConfig(**sizes, pooling="mean")),
        "bare": ThexBertModel(ThexBertConfig(**sizes)),
        "unconverted": ThexBertForSequenceClassification(
            ThexBertConfig(**sizes, activation="gelu", softmax="exact", norm="layernorm")
        ),
    }
    cards = {}
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
        cards[name] = words(tmp_path / name)
    assert "text regression model" in cards["number"]
    assert "1 label (regression)" in cards["number"]
    assert "pipeline_tag: token-classification" in cards["tokens"]
    assert (
        'pipeline("thex-token-classification", model="tokens", protocol="refresh")'
        in (cards["tokens"])
    )
    assert "the row of every token" in cards["tokens"]
    assert row(cards["tokens"].partition("## Who learns")[2], "`one-shot`")[3] == "text and model"
    assert "mean over the rows" in cards["mean"]
    assert "pipeline_tag: feature-extraction" in cards["bare"]
    assert "not fully converted" in cards["unconverted"]
    assert "Reporting checklist" not in cards["unconverted"]


def test_regression_scores_are_correlations(make_model, tmp_path):
    make_model(num_labels=1).save_pretrained(tmp_path)
    write_card(tmp_path, {**REPORT, "metric": "pearson"})
    (result,) = ModelCard(words(tmp_path)).data.eval_results
    assert (result.metric_type, result.metric_value) == ("pearsonr", 0.875)


def test_only_the_main_process_writes_and_pickles_are_refused(make_model, tmp_path):
    make_model().save_pretrained(tmp_path / "a", is_main_process=False)
    assert not (tmp_path / "a" / "README.md").exists()
    with pytest.raises(ConversionError, match="never pickled"):
        make_model().save_pretrained(tmp_path / "b", safe_serialization=False)
    assert not (tmp_path / "b").exists()


def test_the_bundled_cards_are_what_this_version_writes(tmp_path):
    for folder in sorted(BUNDLED.parent.iterdir()):
        copy = tmp_path / folder.name
        shutil.copytree(folder, copy)
        write_card(copy)
        assert words(copy) == words(folder)
