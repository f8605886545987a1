"""Packing: pure numpy maps between matrices and slots, and the kernels written on them.

Nothing here knows a homomorphic library: kernels call the verbs of
:mod:`thex_hf.layout.engines` and therefore run on numbers, on a counter, or on
ciphertexts alike.
"""
