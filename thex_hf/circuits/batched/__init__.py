"""Many texts in one request: the polynomial encoder for throughput.

A ciphertext holds two features, one as the real and one as the imaginary part, of every token
of every text. A plaintext matrix is then a sum of whole ciphertexts times numbers, without a
rotation, and a rotation moves tokens cyclically and exactly.

``context`` and ``circuit`` are the server's side, ``planner`` chooses refresh points and
parameters.
"""
