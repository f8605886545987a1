"""The THE-X encoder in plain numpy, written from the formulas, not from the circuit."""

import numpy as np

from thex_hf.approx.reciprocal import load_reciprocal
from thex_hf.approx.softmax import estimate, exact
from thex_hf.weights import EncoderWeights, LayerWeights


def random_weights(
    *, layers=2, hidden=32, heads=2, intermediate=64, labels=2, seed=0
) -> EncoderWeights:
    """An encoder with values of ordinary size."""
    rng = np.random.default_rng(seed)

    def matrix(out, inner):
        return rng.normal(size=(out, inner)) / np.sqrt(inner)

    def vector(size, middle=0.0):
        return middle + 0.2 * rng.normal(size=size)

    d, m = hidden, intermediate
    return EncoderWeights(
        heads,
        tuple(
            LayerWeights(
                query=matrix(d, d),
                query_bias=vector(d),
                key=matrix(d, d),
                value=matrix(d, d),
                output=matrix(d, d),
                output_bias=vector(d),
                attention_scale=vector(d, 1.0).clip(0.3),
                attention_shift=vector(d),
                up=matrix(m, d),
                up_bias=vector(m),
                down=matrix(d, m),
                down_bias=vector(d),
                output_scale=vector(d, 1.0),
                output_shift=vector(d),
            )
            for _ in range(layers)
        ),
        matrix(labels, d),
        vector(labels),
    )


def clear_logits(weights, embeddings, mask, softmax="estimate"):
    """Logits of one text: embeddings ``(tokens, d)``, mask ``(tokens,)``."""
    x, tokens, size = embeddings, len(embeddings), weights.hidden // weights.heads

    def split(y):
        return y.reshape(tokens, weights.heads, size).swapaxes(0, 1)

    for w in weights.layers:
        query, key, value = (
            split(x @ w.query.T + w.query_bias), split(x @ w.key.T), split(x @ w.value.T)
        )  # fmt: skip
        scores = query @ key.swapaxes(1, 2) / np.sqrt(size)
        attention = (
            exact(scores, mask) if softmax == "exact" else estimate(scores, mask, load_reciprocal())
        )
        context = (attention @ value).swapaxes(0, 1).reshape(tokens, -1)
        y = w.attention_scale * (x + context @ w.output.T + w.output_bias) + w.attention_shift
        hidden = np.maximum(y @ w.up.T + w.up_bias, 0)
        x = w.output_scale * (y + hidden @ w.down.T + w.down_bias) + w.output_shift
    return weights.classifier @ x[0] + weights.classifier_bias
