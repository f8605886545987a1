"""``thex-token-classification`` against the stock pipeline, on tiny random taggers."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline
from transformers.pipelines.pt_utils import KeyDataset

import thex_hf
from thex_hf.errors import ConversionError, InputError, OptionError
from thex_hf.modeling import ThexBertConfig, ThexBertForTokenClassification
from thex_hf.modeling.calibrate import measure_ranges

TASK = "thex-token-classification"
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
TEXT = "Wolfgang visits Snaefellsjokull near Reykjavik, and Johanna flies to Kyrgyzstan."
SEED = 2  # its random weights use four labels on the long text
SHORT = "Paris is far."
STRATEGIES = ["none", "simple", "first", "average", "max"]


def make_tagger(tokenizer, **kinds):
    torch.manual_seed(SEED)
    config = ThexBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=140,
        initializer_range=0.3,
        id2label=dict(enumerate(LABELS)),
        label2id={name: number for number, name in enumerate(LABELS)},
        **kinds,
    )
    model = ThexBertForTokenClassification(config).eval()
    sample = tokenizer([TEXT, SHORT, "word " * 100], padding=True, return_tensors="pt")
    model.config.ranges = measure_ranges(model, [sample])
    return model


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(thex_hf.bundled_checkpoint())


@pytest.fixture(scope="module")
def tagger(tokenizer):
    return pipeline(TASK, model=make_tagger(tokenizer), tokenizer=tokenizer)


@pytest.fixture(scope="module")
def stock(tagger):
    return pipeline(
        "token-classification", model=tagger.model, tokenizer=tagger.tokenizer, device=-1
    )


def same(mine, theirs):
    if isinstance(mine, list):
        return len(mine) == len(theirs) and all(map(same, mine, theirs))
    scores = mine.pop("score"), theirs.pop("score")
    return mine == theirs and scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_the_tests_text_has_entities_and_pieces_of_words(stock, tokenizer):
    found = stock(TEXT, ignore_labels=[])
    assert len({row["entity"] for row in found}) > 2
    assert len(found) > len(TEXT.replace(",", " ,").replace(".", " .").split())


@pytest.mark.parametrize(
    ("fhe", "strategy"),
    [
        *(("disable", strategy) for strategy in STRATEGIES),
        ("simulate", "none"),
        *(
            pytest.param("simulate", strategy, marks=pytest.mark.slow)
            for strategy in STRATEGIES[1:]
        ),
    ],
)
def test_output_is_that_of_the_stock_pipeline(tagger, stock, strategy, fhe):
    for inputs, options in [
        (TEXT, {}),
        ([TEXT, SHORT], {}),
        ([TEXT, SHORT, TEXT], {"batch_size": 2}),
        (TEXT, {"ignore_labels": []}),
        (TEXT, {"ignore_labels": ["B-PER", "O"]}),
        (TEXT.split(), {"is_split_into_words": True}),
        ([TEXT.split(), SHORT.split()], {"is_split_into_words": True, "delimiter": "_"}),
    ]:
        options = {**options, "aggregation_strategy": strategy}
        mine = tagger(inputs, fhe=fhe, **options)
        assert same(mine, stock(inputs, **options)), (inputs, options)
    assert tagger.reports


@pytest.mark.parametrize(
    ("protocol", "fhe"),
    [
        ("client-aided", "execute"),
        pytest.param("refresh", "execute", marks=pytest.mark.slow),
        ("one-shot", "simulate"),
        pytest.param("one-shot", "execute", marks=pytest.mark.slow),
    ],
)
def test_every_protocol_gives_the_clear_labels(tokenizer, protocol, fhe):
    kinds = {} if protocol == "client-aided" else {"activation": "quadratic", "softmax": "power"}
    pipe = pipeline(
        TASK,
        model=make_tagger(tokenizer, **kinds),
        tokenizer=tokenizer,
        protocol=protocol,
        aggregation_strategy="first",
        ignore_labels=[],
    )
    encrypted = pipe(SHORT, agreement=True, fhe=fhe)
    report = pipe.report
    backend = "seal" if fhe == "execute" else "clear"
    assert (report.protocol, report.backend, report.fhe) == (protocol, backend, fhe)
    assert report.tokens == 6
    assert np.shape(report.logits) == (6, 5)
    assert report.agreement.same_label
    assert report.agreement.same_tokens == 1
    assert 0 < report.agreement.largest_logit_difference < 0.05
    assert (report.bytes.keys > 0) == (fhe == "execute")
    assert report.agreement.label.split() == [
        row["entity"] for row in pipe(SHORT, fhe="disable", aggregation_strategy="none")
    ]
    assert [row["entity_group"] for row in encrypted] == [
        row["entity_group"] for row in pipe(SHORT, fhe="disable")
    ]
    record = report.to_json()
    assert json.loads(json.dumps(record)) == record


def test_reports_of_several_texts(tagger):
    tagger([TEXT, SHORT], fhe="simulate", agreement=True, batch_size=2)
    first, second = tagger.reports
    assert (second.tokens, second.bucket) == (6, 16)
    assert len(first.logits) == first.tokens > 16
    assert first.agreement.same_tokens == 1
    assert len(second.agreement.label.split()) == 4  # no [CLS], no [SEP]
    assert tagger.plan(tokens=6)["rounds"] > 1
    assert tagger([]) == []


def test_generators_and_datasets(tagger):
    rows = list(tagger((text for text in [TEXT, SHORT]), fhe="simulate", ignore_labels=[]))
    assert [len(row) for row in rows][1] == 4
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"sentence": [TEXT, SHORT]})
    again = list(tagger(KeyDataset(data, "sentence"), fhe="simulate", ignore_labels=[]))
    assert all(map(same, again, rows))


@pytest.mark.parametrize(
    ("inputs", "options", "reason"),
    [
        ("", {}, "empty"),
        ([SHORT, " \n"], {}, "empty"),
        (7, {}, "got int"),
        ({"text": SHORT}, {}, "got dict"),
        ([7], {}, "got int"),
        ([["a", ""]], {"is_split_into_words": True}, "empty"),
        ([[]], {"is_split_into_words": True}, "list of words"),
        ("word " * 2000, {}, "2002 tokens, 128 are the most"),
        (["word"] * 200, {"is_split_into_words": True}, "202 tokens, 128 are the most"),
    ],
)
def test_bad_texts_are_refused(tagger, inputs, options, reason):
    with pytest.raises(InputError, match=reason):
        tagger(inputs, fhe="simulate", **options)
    assert tagger(SHORT, fhe="disable", ignore_labels=[])


def test_long_texts_are_cut_when_asked(tagger):
    found = tagger("word " * 2000, fhe="disable", truncation=True, ignore_labels=[])
    assert len(found) == 126
    assert tagger.report.tokens == 128
    assert len(tagger("word " * 126, fhe="disable", ignore_labels=[])) == 126


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"fhee": "simulate"}, "did you mean 'fhe'"),
        ({"fhe": "exekute"}, "did you mean 'execute'"),
        ({"stride": 4}, "stride goes with window"),
        ({"aggregation_strategy": "fist"}, "did you mean 'first'"),
        ({"grouped_entities": True}, "aggregation_strategy='simple'"),
        ({"top_k": 2}, "unknown option 'top_k'"),
        ({"backend": "seal"}, "set once"),
    ],
)
def test_bad_options_are_refused(tagger, options, reason):
    with pytest.raises(OptionError, match=reason):
        tagger(SHORT, **options)


def test_no_model_named_is_refused_with_advice():
    with pytest.raises(OptionError, match="name one"):
        pipeline(TASK)


def test_models_for_texts_are_refused(tokenizer):
    model = thex_hf.ThexBertForSequenceClassification.from_pretrained(
        thex_hf.bundled_checkpoint("the-x")
    )
    with pytest.raises(ConversionError, match="for token-classification, got ThexBertForSeq"):
        pipeline(TASK, model=model, tokenizer=tokenizer)


def test_saving_and_loading_by_folder(tagger, tmp_path):
    tagger.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.py"))
    again = pipeline(TASK, model=str(tmp_path))
    assert isinstance(again, thex_hf.ThexTokenClassificationPipeline)
    assert type(AutoModelForTokenClassification.from_pretrained(tmp_path)) is type(tagger.model)
    mine, theirs = (pipe(TEXT, fhe="disable", ignore_labels=[]) for pipe in (again, tagger))
    assert same(mine, theirs)
