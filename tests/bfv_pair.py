"""One client and server for all tests of BFV, and sums in Python's integers."""

from functools import cache

import numpy as np

from thex_hf.prepared.bfv.client import BfvClient
from thex_hf.prepared.bfv.parameters import BfvParameters
from thex_hf.prepared.bfv.server import BfvServer

PARAMETERS = BfvParameters()
DEGREE = PARAMETERS.ring_degree
PLAIN = PARAMETERS.plain_modulus


@cache
def keys():
    return BfvClient.generate(PARAMETERS)


def client() -> BfvClient:
    return keys()[0]


@cache
def server() -> BfvServer:
    return BfvServer(PARAMETERS, keys()[1])


def uniform(seed, *shape):
    """Numbers below t, the first ones 0 and t-1."""
    values = np.random.default_rng(seed).integers(0, PLAIN, shape, dtype=np.uint64)
    values.reshape(-1)[:4] = [0, PLAIN - 1, PLAIN - 1, 1]
    return values


def fresh(slots):
    """Encrypted, and loaded by the server."""
    return server().load(client().encrypt(slots))


def modulo(values):
    return (values % PLAIN).astype(np.uint64)


def noise_of(words):
    """Bits of the largest coefficient of the noise in ``(2, L, N)`` words, by the secret key."""
    seal = server()._context.seal
    ciphertext = server()._form.write(words)
    seal.evaluator.transform_from_ntt_inplace(ciphertext)
    budget = client()._decryptor.invariant_noise_budget(ciphertext)
    return seal.modulus_bits(len(seal.primes) - 1) - PARAMETERS.plain_bits - 1 - budget
