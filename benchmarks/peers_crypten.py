"""A BERT encoder under CrypTen: two parties and a dealer, three processes of this machine.

peers.py runs this in an environment of its own, so nothing of the package is imported here:

    python3.11 -m venv crypten
    crypten/bin/pip install torch==2.13.0 numpy omegaconf onnx pyyaml tensorboard
    crypten/bin/pip install --no-deps crypten==0.4.1

(its list of requirements names ``sklearn``, which cannot be installed any more).
``crypten/bin/python peers_crypten.py NETWORK.npz [--repeats 3]`` prints a line of JSON: seconds of
each run after the first, bytes, rounds, logits, memory. Party 0 has the text and gets the logits,
party 1 has the weights. The dealer hands out what a text needs before it is known: CrypTen
records the requests of the first run, and fills its cache with them before each other run. GELU
is computed as ``x * sigmoid(1.702 x)``, since CrypTen's erf is a series that diverges.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any

import numpy as np

DEALER = 2


def library() -> Any:
    """CrypTen with a dealer, counting what it sends.

    Its reader of ONNX models, which nothing here uses, imports a module that torch has no longer.
    """
    missing = "torch.onnx._internal.registration"
    try:
        importlib.import_module(missing)
    except ModuleNotFoundError:
        stand_in: Any = types.ModuleType(missing)
        stand_in.registry = None
        sys.modules[missing] = stand_in
    import crypten

    crypten.cfg.mpc.provider = "TTP"
    crypten.cfg.communicator.verbose = True
    return crypten


def network(text: Any, weights: dict[str, Any], heads: int) -> Any:
    """Logits of a text ``(tokens, hidden)``, all of them shared."""
    tokens, size = text.size()

    def linear(x: Any, name: str) -> Any:
        return x.matmul(weights[f"{name}.weight"]) + weights[f"{name}.bias"]

    def norm(x: Any, name: str) -> Any:
        centred = x - x.mean(-1, keepdim=True)
        inverse = (centred.square().mean(-1, keepdim=True) + 1e-5).inv_sqrt()
        return centred * inverse * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def split(x: Any) -> Any:
        return x.reshape(tokens, heads, size // heads).transpose(0, 1)

    stream, layer = text, 0
    while f"{layer}.query.weight" in weights:
        query, key, value = (
            split(linear(stream, f"{layer}.{part}")) for part in ("query", "key", "value")
        )
        scores = query.matmul(key.transpose(1, 2)).div(math.sqrt(size // heads))
        context = scores.softmax(-1).matmul(value)
        joined = context.transpose(0, 1).reshape(tokens, size)
        stream = norm(stream + linear(joined, f"{layer}.output"), f"{layer}.attention_norm")
        inner = linear(stream, f"{layer}.up")
        inner = inner * inner.mul(1.702).sigmoid()
        stream = norm(stream + linear(inner, f"{layer}.down"), f"{layer}.output_norm")
        layer += 1
    return linear(stream[:1], "classifier")


def party(rank: int, path: Path, repeats: int) -> dict[str, Any]:
    """One of the two: a first run that is recorded, then those that are timed."""
    crypten = library()
    import torch

    torch.set_num_threads(1)
    crypten.init()
    communicator = crypten.communicator.get()
    provider = crypten.mpc.get_default_provider()
    arrays = {name: torch.from_numpy(array) for name, array in np.load(path).items()}
    heads, text = int(arrays.pop("heads")), arrays.pop("text")

    def shared(array: torch.Tensor, owner: int) -> Any:
        known = array if rank == owner else torch.zeros_like(array)
        return crypten.cryptensor(known, src=owner)

    def timed(work: Any) -> tuple[float, dict[str, Any], Any]:
        communicator.barrier()
        crypten.reset_communication_stats()
        begin = time.perf_counter()
        got = work()
        return time.perf_counter() - begin, communicator.get_communication_stats(), got

    def classify() -> Any:
        return network(shared(text, 0), weights, heads).get_plain_text(dst=0)

    with crypten.no_grad():
        weights = {name: shared(array, 1) for name, array in arrays.items()}
        provider.trace(True)
        first, _, _ = timed(classify)
        provider.trace(False)
        dealt, runs = [], []
        for _ in range(repeats):
            dealt.append(timed(provider.fill_cache))
            runs.append(timed(classify))
    left = sum(map(len, provider.tuple_cache.values()))
    crypten.uninit()
    return {
        "first_seconds": first,
        "before_seconds": [one[0] for one in dealt],
        "before_bytes": dealt[-1][1]["bytes"],
        "seconds": [one[0] for one in runs],
        "bytes": runs[-1][1]["bytes"],
        "rounds": runs[-1][1]["rounds"],
        "left": left,
        "logits": runs[-1][2].flatten().tolist() if rank == 0 else None,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }


def deal() -> dict[str, Any]:
    """The dealer, until party 0 ends."""
    crypten = library()
    crypten.mpc.provider.TTPServer()
    return {"peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}


def ends(running: list[subprocess.Popen[str]]) -> list[int]:
    """Exit codes; when one fails, the others do not wait for it."""
    while None in (codes := [process.poll() for process in running]):
        if any(codes):
            for process in running:
                process.terminate()
        time.sleep(0.1)
    return [process.wait() for process in running]


def all_three(path: Path, repeats: int) -> dict[str, Any]:
    """Run the parties and the dealer and gather what they found."""
    command = [sys.executable, __file__, str(path), "--repeats", str(repeats)]
    with tempfile.TemporaryDirectory() as folder:
        place = {
            "WORLD_SIZE": "2",
            "RENDEZVOUS": f"file://{folder}/meeting",
            "DISTRIBUTED_BACKEND": "gloo",
            "GLOO_SOCKET_IFNAME": "lo",
        }
        running = [
            subprocess.Popen(
                [*command, "--rank", str(rank)],
                env={**os.environ, **place, "RANK": str(rank)},
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in (0, 1, DEALER)
        ]
        codes = ends(running)
        printed = [process.communicate()[0] for process in running]
    if any(codes):
        raise SystemExit(f"A party failed, exit codes {codes}: see what it wrote above.")
    client, server, dealer = (json.loads(text.splitlines()[-1]) for text in printed)
    if client["left"] or client["bytes"] != server["bytes"]:
        raise SystemExit(
            "Expected each run to use up all that was dealt before it and to ask for no more, got "
            f"{client['left']} left and {client['bytes'] - server['bytes']} bytes with the dealer."
        )
    return {
        **client,
        "peak_gb": sum(one["peak_gb"] for one in (client, server, dealer)),
    }


def main() -> None:
    """All three, or the one that ``--rank`` names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank is None:
        got = all_three(options.network, options.repeats)
    elif options.rank == DEALER:
        got = deal()
    else:
        got = party(options.rank, options.network, options.repeats)
    print(json.dumps(got), flush=True)


if __name__ == "__main__":
    main()
