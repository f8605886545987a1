"""Slot machines: the contract of an engine, its parameters and rules, an engine that counts.

Nothing here knows a homomorphic library: the kernels in ``packing`` call the verbs of
:mod:`thex_hf.ckks.engine` and therefore run on numbers, on a counter, or on ciphertexts alike.
"""
