"""What the encrypted encoder would leave out is noticed: layers, hooks, parameters, numbers."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from thex_hf.circuits.dispatch import plan_for
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.errors import ConversionError, PlanError
from thex_hf.modeling import ThexBertForSequenceClassification


class Shifted(nn.Linear):
    def forward(self, values):
        return super().forward(values) + 1


class Loud(ThexBertForSequenceClassification):
    def classify(self, stream, mask):
        return 2 * super().classify(stream, mask)


class Heir(ThexBertForSequenceClassification):
    """Adds nothing."""


def wrap(model):
    model.thex_bert.layers[0].up = nn.Sequential(model.thex_bert.layers[0].up)


def exchange(model):
    model.thex_bert.layers[1].down = Shifted(48, 32)


def quantise(model):
    torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8, inplace=True)


def prune_some(model):
    prune.l1_unstructured(model.thex_bert.layers[0].attention.query, "weight", 0.5)


CHANGES = {
    "a wrapped layer": wrap,
    "another kind of layer": exchange,
    "quantised layers": quantise,
    "a parametrisation": lambda m: parametrizations.orthogonal(m.thex_bert.layers[0].up),
    "pruning": prune_some,
    "a hook": lambda m: m.thex_bert.layers[0].register_forward_hook(lambda *_: None),
    "a hook before": lambda m: m.classifier.register_forward_pre_hook(lambda *_: None),
    "another forward": lambda m: setattr(m.classifier, "forward", lambda x: x[..., :2]),
    "a further parameter": lambda m: m.classifier.register_parameter(
        "scale", nn.Parameter(torch.ones(2))
    ),
    "a further module": lambda m: m.thex_bert.add_module("pooler", nn.Linear(32, 32)),
    "a key bias": lambda m: m.thex_bert.layers[0].attention.key.register_parameter(
        "bias", nn.Parameter(torch.ones(32))
    ),
    "a layer too few": lambda m: m.thex_bert.layers.__delitem__(1),
    "a wider head": lambda m: setattr(m, "classifier", nn.Linear(32, 5)),
    "other heads": lambda m: setattr(m.config, "num_attention_heads", 2),
    "another activation": lambda m: setattr(m.thex_bert.layers[0], "activation", nn.Tanh()),
    "values elsewhere": lambda m: m.thex_bert.layers[0].up.to("meta"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("change", CHANGES)
def test_what_no_encrypted_encoder_reads_is_refused(make_model, change):
    model = make_model()
    model.encoder_weights()
    CHANGES[change](model)
    with pytest.raises(ConversionError, match="would not be the model's"):
        model.encoder_weights()


def test_the_message_names_the_place(make_model):
    model = make_model()
    exchange(model)
    with pytest.raises(ConversionError, match=r"Shifted in thex_bert.layers.1.down.*Linear"):
        model.encoder_weights()


def test_a_class_that_answers_otherwise_is_refused(make_model):
    config = make_model().config
    Heir(config).encoder_weights()
    with pytest.raises(ConversionError, match=r"Loud with a classify\(\) of its own"):
        Loud(config).encoder_weights()


def test_what_changes_no_value_may_stay(make_model):
    model = make_model()
    model.dropout = nn.Identity()
    model.enable_input_require_grads()
    model.encoder_weights()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", ["thex_bert.layers.1.output_norm.bias", "classifier.weight"])
def test_weights_that_are_not_finite_are_refused(make_model, value, place):
    model = make_model()
    with torch.no_grad():
        model.get_parameter(place).view(-1)[3] = value
    with pytest.raises(ConversionError, match=r"should be finite; (layer 1 output_shift|classif)"):
        model.encoder_weights()


def test_a_scale_of_zero_is_refused_where_the_circuit_divides_by_it(make_model):
    model = make_model()
    with torch.no_grad():
        model.thex_bert.layers[1].attention_norm.weight[3] = 0.0  # the last layer: no division
    plan_for(model.encoder_weights(), 16, None, PlanOptions("client-aided"))
    with torch.no_grad():
        model.thex_bert.layers[0].attention_norm.weight[3] = 0.0
    with pytest.raises(PlanError, match=r"layer 0: the affine norm after attention has a scale of"):
        plan_for(model.encoder_weights(), 16, None, PlanOptions("client-aided"))


def test_no_layers_no_circuit(make_model):
    weights = make_model().encoder_weights()
    with pytest.raises(ConversionError, match="at least one encoder layer"):
        replace(weights, layers=())
    with pytest.raises(ConversionError, match="num_hidden_layers should be at least 1; got 0"):
        make_model(num_hidden_layers=0)


@pytest.mark.parametrize("field", ["is_decoder", "add_cross_attention"])
def test_a_decoder_is_refused(make_model, field):
    with pytest.raises(ConversionError, match=field):
        make_model(**{field: True})


def test_what_is_put_on_a_model_changes_its_mark(make_model):
    model = make_model()
    seen = {model.encoder_mark()}
    hook = model.classifier.register_forward_hook(lambda *_: None)
    seen.add(model.encoder_mark())
    hook.remove()
    assert model.encoder_mark() in seen
    model.classifier.forward = lambda values: values
    seen.add(model.encoder_mark())
    del model.classifier.forward
    other = Shifted(48, 32)
    other._parameters = model.thex_bert.layers[1].down._parameters  # the very same tensors
    model.thex_bert.layers[1].down = other
    seen.add(model.encoder_mark())
    assert len(seen) == 4
