"""Models that tag words: the evaluator, ``evaluate_model``, and which token stands for a word."""

from __future__ import annotations

import datasets
import pytest
from evaluate import evaluator

from thex_hf.errors import InputError, OptionError
from thex_hf.evaluation import ThexTokenClassificationEvaluator, evaluate_model
from thex_hf.evaluation.reading import tags_of, word_logits

WORDS = [["Ann", "unbelievably", "sat", "in", "Rome"], ["Hi", ",", "Bob"]]
NAMES = ["O", "B-PER", "I-PER", "B-LOC"]


@pytest.fixture
def said(tagger):
    """What the stock rules say: a word has the tag of the token at its beginning."""
    found = []
    for own in WORDS:
        tokens = tagger(" ".join(own), fhe="disable", ignore_labels=[])
        at = {token["start"]: token["entity"] for token in tokens}
        begins = [len(" ".join([*own[:i], ""])) for i in range(len(own))]
        found.append([at[begin] for begin in begins])
    return found


def table(tags, feature=None):
    data = datasets.Dataset.from_dict({"tokens": WORDS, "ner_tags": tags})
    return data if feature is None else data.cast_column("ner_tags", datasets.Sequence(feature))


def test_the_model_says_more_than_one_tag(said):
    assert len({tag for own in said for tag in own}) > 1  # or the tests below show nothing


def test_evaluator(tagger, said):
    scorer = evaluator("thex-token-classification")
    assert type(scorer) is ThexTokenClassificationEvaluator
    found = scorer.compute(tagger, table(said), fhe="simulate")
    assert found["overall_accuracy"] == found["thex"]["agreement"] == 1.0
    assert 0 < found["thex"]["max_logit_difference"] < 1e-2
    assert found["latency_in_seconds"] > 0
    wrong = [["O" if tag != "O" else "B-LOC" for tag in own] for own in said]
    found = scorer.compute(tagger, table(wrong), fhe="disable")
    assert (found["overall_accuracy"], found["overall_f1"]) == (0.0, 0.0)


def test_tags_as_numbers(tagger, said):
    scorer = evaluator("thex-token-classification")
    other = ["B-LOC", "I-PER", "O", "B-PER"]  # the data set's own order
    ids = [[other.index(tag) for tag in own] for own in said]
    data = table(ids, datasets.ClassLabel(names=other))
    assert scorer.compute(tagger, data, fhe="disable")["overall_accuracy"] == 1.0
    ids = [[NAMES.index(tag) for tag in own] for own in said]  # the model's
    assert scorer.compute(tagger, table(ids), fhe="disable")["overall_accuracy"] == 1.0
    with pytest.raises(InputError, match=r"row 1 has the label '9'.*or 0 to 3"):
        scorer.compute(tagger, table([[9] * 5, [0] * 3]), fhe="disable")


def test_score(tagger, said, tmp_path):
    lines = [f"{' '.join(w)}\t{' '.join(t)}" for w, t in zip(WORDS, said, strict=True)]
    path = tmp_path / "dev.tsv"
    path.write_text("tokens\ttags\n" + "\n".join(lines) + "\n")
    found = evaluate_model(tagger, path, fhe="execute")
    assert (found.kind, found.agreement, found.intervals) == ("tags", 1.0, {})
    assert found.metrics["overall_accuracy"] == found.clear_metrics["overall_accuracy"] == 1.0
    assert set(found.entities) == {tag[2:] for own in said for tag in own} - {""}
    assert found.costs["bytes"]["up"] > 1000
    rows = [{"tokens": w, "tags": t} for w, t in zip(WORDS, said, strict=True)]
    assert evaluate_model(tagger, rows, fhe="disable").metrics == found.metrics
    assert evaluate_model(tagger, rows[1:], fhe="disable").entities.keys() <= found.entities.keys()


def test_words_beyond_the_cut_have_no_tag(tagger):
    words = [["word"] * 200]
    tagger(" ".join(words[0]), fhe="disable", truncation=True)
    rows = word_logits(tagger.tokenizer, words, [r.logits for r in tagger.reports])
    assert [row is None for row in rows[0]] == [False] * 126 + [True] * 74
    assert tags_of(rows, NAMES)[0][126:] == ["O"] * 74
    assert rows[0][0] == tagger.report.logits[1]  # after [CLS]
    found = evaluate_model(tagger, [{"tokens": words[0], "tags": ["O"] * 200}], fhe="disable")
    assert found.cut == 1


def test_errors(tagger, classifier):
    scorer = evaluator("thex-token-classification")
    with pytest.raises(InputError, match="one tag for each of 5 words, got 1"):
        scorer.compute(tagger, table([["O"], ["O"] * 3]), fhe="disable")
    flat = datasets.Dataset.from_dict({"tokens": ["a b"], "ner_tags": [["O", "O"]]})
    with pytest.raises(InputError, match="'tokens' should hold lists"):
        scorer.compute(tagger, flat, fhe="disable")
    with pytest.raises(OptionError, match="thex-token-classification"):
        scorer.compute(classifier, table([["O"] * 5, ["O"] * 3]))
    with pytest.raises(OptionError, match="use seqeval"):
        evaluate_model(tagger, [{"tokens": ["a"], "tags": ["O"]}], metrics=["accuracy"])
    with pytest.raises(InputError, match="'tokens' and 'tags'"):
        evaluate_model(tagger, [{"text": "a", "label": 1}])
    with pytest.raises(InputError, match="one tag for each word"):
        evaluate_model(tagger, [{"tokens": ["a", "b"], "tags": ["O"]}])
