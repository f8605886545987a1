import pytest
import torch
from transformers import BertForSequenceClassification

from thex_hf.conversion.mapping import rename, thex_config, to_bert, to_thex
from thex_hf.errors import ConversionError
from thex_hf.modeling import ThexBertForSequenceClassification


@pytest.fixture
def bert(bert_folder):
    return BertForSequenceClassification.from_pretrained(bert_folder).double().eval()


def build(bert, **kinds):
    model = ThexBertForSequenceClassification(thex_config(bert.config, **kinds)).double().eval()
    model.load_state_dict(to_thex(bert.state_dict()))
    return model


IDS = torch.tensor([[2, 5, 11, 16, 3, 0, 0], [2, 7, 17, 3, 0, 0, 0]])
MASK = (IDS != 0).long()


def test_unconverted_form_has_the_hidden_states_of_bert(bert):
    """Folding the value bias and dropping the key bias change nothing."""
    model = build(bert, activation="gelu", softmax="exact", norm="layernorm")
    mine = model(IDS, MASK, output_hidden_states=True).hidden_states
    theirs = bert.bert(IDS, MASK, output_hidden_states=True).hidden_states
    assert float(bert.bert.encoder.layer[0].attention.self.value.bias.detach().abs().min()) > 0
    for got, expected in zip(mine, theirs, strict=True):
        torch.testing.assert_close(got[MASK == 1], expected[MASK == 1], rtol=1e-9, atol=1e-9)


def test_each_approximation_changes_the_result(bert):
    base = build(bert, activation="gelu", softmax="exact", norm="layernorm")(IDS, MASK).logits
    kinds = {"activation": "gelu", "softmax": "exact", "norm": "layernorm"}
    for change in ({"activation": "relu"}, {"softmax": "estimate"}, {"norm": "affine"}):
        assert not torch.allclose(build(bert, **(kinds | change))(IDS, MASK).logits, base)


def test_round_trip_keeps_everything_but_biases_and_pooler(bert):
    state = bert.state_dict()
    there = to_thex(state)
    back = to_bert(there)
    assert set(state) - set(back) == {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    assert set(back) <= set(state)
    for name, tensor in back.items():
        if name.endswith(("self.key.bias", "self.value.bias")):
            assert not tensor.any()
        elif not name.endswith("attention.output.dense.bias"):
            torch.testing.assert_close(tensor, state[name], rtol=0, atol=0)
    again = to_thex(back)
    assert again.keys() == there.keys()
    for name in there:
        torch.testing.assert_close(again[name], there[name], rtol=0, atol=0)


def test_loaded_back_into_bert_the_hidden_states_are_the_same(bert):
    other = BertForSequenceClassification(bert.config).double().eval()
    other.load_state_dict(to_bert(to_thex(bert.state_dict())), strict=False)
    got = other.bert(IDS, MASK).last_hidden_state
    torch.testing.assert_close(got, bert.bert(IDS, MASK).last_hidden_state, rtol=1e-9, atol=1e-9)


def test_source_is_not_modified(bert):
    before = {name: tensor.clone() for name, tensor in bert.state_dict().items()}
    to_thex(bert.state_dict())
    for name, tensor in bert.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_unknown_tensors_are_refused():
    with pytest.raises(ConversionError, match="lora"):
        rename("lora.weight")
