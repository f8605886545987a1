"""Circuits on ciphertexts: what is planned, what the server computes, round trips to the client.

``protocols`` says which there are; ``dispatch`` goes from one's name to its planner and circuit.
Three circuits stand side by side: ``client_aided`` (the THE-X form), ``single`` (the polynomial
form, one text) and ``batched`` (the polynomial form, many texts in one request). ``shape`` fixes
what both sides know: sizes, layouts and round trips. ``planning`` runs a circuit on the counting
engine, ``plan`` is what comes of it. ``polynomial`` is what ``single`` and ``batched`` share.
"""
