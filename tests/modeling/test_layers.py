import numpy as np
import pytest
import torch

from thex_hf.approximations.activation import relu
from thex_hf.approximations.layernorm import affine
from thex_hf.approximations.softmax import estimate, exact, load_reciprocal
from thex_hf.modeling.layers import ExactSoftmax, SoftmaxEstimate
from thex_hf.modeling.norms import AffineNorm


@pytest.mark.parametrize(
    ("module", "function"),
    [
        (SoftmaxEstimate(), lambda s, m: estimate(s, m, load_reciprocal())),
        (ExactSoftmax(), exact),
    ],
)
def test_softmax_modules_equal_the_numpy_functions(module, function):
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 2, (2, 3, 4, 6))
    mask = np.ones((2, 1, 1, 6))
    mask[0, ..., 4:] = 0
    got = module(torch.tensor(scores), torch.tensor(mask)).numpy()
    np.testing.assert_allclose(got, function(scores, mask), rtol=1e-10, atol=1e-12)


def test_estimate_has_nothing_to_train_or_store_and_passes_gradients():
    module = SoftmaxEstimate()
    scores = torch.randn(1, 1, 2, 3, requires_grad=True)
    module(scores, torch.ones(1, 1, 1, 3))[..., 0].sum().backward()
    assert scores.grad.abs().sum() > 0
    assert not list(module.parameters())
    assert not module.state_dict()


def test_affine_norm_equals_the_numpy_function():
    norm = AffineNorm(4)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0]))
        norm.bias.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    x = torch.randn(5, 4)
    expected = affine(x.numpy(), norm.weight.detach().numpy(), norm.bias.detach().numpy())
    np.testing.assert_allclose(norm(x).detach().numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("softmax", ["estimate", "exact"])
def test_exported_weights_reproduce_the_model_in_numpy(make_model, batch, softmax):
    model = make_model(softmax=softmax).double()
    weights = model.encoder_weights()
    x = model.embed(batch["input_ids"]).detach().numpy()[0]
    mask = batch["attention_mask"][0].numpy().astype(float)
    size = weights.hidden // weights.heads
    for layer in weights.layers:
        q, k, v = x @ layer.query.T + layer.query_bias, x @ layer.key.T, x @ layer.value.T
        parts = []
        for head in range(weights.heads):
            cut = slice(head * size, (head + 1) * size)
            scores = q[:, cut] @ k[:, cut].T / np.sqrt(size)
            p = estimate(scores, mask, load_reciprocal()) if softmax == "estimate" else None
            parts.append((exact(scores, mask) if p is None else p) @ v[:, cut])
        y = x + np.concatenate(parts, -1) @ layer.output.T + layer.output_bias
        y = affine(y, layer.attention_scale, layer.attention_shift)
        f = relu(y @ layer.up.T + layer.up_bias) @ layer.down.T + layer.down_bias
        x = affine(y + f, layer.output_scale, layer.output_shift)
    logits = x[0] @ weights.classifier.T + weights.classifier_bias
    expected = model(**batch).logits[0].detach().numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-9)
    assert weights.labels == 2
    assert weights.intermediate == 48
