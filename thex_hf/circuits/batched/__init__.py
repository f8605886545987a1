"""Many texts in one request: the polynomial encoder for throughput.

A ciphertext holds two features, one as the real and one as the imaginary part, of every token
of every text. A plaintext matrix is then a sum of whole ciphertexts times numbers, without a
rotation, and a rotation moves tokens cyclically and exactly.

``layout`` says what lies where, ``folding`` turns weights into maps of paired features,
``context`` and ``attention`` and ``circuit`` are the server's side, ``refresh_schedule`` says where
it is refreshed, ``planner`` chooses that and the parameters.
"""
