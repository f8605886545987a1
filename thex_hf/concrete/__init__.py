"""Concrete as a backend: a THE-X encoder's linear maps on TFHE ciphertexts of exact integers.

Not a slot backend: Concrete compiles whole maps. ``circuits`` quantises the encoder, ``roles``
are the two sides, ``backend`` has both on one machine, ``worker`` runs in an environment of
Concrete's own.
"""
