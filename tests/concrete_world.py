"""What tests of the Concrete backend share."""

import numpy as np

RANGES = [
    dict.fromkeys(("stream_in", "value", "attention_out", "ffn_pre", "scores", "layer_out"), 12.0)
] * 2


def text(tokens, hidden=32, seed=1):
    return np.random.default_rng(seed).normal(size=(tokens, hidden))
