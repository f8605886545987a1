"""A BERT encoder under SPU, protocol Cheetah: two parties, two processes of this machine.

peers.py runs this in an environment of its own, so nothing of the package is imported here:

    python3.11 -m venv spu
    spu/bin/pip install spu==0.9.5

which brings jax for the processor. ``spu/bin/python peers_spu.py NETWORK.npz [--repeats 3]``
prints a line of JSON: seconds of each run after the first, bytes both ways and messages sent
(means of these runs, since oblivious transfers are made in stock and not in every run), logits,
memory. Numbers are of 64 bits. Party 0 has the text and gets the logits, party 1 has the weights,
which stay where they are. GELU is computed in its tanh form.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

LINK = re.compile(
    r"Link details: total send bytes (\d+), recv bytes (\d+), send actions (\d+), recv actions"
)
"""What a party logs after each run, of that run."""


def network(text: Any, weights: dict[str, Any], heads: int) -> Any:
    """Logits of a text ``(tokens, hidden)``, as a function of jax."""
    import jax
    import jax.numpy as jnp

    tokens, size = text.shape

    def linear(x: Any, name: str) -> Any:
        return jnp.matmul(x, weights[f"{name}.weight"]) + weights[f"{name}.bias"]

    def norm(x: Any, name: str) -> Any:
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        inverse = jax.lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + 1e-5)
        return centred * inverse * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def split(x: Any) -> Any:
        return jnp.transpose(jnp.reshape(x, (tokens, heads, size // heads)), (1, 0, 2))

    stream, layer = text, 0
    while f"{layer}.query.weight" in weights:
        query, key, value = (
            split(linear(stream, f"{layer}.{part}")) for part in ("query", "key", "value")
        )
        scores = jnp.matmul(query, jnp.transpose(key, (0, 2, 1))) / np.sqrt(size // heads)
        context = jnp.matmul(jax.nn.softmax(scores, axis=-1), value)
        joined = jnp.reshape(jnp.transpose(context, (1, 0, 2)), (tokens, size))
        stream = norm(stream + linear(joined, f"{layer}.output"), f"{layer}.attention_norm")
        inner = jax.nn.gelu(linear(stream, f"{layer}.up"), approximate=True)
        stream = norm(stream + linear(inner, f"{layer}.down"), f"{layer}.output_norm")
        layer += 1
    return linear(stream[:1], "classifier")[0]


def compiled(text: np.ndarray, weights: dict[str, np.ndarray], heads: int) -> Any:
    """What both parties execute; only shapes are read of the arrays."""
    from spu import libspu
    from spu.utils import frontend

    def classify(text: Any, weights: dict[str, Any]) -> Any:
        return network(text, weights, heads)

    options = libspu.CompilerOptions()
    options.enable_optimize_denominator_with_broadcast = True
    executable, _ = frontend.compile(
        frontend.Kind.JAX,
        classify,
        [text, weights],
        {},
        ["text", *sorted(weights)],
        [libspu.Visibility.VIS_SECRET] * (1 + len(weights)),
        lambda outputs: ["logits"],
        copts=options,
    )
    return executable


def send(link: Any, share: Any) -> int:
    """Give the other party its share; returns the bytes of it."""
    parts = [share.meta, *share.share_chunks]
    link.send(1 - link.rank, len(parts).to_bytes(4, "big"))
    for part in parts:
        link.send(1 - link.rank, part)
    return sum(map(len, parts))


def receive(link: Any) -> tuple[Any, int]:
    """The share that the other party sends, and the bytes of it."""
    from spu import libspu

    other = 1 - link.rank
    meta, *chunks = (link.recv(other) for _ in range(int.from_bytes(link.recv(other), "big")))
    share = libspu.Share()
    share.meta, share.share_chunks = meta, chunks
    return share, len(meta) + sum(map(len, chunks))


def party(rank: int, addresses: list[str], path: Path, repeats: int) -> dict[str, Any]:
    """One of the two: a first run apart, then those that are timed."""
    import spu
    from spu import libspu

    description = libspu.link.Desc()
    for name, address in zip(("client", "server"), addresses, strict=True):
        description.add_party(name, address)
    description.recv_timeout_ms = 3_600_000
    link = libspu.link.create_brpc(description, rank)
    config = libspu.RuntimeConfig(protocol=libspu.ProtocolKind.CHEETAH, field=libspu.FieldType.FM64)
    config.enable_pphlo_profile = True  # logs what LINK finds
    config.experimental_enable_colocated_optimization = True  # an owner's input stays with it
    runtime, io = spu.Runtime(link, config), spu.Io(2, config)

    def shared(array: np.ndarray, owner: int) -> tuple[Any, int]:
        if rank != owner:
            return receive(link)
        shares = io.make_shares(array, libspu.Visibility.VIS_SECRET, owner)
        return shares[rank], send(link, shares[1 - rank])

    arrays = dict(np.load(path))
    heads, text = int(arrays.pop("heads")), arrays.pop("text")
    executable = compiled(text, arrays, heads)
    for name in sorted(arrays):
        runtime.set_var(name, shared(arrays[name], 1)[0])
    seconds, moved, logits = [], 0, np.zeros(2)
    for _ in range(repeats + 1):
        link.barrier()
        begin = time.perf_counter()
        share, sent = shared(text, 0)
        runtime.set_var("text", share)
        runtime.run(executable)
        share = runtime.get_var("logits")
        if rank == 0:
            other, back = receive(link)
            logits = io.reconstruct([share, other])
        else:
            back = send(link, share)
        seconds.append(time.perf_counter() - begin)
        moved = sent + back
    link.stop_link()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"seconds": seconds, "moved": moved, "logits": logits.tolist(), "peak_gb": peak}


def addresses_of_two() -> list[str]:
    """Two free ports of this machine."""
    with socket.socket() as one, socket.socket() as two:
        for held in (one, two):
            held.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{held.getsockname()[1]}" for held in (one, two)]


def ends(running: list[subprocess.Popen[str]]) -> list[int]:
    """Exit codes; when one fails, the others do not wait for it."""
    while None in (codes := [process.poll() for process in running]):
        if any(codes):
            for process in running:
                process.terminate()
        time.sleep(0.1)
    return [process.wait() for process in running]


def both(path: Path, repeats: int) -> dict[str, Any]:
    """Run the parties and gather what they found."""
    addresses = addresses_of_two()
    command = [sys.executable, __file__, str(path), "--repeats", str(repeats)]
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / f"{rank}.log" for rank in range(2)]
        running: list[subprocess.Popen[str]] = []
        for rank, log in enumerate(logs):
            with log.open("w") as out:
                running.append(
                    subprocess.Popen(
                        [*command, "--rank", str(rank), "--addresses", *addresses],
                        stdout=out,
                        stderr=subprocess.STDOUT,
                        text=True,
                    )
                )
        codes = ends(running)
        texts = [log.read_text(errors="replace") for log in logs]
    if any(codes):
        raise SystemExit(f"A party failed, exit codes {codes}:\n{texts[0]}\n{texts[1]}")
    client, server = (
        json.loads(next(line for line in text.splitlines() if line.startswith('{"seconds"')))
        for text in texts
    )
    runs = [tuple(map(int, found)) for found in LINK.findall(texts[0])]
    if len(runs) != repeats + 1:
        raise SystemExit(f"Expected a line of link details for each run, got {len(runs)}.")
    timed = runs[1:]
    return {
        "before_seconds": [0.0],
        "before_bytes": 0,
        "first_seconds": client["seconds"][0],
        "seconds": client["seconds"][1:],
        "bytes": mean(sum(run[:2]) for run in timed) + client["moved"],
        "bytes_of_first": sum(runs[0][:2]) + client["moved"],
        "rounds": round(mean(run[2] for run in timed)),
        "logits": client["logits"],
        "peak_gb": client["peak_gb"] + server["peak_gb"],
    }


def main() -> None:
    """Both parties, or the one that ``--rank`` names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--addresses", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank is None:
        print(json.dumps(both(options.network, options.repeats)))
    else:
        got = party(options.rank, options.addresses, options.network, options.repeats)
        print("\n" + json.dumps(got), flush=True)


if __name__ == "__main__":
    main()
