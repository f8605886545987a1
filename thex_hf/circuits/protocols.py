"""What each side learns under each protocol, in a sentence for users."""

from __future__ import annotations

LEARNS = {
    "client-aided": (
        "client-aided protocol: the server sees ciphertexts and the padded length only; the "
        "client sees attention scores and FFN activations, from which the weights could be "
        "rebuilt: the text is protected, the model is not."
    ),
    "refresh": (
        "refresh protocol: the server sees ciphertexts and the padded length only; the client "
        "sees numbers that are uniform modulo the whole modulus, whatever it sends, and the "
        "logits: text and model are protected."
    ),
    "one-shot": (
        "one-shot protocol: one request, one reply; the server sees ciphertexts and the padded "
        "length only, the client sees the logits: text and model are protected."
    ),
}
