"""What a client without transformers reads in ``tokenizer_config.json``."""

import json
import shutil

import pytest
from tokenizer_zoo import ZOO, tokenizer_of

import thex_hf
from thex_hf.client.half import ClientHalf
from thex_hf.conversion.save import save_tokenizer
from thex_hf.errors import ConversionError, InputError
from thex_hf.tokens.settings import most_tokens, read_settings, special_as_text, told_of_segments


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
    shutil.copytree(thex_hf.bundled_checkpoint(), folder)
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
