r"""How much noise BFV ciphertexts have, and how much flooding fits on top.

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
* flooding, uniform on ``+-2**f``, brings a coefficient to a statistical distance of
  ``bound / 2**(f + 1)`` from what the weights have no part in. It is as much as fits, whatever
  the noise (:func:`flood_bits`), and must exceed the bound by FLOOD_BITS.
* dropped bits (see :mod:`.answers`) leave an error of ``2**(d - 1)`` in the first polynomial and
  in the second one that the key multiplies: TAIL deviations of ``2**d sqrt(N/12)``.

Mask, zero and flooding are added *after* the switch, where they are cheap. All that the weights
have a part in is then the second polynomial ``d_1`` and the noise ``v/prime + r_0 + r_1 s``, a
function of the sums alone. The client sees ``d_1 + z_1``, uniform to it as long as its public key
hides the server's ``u`` (it knows ``s``, and of the zero's noise only what the flooding shows), a
message under a uniform mask, and the flooding. Added before, they would hide the rounding as
well; that is ``2**9`` at most, and the flooding ``2**58``.

All of this is for clients that follow the protocol. One that makes its own noise larger on
purpose reads ``sum w_i v_i`` from an answer, above the flooding; nothing here can tell.
"""

from __future__ import annotations

import math

import numpy as np

from thex_hf.backends.numerics.noise import ERROR_STD
from thex_hf.errors import PlanError
from thex_hf.prepared.bfv.answers import MOST_FLOODING, dropped_bits
from thex_hf.prepared.bfv.lazily import Signed
from thex_hf.prepared.bfv.parameters import REPLY_LIMBS, BfvParameters

FLOOD_BITS = 40  # by how many bits flooding exceeds the noise, at least
LARGEST_ERROR = 21.5  # of 21 coins less 21 others, and the rounding of q m / t
TAIL = 10.0  # standard deviations
MANY = 1024  # numbers whose squares have no more than twice their mean


def fresh_bits() -> int:
    """Bits of the noise of a fresh ciphertext of the client."""
    return _bits(LARGEST_ERROR)


def linear_bits(weights: Signed) -> int:
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


def flood_bits(parameters: BfvParameters) -> int:
    """The bits of the flooding: as many as every answer can take.

    Raises:
        PlanError: the primes that an answer keeps leave no room for it.
    """
    degree = parameters.ring_degree
    first, second = dropped_bits(parameters)
    lost = 2.0 ** (first - 1) + TAIL * 2.0**second * math.sqrt(degree / 12)
    kept = math.prod(parameters.primes[:REPLY_LIMBS])
    room = kept // (2 * parameters.plain_modulus) - int(lost) - 4 * degree
    bits = max(0, room).bit_length() - 2  # a bit is left over, so that SEAL's budget is positive
    if bits < 0 or 1 << bits <= _rounding(parameters) << FLOOD_BITS:
        raise PlanError(f"no room for flooding under {parameters}; use larger primes")
    return min(bits, MOST_FLOODING)


def most_bits(parameters: BfvParameters) -> int:
    """Bits of noise that flooding hides. Raises PlanError as :func:`flood_bits`."""
    hidden = flood_bits(parameters) - FLOOD_BITS
    switched = math.prod(parameters.primes[REPLY_LIMBS:])
    return (((1 << hidden) - _rounding(parameters)) * switched).bit_length() - 1


def check_bits(parameters: BfvParameters, noise_bits: int) -> None:
    """Raises PlanError when flooding under these parameters does not hide so much noise."""
    most = most_bits(parameters)
    if not 0 < noise_bits <= most:
        raise PlanError(
            f"noise of {noise_bits} bits and {FLOOD_BITS} bits of flooding over it do not fit: "
            f"these primes leave room for {most} bits; sum fewer terms, or use larger primes"
        )


def _rounding(parameters: BfvParameters) -> int:
    """The noise of switching and of an encryption of zero, together."""
    return 2 * math.ceil(TAIL * math.sqrt(parameters.ring_degree / 12) + 2)


def _bits(largest: float) -> int:
    return math.ceil(math.log2(largest))
