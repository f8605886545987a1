"""How many tokens a text may have, and how it is cut where that is asked for."""

import pytest
from tiny_pipelines import KINDS, make, open_tokens
from transformers.tokenization_utils_base import TruncationStrategy

import thex_hf
from thex_hf.client.half import ClientHalf
from thex_hf.conversion.data.reading import LabelledTexts
from thex_hf.conversion.training.batches import encode
from thex_hf.errors import InputError, OptionError
from thex_hf.evaluation import evaluate_model
from thex_hf.tokens.options import limit_of

PAIR = {"text": "a b c d e f g h", "text_pair": "u v w x y z"}


@pytest.fixture(scope="module")
def pipes():
    return {task: make(task) for task in KINDS}


@pytest.fixture(scope="module")
def half():
    return ClientHalf.open(thex_hf.bundled_checkpoint("the-x"))


@pytest.mark.parametrize(
    ("positions", "most", "limit"),
    [(64, None, 64), (512, 40, 40), (512, 1e30, 128), (512, 0, 128), (140, 512, 128)],
)
def test_the_limit_is_the_least_of_all(positions, most, limit):
    assert limit_of(positions, most) == limit


@pytest.mark.parametrize("task", KINDS)
@pytest.mark.parametrize(
    ("positions", "most"), [(40, int(1e30)), (40, 512), (128, 40)], ids=["no limit", "model", "own"]
)
def test_texts_beyond_positions_are_refused_or_cut(task, positions, most):
    pipe = make(task, open_tokens(model_max_length=most), max_position_embeddings=positions)
    for fhe in ("disable", "simulate"):
        with pytest.raises(InputError, match=r"has 42 tokens, 40 are the most; .* truncation=True"):
            pipe("word " * 40, fhe=fhe)
        pipe("word " * 40, fhe=fhe, truncation=True)
        assert pipe.report.tokens == 40
    pipe("word " * 38, fhe="disable")
    assert pipe.report.tokens == 40
    if task == "text":
        rows = [{"text": "word " * count, "label": "LABEL_0"} for count in (38, 39, 200)]
        assert evaluate_model(pipe, rows, fhe="disable").cut == 2
    data = LabelledTexts(("word " * 200,), None, (0,), ("a", "b"))
    length = min(128, positions)
    assert len(encode(pipe.tokenizer, data, length).ids[0]) == 40


def test_the_half_has_the_same_limit(half, tmp_path):
    pipe = make(tokenizer=open_tokens(model_max_length=int(1e30)), max_position_embeddings=40)
    pipe.save_pretrained(tmp_path)
    own = ClientHalf.open(tmp_path)
    assert (own.limit, half.limit) == (40, 128)
    with pytest.raises(InputError, match=r"42 tokens, 40 are the most; shorten it, or classify"):
        own.tokenise("word " * 40)
    with pytest.raises(InputError, match="130 tokens, 128 are the most"):
        half.tokenise("word " * 128)


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"truncation": True}, (4, 3)),
        ({"truncation": "longest_first"}, (4, 3)),
        ({"truncation": TruncationStrategy.LONGEST_FIRST}, (4, 3)),
        ({"truncation": "only_first"}, (1, 6)),
        ({"truncation": "only_first", "padding": "max_length", "max_length": 10}, (1, 6)),
        ({"truncation": True, "max_length": 8}, (3, 2)),
    ],
)
def test_pairs_are_cut_as_asked(options, left):
    pipe = make(tokenizer=open_tokens(model_max_length=10))
    found = pipe.preprocess(PAIR, **options)["token_type_ids"][0]
    segments = found.tolist()
    assert (segments.count(0) - 2, segments.count(1) - 1) == left


@pytest.mark.parametrize(
    ("inputs", "options", "reason"),
    [
        (PAIR, {"truncation": False}, "17 tokens, 10 are the most"),
        (PAIR, {"truncation": "do_not_truncate"}, "17 tokens, 10 are the most"),
        (PAIR, {"max_length": 9}, "17 tokens, 9 are the most"),
        (PAIR, {"truncation": "only_second"}, "cannot cut this pair to 10 tokens.*cut both texts"),
        (PAIR, {"truncation": True, "max_length": 64}, "max_length=64 asks for more"),
        (PAIR, {"truncation": True, "max_length": 1}, "this pair to 1 tokens: .* raise max_length"),
        (PAIR, {"truncation": True, "max_length": 3}, "nothing is left of the text when it is cut"),
        ("a b c", {"truncation": True, "max_length": 2}, "nothing is left of the text when it is"),
        ("a b c", {"truncation": True, "max_length": 1}, "this text to 1 tokens"),
        ("fine", {"truncation": "only_second"}, "cuts the second text of a pair; there is none"),
    ],
)
def test_what_cannot_be_cut_as_asked_is_refused(inputs, options, reason):
    pipe = make(tokenizer=open_tokens(model_max_length=10))
    with pytest.raises(InputError, match=reason):
        pipe(inputs, fhe="disable", **options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"truncation": "yes"}, "truncation must be True, False or one of longest_first"),
        ({"truncation": 5}, "truncation must be"),
        ({"padding": "most"}, "padding must be True, False or one of longest"),
        ({"max_length": 0}, "max_length must be a positive whole number, got 0"),
        ({"max_length": 8.0}, "max_length must be"),
        ({"max_length": True}, "max_length must be"),
        ({"add_special_tokens": "no"}, "add_special_tokens must be"),
    ],
)
def test_options_that_are_not_on_offer_are_refused(pipes, options, reason):
    with pytest.raises(OptionError, match=reason):
        pipes["text"]("fine", fhe="disable", **options)
    if set(options) == {"truncation"}:
        with pytest.raises(OptionError, match=reason):
            pipes["token"]("fine", fhe="disable", **options)


@pytest.mark.parametrize("padding", [True, False, "longest", "max_length", "do_not_pad"])
def test_padding_changes_nothing(pipes, padding):
    want = pipes["text"]("fine", fhe="disable")
    assert pipes["text"]("fine", fhe="disable", padding=padding, max_length=30) == want
    assert pipes["text"].report.tokens == 3
