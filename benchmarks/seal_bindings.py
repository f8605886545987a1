"""Two Python bindings of Microsoft SEAL side by side: bytes of what is fresh, milliseconds a verb.

``python benchmarks/seal_bindings.py --other PYTHON``: PYTHON has ``numpy`` and ``seal-python``, and
this interpreter ``tenseal``. Each measures in a process of its own, in turn, three
times; medians of all. Ring 8192, primes of 50, 38, 38, 38 bits and 54, the top level. Writes
results/seal_bindings.json and .md. Takes a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from statistics import median
from typing import Any

RING, BITS, SCALE = 8192, [50, 38, 38, 38, 54], 2.0**38
TURNS, REPEATS = 3, 15


def timed(action: Callable[[], Any]) -> list[float]:
    """Milliseconds of each of the repeats."""
    samples = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        action()
        samples.append(1e3 * (time.perf_counter() - begin))
    return samples


def with_tenseal() -> dict[str, Any]:
    """The binding that is used now."""
    import tenseal.sealapi as seal

    parms = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
    parms.set_poly_modulus_degree(RING)
    parms.set_coeff_modulus(seal.CoeffModulus.Create(RING, BITS))
    context = seal.SEALContext(parms, True, seal.SEC_LEVEL_TYPE.TC128)
    keys = seal.KeyGenerator(context)
    encryptor = seal.Encryptor(context, keys.secret_key())
    encoder, evaluator = seal.CKKSEncoder(context), seal.Evaluator(context)
    galois = seal.GaloisKeys()
    keys.create_galois_keys([3], galois)  # the element of a rotation by one
    plain, cipher, out = seal.Plaintext(), seal.Ciphertext(context), seal.Ciphertext(context)
    numbers = [index / RING for index in range(RING // 2)]
    encoder.encode(numbers, SCALE, plain)
    encryptor.encrypt_symmetric(plain, cipher)
    path = tempfile.mktemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)

    def size(thing: Any) -> int:
        thing.save(path)
        return os.path.getsize(path)

    fresh, made = encryptor.encrypt_symmetric(plain), keys.create_galois_keys([3])
    found = {
        "bytes": {"fresh ciphertext": size(fresh), "one rotation key": size(made)},
        "ms": {
            "encode": timed(lambda: encoder.encode(numbers, SCALE, plain)),
            "multiply": timed(lambda: evaluator.multiply(cipher, cipher, out)),
            "multiply plain": timed(lambda: evaluator.multiply_plain(cipher, plain, out)),
            "rotate": timed(lambda: evaluator.rotate_vector(cipher, 1, galois, out)),
            "to bytes": timed(lambda: size(cipher)),
        },
    }
    os.unlink(path)
    return found


def with_seal_python() -> dict[str, Any]:
    """The other one."""
    import numpy as np
    import seal

    parms = seal.EncryptionParameters(seal.scheme_type.ckks)
    parms.set_poly_modulus_degree(RING)
    parms.set_coeff_modulus(seal.CoeffModulus.Create(RING, BITS))
    context = seal.SEALContext(parms)
    keys = seal.KeyGenerator(context)
    encryptor = seal.Encryptor(context, keys.secret_key())
    encoder, evaluator = seal.CKKSEncoder(context), seal.Evaluator(context)
    galois = seal.GaloisKeys()
    keys.create_galois_keys([1], galois)
    numbers = np.arange(RING // 2) / RING
    plain = encoder.encode(numbers, SCALE)
    cipher = encryptor.encrypt_symmetric(plain)
    return {
        "bytes": {
            "fresh ciphertext": len(cipher.to_string()),
            "one rotation key": len(galois.to_string()),
        },
        "ms": {
            "encode": timed(lambda: encoder.encode(numbers, SCALE)),
            "multiply": timed(lambda: evaluator.multiply(cipher, cipher)),
            "multiply plain": timed(lambda: evaluator.multiply_plain(cipher, plain)),
            "rotate": timed(lambda: evaluator.rotate_vector(cipher, 1, galois)),
            "to bytes": timed(cipher.to_string),
        },
    }


BINDINGS = {"tenseal": with_tenseal, "seal-python": with_seal_python}


def main() -> None:
    """Run both in turn and write the record; or one, for the other process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--other", help="a Python with numpy and seal-python")
    parser.add_argument("--one", choices=list(BINDINGS), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(BINDINGS[chosen.one]()))
        return
    from common import surroundings, write

    place = surroundings()
    pythons = {"tenseal": sys.executable, "seal-python": chosen.other or sys.executable}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in pythons}
    for _ in range(TURNS):
        for name, python in pythons.items():
            command = [python, __file__, "--one", name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            runs[name].append(json.loads(done.stdout))
    rows = {
        name: {
            "bytes": found[0]["bytes"],
            "ms": {
                verb: median(sample for one in found for sample in one["ms"][verb])
                for verb in found[0]["ms"]
            },
        }
        for name, found in runs.items()
    }
    table = [["", *rows, "ratio"]]
    for kind, digits in (("bytes", 0), ("ms", 2)):
        for what in rows["tenseal"][kind]:
            one, other = (rows[name][kind][what] for name in rows)
            values = [f"{value:.{digits}f}" for value in (one, other)]
            table.append([f"{what}, {kind}", *values, f"{other / one:.2f}"])
    write("seal_bindings", {"surroundings": place, "rows": rows}, table)
    print(*(" | ".join(row) for row in table), sep="\n")


if __name__ == "__main__":
    main()
