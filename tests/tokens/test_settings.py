"""What a client without transformers reads in ``tokenizer_config.json``."""

import json
import shutil

import pytest
from tokenizer_zoo import ZOO, tokenizer_of
from transformers import AutoTokenizer

import thex_hf
from thex_hf.client.half import ClientHalf
from thex_hf.conversion.output import save_tokenizer
from thex_hf.errors import ConversionError, InputError
from thex_hf.tokens.options import (
    check_consistent,
    most_tokens,
    read_settings,
    special_as_text,
    told_of_segments,
)


@pytest.mark.parametrize("name", ZOO)
def test_it_says_what_transformers_says(name, tmp_path):
    tokenizer = tokenizer_of(name)
    save_tokenizer(tokenizer, tmp_path)
    settings = read_settings(tmp_path)
    told = "token_type_ids" in tokenizer.model_input_names
    assert told_of_segments(settings) is told
    assert most_tokens(settings) == tokenizer.model_max_length == 64
    assert special_as_text(settings) == (name == "special tokens are text")
    del settings["model_input_names"]  # as folders have it that others wrote
    assert told_of_segments(settings) in (told, None)


def test_nothing_is_guessed_where_versions_differ(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(thex_hf.bundled_checkpoint("the-x"), folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    half = ClientHalf.open(folder)
    assert half.tokenise("one")[1].tolist() == [0, 0, 0]
    with pytest.raises(InputError, match='add "model_input_names"'):
        half.tokenise("one", "two")
    for names, types in ((["input_ids"], 0), (["input_ids", "token_type_ids"], 1)):
        path.write_text(json.dumps({"model_input_names": names}))
        assert ClientHalf.open(folder).tokenise("one", "two")[1].tolist() == [0] * 3 + [types] * 2
    path.unlink()
    assert ClientHalf.open(folder).limit == 128
    for text in ("{", "[]"):
        path.write_text(text)
        with pytest.raises(ConversionError, match="get it again"):
            ClientHalf.open(folder)


@pytest.mark.parametrize("setting", ["do_lower_case", "tokenize_chinese_chars", "strip_accents"])
def test_files_that_differ_are_refused(setting, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(thex_hf.bundled_checkpoint("the-x"), folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text()) | {setting: False}
    path.write_text(json.dumps(settings))
    with pytest.raises(ConversionError, match=f"says {setting}=False.*Save the tokenizer anew"):
        ClientHalf.open(folder)
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)  # as the message says
    text = "Ünïcode 漢字 WORDS"
    ids = ClientHalf.open(folder).tokenise(text)[0]
    assert ids.tolist() == AutoTokenizer.from_pretrained(folder)(text)["input_ids"]


def test_a_blank_before_the_text_is_a_setting_too():
    tokenizer = tokenizer_of("byte level").backend_tokenizer.to_str()
    check_consistent({"add_prefix_space": False}, tokenizer, "here")
    check_consistent(
        {"tokenizer_class": "TokenizersBackend", "add_prefix_space": True}, tokenizer, ""
    )
    with pytest.raises(ConversionError, match="add_prefix_space=True, and ByteLevel"):
        check_consistent({"add_prefix_space": True}, tokenizer, "here")
