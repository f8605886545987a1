r"""How much noise BFV ciphertexts have, and how much likely flooding spoils an answer.

SEAL encrypts a polynomial ``m`` of integers from 0 to t-1 as ``c`` with
``c0 + c1 s = round(q m / t) + e`` modulo ``q``; the coefficients of ``e`` are 21 coins less 21
others, at most 21 and of standard deviation 3.24. Write ``c0 + c1 s = (q/t) m + v`` over the
reals; then ``v`` is at most 21.5, and a ciphertext decrypts to ``m`` as long as every coefficient
of ``v`` is below ``q / 2t``. As the scale is ``q/t`` itself and not its floor, there is no term
with ``r_t(q) = q mod t``: where a sum leaves 0..t-1 by ``k t``, ``(q/t) k t = k q`` is zero.

* linear: ``sum w_i c_i`` has noise ``sum w_i v_i``, at most 21.5 times the row's ``sum |w_i|``.
* cross: a plaintext is a polynomial ``p`` of B = N/a coefficients, lifted about zero, and
  ``sum p_k c_k`` has noise ``sum p_k v_k``: each coefficient a sum of K B products of a
  coefficient of ``p`` and one of ``v``. For *uniform* values the coefficients of ``p`` are uniform
  and independent, of variance ``t^2/12`` and sub-Gaussian with that variance, so a sum is over
  ``x`` with a probability below ``2 exp(-x^2 / 2V)``, ``V = (t^2/12) sum v^2``: at TAIL standard
  deviations 4e-22. ``sum v^2`` is of K B numbers with a mean of 10.6; twice that is taken, and for
  less than MANY numbers the largest that they can be.
* switching to the primes of an answer divides by the others, and adds ``r_0 + r_1 s``, the
  rounding of both polynomials: as ``r_1`` is uniform, TAIL deviations of ``sqrt(N/12)``.
* an encryption of zero under the public key, made at the primes of an answer, has noise
  ``(u e_p + e_0 + e_1 s) / prime``, which is below 1, and such a rounding.
* flooding is uniform on a whole cell, the ``q/t`` integers that decrypt to one number. With a mask
  that is uniform modulo t the sum of both is uniform modulo q in every coefficient (up to
  ``t/q``, 2**-61), whatever it is added to: no honest and no other client learns anything from
  what it decrypts, however large the noise that it has put into its ciphertexts. The price: noise
  moves the sum into the next cell with the probability of its size by that of a cell, and then all
  slots of that ciphertext are wrong (:func:`failure_probability`, 2**-35 for one answer).

Mask, zero and flooding are added *after* the switch, where they are cheap. All that the weights
have a part in is then the second polynomial ``d_1``, and the first. The client sees ``d_1 + z_1``,
``z_1`` being pseudorandom to it by the assumption behind all of this (its public key has a uniform
half that a seed makes, ``u`` is the server's, and of the zero's first polynomial the flooding shows
nothing); and a first polynomial that is uniform.
"""

from __future__ import annotations

import math

import numpy as np

from thex_hf.backends.numerics.noise import ERROR_STD
from thex_hf.errors import PlanError
from thex_hf.prepared.bfv.answers import cell
from thex_hf.prepared.bfv.lazily import Weights
from thex_hf.prepared.bfv.parameters import REPLY_LIMBS, BfvParameters

MOST_FAILURES = 2.0**-28
"""Of an answer that decrypts to something else; a batch has some ten thousand answers."""
LARGEST_ERROR = 21.5  # of 21 coins less 21 others, and the rounding of q m / t
TAIL = 10.0  # standard deviations
MANY = 1024  # numbers whose squares have no more than twice their mean


def fresh_bits() -> int:
    """Bits of the noise of a fresh ciphertext of the client."""
    return _bits(LARGEST_ERROR)


def linear_bits(weights: Weights) -> int:
    """Bits of the noise of ``weights (m, n)`` times n fresh ciphertexts, of the largest row."""
    largest = int(np.abs(weights).sum(axis=1).max(initial=0))
    return _bits(LARGEST_ERROR * max(1, largest))


def cross_bits(parameters: BfvParameters, terms: int, width: int) -> int:
    """Bits of the noise of a sum of ``terms`` fresh ciphertexts times uniform plaintexts.

    Args:
        parameters: the BFV parameters.
        terms: K, ciphertexts in a sum.
        width: a, slots of one instance; 1 for products slot by slot.
    """
    count = terms * parameters.ring_degree // width
    mean = ERROR_STD**2 + 1 / 12
    square = 2 * mean if count >= MANY else LARGEST_ERROR**2
    return _bits(TAIL * 2.0**parameters.plain_bits * math.sqrt(count * square / 12))


def failure_probability(parameters: BfvParameters, noise_bits: int) -> float:
    """At most how likely an answer is to decrypt to other numbers than its own.

    Args:
        parameters: the BFV parameters.
        noise_bits: of what is sent, before its modulus is switched.
    """
    switched = math.prod(parameters.primes[REPLY_LIMBS:])
    largest = 2.0**noise_bits / switched + _rounding(parameters)
    return 2 * parameters.ring_degree * largest / cell(parameters)


def check_bits(parameters: BfvParameters, noise_bits: int) -> None:
    """Refuse parameters under which so much noise spoils answers too often.

    Raises:
        PlanError: an answer fails with more than :data:`MOST_FAILURES`.
    """
    if noise_bits < 1 or failure_probability(parameters, noise_bits) > MOST_FAILURES:
        raise PlanError(
            f"noise of {noise_bits} bits does not fit: answers should fail with a probability of "
            f"{MOST_FAILURES:.1g} at most, these parameters make it "
            f"{failure_probability(parameters, noise_bits):.1g}; sum fewer terms, or use larger "
            f"primes"
        )


def _rounding(parameters: BfvParameters) -> int:
    """The noise of switching and of an encryption of zero, together."""
    return 2 * math.ceil(TAIL * math.sqrt(parameters.ring_degree / 12) + 2)


def _bits(largest: float) -> int:
    return math.ceil(math.log2(largest))
