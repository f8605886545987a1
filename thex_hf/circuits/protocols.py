"""The protocols and the choices that they leave, by name, and what each side learns.

Loads no library: help and completion of the command line come from here.
"""

from __future__ import annotations

FORMS = {"client-aided": "the-x", "refresh": "polynomial", "one-shot": "polynomial"}
"""Protocols, and the form of model that each serves."""

PROTOCOLS = tuple(FORMS)

SOFTMAX = ("estimate", "exact", "estimate-on-server")
"""For ``client-aided``: who finishes the estimate, or the exact one."""

RELU = ("client", "server")
"""For ``client-aided``: who rectifies; the server where the engine can do it on ciphertext."""

RINGS = (8192, 16384, 32768)
"""Ring degrees N that ``refresh`` and ``one-shot`` may be given."""

FLOODS = ("light", "strong")
"""Noise on the logits of ``refresh`` and ``one-shot``."""

UNSERVED = ("clear", "concrete", "remote")
"""Backends that have a name and cannot be served."""

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
"""In a sentence for users."""
