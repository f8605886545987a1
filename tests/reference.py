"""The THE-X encoder in plain numpy, written from the formulas, not from the circuit."""

from dataclasses import replace

import numpy as np

from thex_hf.approximations.layernorm import chebyshev, inverse_root
from thex_hf.approximations.softmax import estimate, exact, load_reciprocal
from thex_hf.weights import EncoderWeights, InverseRoot, LayerWeights, PolynomialTerms


def random_weights(
    *, layers=2, hidden=32, heads=2, intermediate=64, labels=2, seed=0, head="cls"
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
        head,
    )


def _classify(weights, x, mask):
    """Logits of the last layer's output ``(S, d)``: ``(labels,)``, or of each true token."""
    true = x[np.asarray(mask) > 0]
    read = {"cls": x[0], "mean": true.sum(0) / len(true), "tokens": true}[weights.head]
    return read @ weights.classifier.T + weights.classifier_bias


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
    return _classify(weights, x, mask)


def random_polynomial_weights(*, power=2, centred=False, seed=0, **sizes) -> EncoderWeights:
    """An encoder in polynomial form; activations and scores stay of ordinary size."""
    weights = random_weights(seed=seed, **sizes)
    rng = np.random.default_rng(seed + 1)

    def layer(old):
        shift = rng.uniform(1.5, 2.5, weights.heads)
        terms = PolynomialTerms(
            power=power,
            score_shift=shift,
            score_scale=rng.uniform(0.7, 1.3, weights.heads) / (shift**power),
            activation=np.array([0.125, 0.25, 0.5]) * rng.uniform(0.8, 1.2, 3),
            centred=centred,
        )
        small = {"query": old.query / 2, "query_bias": old.query_bias / 2, "key": old.key / 2}
        return replace(
            old,
            **small,
            output_scale=0.5 * old.output_scale,
            polynomial=terms,
        )

    return replace(weights, layers=tuple(layer(old) for old in weights.layers))


def random_normalised_weights(
    degrees, *, interval=(0.2, 6.0), buckets=0, **sizes
) -> EncoderWeights:
    """An encoder in normalised form; ``degrees`` are those of both norms, for each layer.

    With ``buckets`` numbers are added to its scores by distance.
    """
    weights = random_polynomial_weights(centred=True, **sizes)

    def root(degree):
        if degree == 0:
            return None
        return InverseRoot(inverse_root(*interval, degree)[0], np.array(interval))

    def layer(old, pair):
        first, second = map(root, pair)
        return replace(old, attention_root=first, output_root=second)

    layers = tuple(layer(*both) for both in zip(weights.layers, degrees, strict=True))
    shape = (buckets, weights.heads)
    relative = np.random.default_rng(sizes.get("seed", 0) + 2).uniform(-1, 1, shape)
    return replace(weights, layers=layers, relative=relative if buckets else None)


def polynomial_logits(weights, embeddings, mask=None, traces=None):
    """Logits of one text in polynomial or normalised form, in float64.

    ``embeddings`` has shape ``(S, d)``; ``mask`` ``(S,)`` holds a one for each true token and is
    all ones if left out. Each layer appends its values to the list ``traces``, if given.
    """
    x = np.asarray(embeddings, dtype=np.float64)
    mask = np.ones(len(x)) if mask is None else np.asarray(mask, dtype=np.float64)
    size = weights.hidden // weights.heads
    for w in weights.layers:
        terms = w.polynomial
        value, context, scores, attention = x @ w.value.T, [], [], []
        for head in range(weights.heads):
            cut = slice(head * size, (head + 1) * size)
            query = x @ w.query[cut].T + w.query_bias[cut]
            s = query @ (x @ w.key[cut].T).T / np.sqrt(size)
            if weights.relative is not None:
                s = s + weights.relative[_distances(len(x), len(weights.relative)), head]
            shifted = (s + terms.score_shift[head]) ** terms.power
            a = shifted * terms.score_scale[head] * mask / mask.sum()
            scores.append(s)
            attention.append(a)
            context.append(a @ value[:, cut])
        u = x + np.concatenate(context, -1) @ w.output.T + w.output_bias
        y = _polynomial_norm(
            u, w.attention_scale, w.attention_shift, terms.centred, w.attention_root
        )
        f = y @ w.up.T + w.up_bias
        a, b, c = terms.activation
        z = y + (a * f**2 + b * f + c) @ w.down.T + w.down_bias
        out = _polynomial_norm(z, w.output_scale, w.output_shift, terms.centred, w.output_root)
        if traces is not None:
            traces.append(
                {
                    "stream_in": x, "value": value, "scores": np.stack(scores),
                    "attention": np.stack(attention), "attention_out": u, "attention_norm": y,
                    "ffn_pre": f, "layer_out": z, "layer_norm": out,
                }
            )  # fmt: skip
        x = out
    return _classify(weights, x, mask)


def _distances(tokens, buckets):
    """The bucket of each query and key, by the formula with logarithms."""
    between = np.arange(tokens)[None, :] - np.arange(tokens)[:, None]
    half, exact_ones = buckets // 2, buckets // 4
    size = np.abs(between)
    growth = np.log(np.maximum(size, 1) / exact_ones) / np.log(128 / exact_ones)
    far = np.minimum(exact_ones + (growth * (half - exact_ones)).astype(int), half - 1)
    return np.where(size < exact_ones, size, far) + half * (between > 0)


def _polynomial_norm(z, gamma, beta, centred, root):
    if root is not None:
        return chebyshev(z, gamma, beta, root.coefficients, root.interval)
    return gamma * (z - z.mean(-1, keepdims=True) if centred else z) + beta
