"""What is a text: the same is refused everywhere, and odd texts are read as stock pipelines do."""

import logging

import pytest
from tiny_pipelines import KINDS, make

import thex_hf
from thex_hf.client.half import ClientHalf
from thex_hf.conversion.data.reading import LabelledTexts
from thex_hf.conversion.training.batches import encode
from thex_hf.errors import ConversionError, InputError
from thex_hf.evaluation import evaluate_model


@pytest.fixture(scope="module")
def pipes():
    return {task: make(task) for task in KINDS}


@pytest.fixture(scope="module")
def half():
    return ClientHalf.open(thex_hf.bundled_checkpoint("the-x"))


REFUSED = {
    "": "the text is empty",
    " \n\t": "the text is empty",
    chr(0xD83D): r"half of a surrogate pair \(U\+D83D\) at character 1",
    f"good {chr(0xDCFF)} film": r"half of a surrogate pair \(U\+DCFF\) at character 6",
    "\u200b": "nothing is left of the text after tokenising",
    "\x00\x01": "nothing is left",
    "\u0301": "nothing is left",
    "\ufffd": "nothing is left",
}


@pytest.mark.parametrize("text", REFUSED)
@pytest.mark.parametrize("task", KINDS)
def test_texts_of_nothing_are_refused_everywhere(pipes, half, task, text):
    for inputs in (text, ["fine", text]):
        with pytest.raises(InputError, match=REFUSED[text]):
            pipes[task](inputs, fhe="disable")
    with pytest.raises(InputError, match=REFUSED[text]):
        half.tokenise(text)
    with pytest.raises(InputError, match=REFUSED[text].replace("the text", "the second text")):
        half.tokenise("fine", text)
    with pytest.raises(InputError, match=REFUSED[text].replace("the text", "the second text")):
        pipes["text"]({"text": "fine", "text_pair": text}, fhe="disable")
    data = LabelledTexts(("fine", text), None, (0, 1), ("a", "b"))
    with pytest.raises(ConversionError, match=f"row 2 of the texts: .*{REFUSED[text]}"):
        encode(pipes["text"].tokenizer, data, 32)
    rows = [{"text": one, "label": "LABEL_0"} for one in ("fine", text)]
    with pytest.raises(InputError):
        evaluate_model(pipes["text"], rows, fhe="disable")


def test_words_of_which_nothing_is_left_are_refused(pipes):
    with pytest.raises(InputError, match="nothing is left"):
        pipes["token"](["\u200b", "\x00"], fhe="disable", is_split_into_words=True)
    found = pipes["token"](
        ["\u200b", "fine"], fhe="disable", is_split_into_words=True, ignore_labels=[]
    )
    assert [(row["word"], row["start"], row["end"]) for row in found[0]] == [("fine", 2, 6)]


@pytest.mark.parametrize("text", ["a\x00b", "[SEP] [CLS]", "a [SEP] b", "\u200bgood\u200d"])
def test_odd_texts_are_those_of_the_stock_tokenizer(pipes, half, text):
    tokenizer = pipes["text"].tokenizer
    for pair in (None, "two [SEP]"):
        want = tokenizer(text, pair)
        found = pipes["text"].preprocess({"text": text, "text_pair": pair})
        ids, types = half.tokenise(text, pair)
        for own in (found["input_ids"][0], ids):
            assert own.tolist() == want["input_ids"]
        for own in (found["token_type_ids"][0], types):
            assert own.tolist() == want["token_type_ids"]
        assert pipes["text"]({"text": text, "text_pair": pair}, fhe="disable")


def test_a_text_of_unknown_tokens_is_answered_with_a_warning(pipes, caplog):
    with caplog.at_level(logging.WARNING):
        logging.getLogger("transformers").propagate = True
        logging.getLogger("thex_hf").propagate = True
        assert pipes["text"]("ⴷⴷⴷ ⴳⴳ", fhe="disable")
    assert "knows no part of a text" in caplog.text
    assert "ⴷⴷⴷ" not in caplog.text


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (("a", "b"), "a pair is a dictionary"),
        ([["a", "b"]], "got a list; several texts"),
        ([[["a", "b"]]], None),
        ([["a", "b", "c"]], "got a list; several texts"),
        ([("a", "b")], "a pair is a dictionary"),
        ({"text": "a", "text_pair": ""}, "the second text is empty"),
        ({"text": "a", 3: "b"}, "got keys"),
        ({"text": "a", "text_pair": 3}, r"a second text \(str\), got int"),
    ],
)
def test_pairs_are_dictionaries(pipes, inputs, reason):
    if reason is None:
        assert pipes["text"](inputs, fhe="disable")
        return
    with pytest.raises(InputError, match=reason):
        pipes["text"](inputs, fhe="disable")
