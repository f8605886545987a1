import json

import numpy as np
import pytest
import torch
from tiny_pipelines import make
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
from transformers.pipelines.pt_utils import KeyDataset

import thex_hf
from thex_hf.errors import BackendUnavailable, ConversionError, InputError, OptionError

GOOD = "it 's a charming and often affecting journey ."
BAD = "unflinchingly bleak and desperate"


def test_execute_agrees_with_the_clear_model(classifier):
    texts = [GOOD, BAD]
    clear = classifier(texts, fhe="disable")
    encrypted = classifier(texts, agreement=True)
    assert (
        [r["label"] for r in encrypted] == [r["label"] for r in clear] == ["POSITIVE", "NEGATIVE"]
    )
    for one, two, report in zip(encrypted, clear, classifier.reports, strict=True):
        assert abs(one["score"] - two["score"]) < 0.01
        assert report.agreement.same_label
        assert report.agreement.largest_logit_difference < 0.01
        assert (report.fhe, report.backend, report.protocol) == ("execute", "seal", "client-aided")
        assert (report.rounds, report.levels, report.bucket) == (6, 3, 16)
        assert report.bytes.keys < 15e6
        assert report.bytes.up + report.bytes.down < 10e6
    first, second = classifier.reports
    assert first.bytes.keys == second.bytes.keys
    assert second.seconds.keygen == second.seconds.prepare == 0


def test_simulate_is_close_to_clear_and_has_noise(classifier):
    report = run_report(classifier, GOOD, fhe="simulate", agreement=True)
    assert 0 < report.agreement.largest_logit_difference < 0.01
    assert (report.backend, report.rounds, report.bytes.up) == ("clear", 6, 0)


def run_report(classifier, text, **options):
    classifier(text, **options)
    return classifier.report


def test_output_is_that_of_the_stock_pipeline(classifier):
    stock = pipeline(
        "text-classification", model=classifier.model, tokenizer=classifier.tokenizer, device=-1
    )
    pair = {"text": GOOD, "text_pair": BAD}
    for inputs, options in [
        (GOOD, {}),
        ([GOOD, BAD, GOOD], {"batch_size": 2}),
        (GOOD, {"top_k": None}),
        ([GOOD, BAD], {"top_k": 1}),
        (GOOD, {"function_to_apply": "none"}),
        (GOOD, {"function_to_apply": "sigmoid", "top_k": 2}),
        (pair, {}),
        ([pair, pair], {}),
    ]:
        mine = classifier(inputs, fhe="simulate", **options)
        assert same(mine, stock(inputs, **options)), (inputs, options)


def same(mine, theirs):
    if isinstance(mine, list):
        return len(mine) == len(theirs) and all(map(same, mine, theirs))
    return mine["label"] == theirs["label"] and mine["score"] == pytest.approx(
        theirs["score"], abs=1e-3
    )


def test_generators_and_datasets(classifier):
    rows = classifier((text for text in [GOOD, BAD]), fhe="simulate")
    assert [row["label"] for row in rows] == ["POSITIVE", "NEGATIVE"]
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"sentence": [GOOD, BAD]})
    rows = classifier(KeyDataset(data, "sentence"), fhe="simulate", batch_size=2)
    assert [row["label"] for row in rows] == ["POSITIVE", "NEGATIVE"]
    assert len(classifier.reports) == 2
    assert classifier([]) == []


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        (7, "got int"),
        ([None], "got NoneType"),
        ({"txt": "a"}, "'text'"),
        ({"text": ""}, "empty"),
        ("word " * 2000, "2002 tokens, 128 are the most"),
    ],
)
def test_bad_texts_are_refused(classifier, inputs, reason):
    with pytest.raises(InputError, match=reason):
        classifier(inputs, fhe="simulate")
    assert classifier(GOOD, fhe="simulate")[0]["label"] == "POSITIVE"


def test_long_and_odd_texts(classifier):
    report = run_report(classifier, "word " * 2000, fhe="simulate", truncation=True)
    assert (report.tokens, report.bucket) == (128, 128)
    assert run_report(classifier, "🙂 ünïcödé 漢字\x00", fhe="simulate").tokens > 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"fhee": "simulate"}, "did you mean 'fhe'"),
        ({"fhe": "exekute"}, "did you mean 'execute'"),
        ({"return_all_scores": True}, "top_k=None"),
        ({"backend": "seal"}, "set once"),
        ({"nonsense": 1}, "unknown option 'nonsense'"),
    ],
)
def test_bad_call_options_are_refused(classifier, options, reason):
    with pytest.raises(OptionError, match=reason):
        classifier(GOOD, **options)


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"backend": "seall"}, BackendUnavailable, "did you mean 'seal'"),
        ({"protocol": "client"}, OptionError, "client-aided"),
        ({"softmax": "soft"}, OptionError, "estimate"),
        ({"bakend": "seal"}, OptionError, "did you mean 'backend'"),
    ],
)
def test_bad_load_options_are_refused(classifier, options, error, reason):
    with pytest.raises(error, match=reason):
        pipeline(
            "thex-text-classification",
            model=classifier.model,
            tokenizer=classifier.tokenizer,
            **options,
        )


def test_backend_clear_does_not_pass_for_encryption(classifier):
    pipe = pipeline(
        "thex-text-classification",
        model=classifier.model,
        tokenizer=classifier.tokenizer,
        backend="clear",
    )
    with pytest.raises(OptionError, match="encrypts nothing"):
        pipe(GOOD)


def test_a_plain_bert_is_refused():
    from transformers import BertConfig, BertForSequenceClassification

    plain = BertForSequenceClassification(
        BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    )
    tokenizer = AutoTokenizer.from_pretrained(thex_hf.bundled_checkpoint())
    with pytest.raises(ConversionError, match="convert it first"):
        pipeline("thex-text-classification", model=plain, tokenizer=tokenizer)


def test_saving_writes_a_plain_model_folder(classifier, tmp_path):
    classifier.save_pretrained(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not [name for name in names if name.endswith((".py", ".bin", ".key"))]
    assert "custom_pipelines" not in json.loads((tmp_path / "config.json").read_text())
    again = pipeline("thex-text-classification", model=str(tmp_path))
    assert again(GOOD, fhe="disable")[0]["label"] == "POSITIVE"
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert isinstance(model, thex_hf.ThexBertForSequenceClassification)


def test_softmax_variants_compute_their_own_clear_model(classifier):
    results = {}
    for softmax in ("estimate", "exact", "estimate-on-server"):
        pipe = pipeline(
            "thex-text-classification", model=thex_hf.bundled_checkpoint("the-x"), softmax=softmax
        )
        report = run_report(pipe, GOOD, fhe="simulate", agreement=True)
        assert report.agreement.largest_logit_difference < 0.01
        results[softmax] = report
    assert results["estimate-on-server"].rounds == 10
    assert results["exact"].rounds == results["estimate"].rounds == 6
    near = np.abs(np.subtract(results["estimate"].logits, results["estimate-on-server"].logits))
    far = np.abs(np.subtract(results["estimate"].logits, results["exact"].logits))
    assert near.max() < 0.01 < far.max()


def test_keys_are_kept_in_the_named_directory(tmp_path):
    folder, tiny = tmp_path / "keys", make()

    def fresh():
        return pipeline(
            "thex-text-classification", model=tiny.model, tokenizer=tiny.tokenizer, keys=folder
        )

    first = fresh()
    label = first(GOOD)[0]["label"]
    files = sorted(folder.glob("*/*.key"))
    assert len(files) == 2
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    second = fresh()
    assert second(GOOD)[0]["label"] == label
    assert sorted(folder.glob("*/*.key")) == files
    assert torch.is_tensor(tiny.model.classifier.weight)


def test_report_is_plain_json(classifier):
    record = run_report(classifier, GOOD, fhe="simulate").to_json()
    assert json.loads(json.dumps(record)) == record
    assert set(record) == {
        "logits", "tokens", "bucket", "protocol", "backend", "fhe", "seconds", "rounds",
        "bytes", "levels", "key_switches", "batch", "ring_degree", "modulus_bits",
    }  # fmt: skip
    assert set(record["seconds"]) == {"keygen", "prepare", "client", "server"}
    assert set(record["bytes"]) == {"keys", "up", "down"}
