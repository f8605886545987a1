"""The half of the Concrete backend that runs in an environment of its own.

Run by that environment's Python as a plain file: it imports Concrete, numpy, msgpack and nothing of
``thex_hf``. Messages are msgpack maps behind their length (8 bytes, big-endian) on standard input
and output; see :mod:`thex_hf.concrete.environment` for the other end. A worker has one role:
``client`` holds secret keys and cannot compile or run; ``server`` compiles and runs and has no
secret key.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

VERSION = 1
MOST = 1 << 31
P_ERROR = 1e-6  # that one table look-up fails
Message = dict[str, Any]


def import_concrete() -> Any:
    """Import Concrete's Python compiler without torch.

    It imports torch for convolutions and pooling only, of which there are none here; an empty
    module in its place saves the download of several hundred megabytes.
    """

    def missing(name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)

    empty = types.ModuleType("torch")
    empty.__getattr__ = missing  # type: ignore[method-assign]
    sys.modules.setdefault("torch", empty)
    from concrete import fhe  # type: ignore[import-not-found]

    return fhe


def pack_array(values: Any) -> Message:
    """An integer array as a map."""
    import numpy as np

    flat = np.ascontiguousarray(values, dtype="<i8")
    return {"shape": list(flat.shape), "data": flat.tobytes()}


def unpack_array(message: Message) -> Any:
    """The array of a map."""
    import numpy as np

    return np.frombuffer(message["data"], dtype="<i8").reshape(message["shape"])


def facts(circuit: Any) -> Message:
    """What Concrete says of a circuit: bits, error probability, bootstraps, complexity."""
    statistics = circuit.statistics
    return {
        "bits": circuit.graph.maximum_integer_bit_width(),
        "p_error": statistics["p_error"],
        "bootstraps": statistics["programmable_bootstrap_count"],
        "clear_multiplications": statistics["clear_multiplication_count"],
        "secret_key_bytes": statistics["size_of_secret_keys"],
    }


class Server:
    """Compiles circuits and runs them on ciphertexts."""

    def __init__(self, fhe: Any) -> None:
        self.fhe = fhe
        self.circuits: dict[str, Any] = {}
        self.servers: dict[str, Any] = {}
        self.keys: dict[str, Any] = {}

    def compile(self, message: Message) -> Message:
        """Compile ``x @ weights + bias`` for ``rows`` encrypted rows.

        Concrete sizes the circuit by the inputs it is shown: those that make the result which can
        be largest as large and as small as it can be. So no input within ``most`` (the largest
        absolute value of each feature) overflows.
        """
        import numpy as np

        rows, weights, bias = message["rows"], *_arrays(message, "weights", "bias")
        (most,) = _arrays(message, "most")
        reach = most @ np.abs(weights) + np.abs(bias)
        signs = np.where(weights[:, reach.argmax()] < 0, -1, 1)
        extremes = [np.tile(side * most * signs, (rows, 1)) for side in (1, -1)]
        return self._keep(message["name"], lambda x: x @ weights + bias, extremes)

    def compile_block(self, message: Message) -> Message:
        """Compile a linear map, ReLU as a table, and a second map beside one of the input.

        The inputs shown are one feature at a time; how large the rest becomes is told by hints.
        """
        import numpy as np

        fhe, rows, cut = self.fhe, message["rows"], message["cut"]
        first, first_bias = _arrays(message, "first", "first_bias")
        second, beside, bias = _arrays(message, "second", "beside", "bias")
        (most,) = _arrays(message, "most")

        def table(value: Any) -> Any:
            return np.maximum(value >> cut, 0)

        def function(x: Any) -> Any:
            between = fhe.hint(x @ first + first_bias, bit_width=message["between_bits"])
            exactness = fhe.Exactness.APPROXIMATE
            kept = fhe.round_bit_pattern(between, lsbs_to_remove=cut, exactness=exactness)
            active = fhe.hint(fhe.univariate(table)(kept), bit_width=message["table_bits"])
            return fhe.hint(active @ second + x @ beside + bias, bit_width=message["result_bits"])

        alone = [side * np.tile(row, (rows, 1)) for row in np.diag(most) for side in (1, -1)]
        return self._keep(message["name"], function, alone, p_error=P_ERROR)

    def _keep(self, name: str, function: Any, inputs: Any, **options: Any) -> Message:
        compiler = self.fhe.Compiler(function, {"x": "encrypted"})
        circuit = compiler.compile(
            inputs,
            self.fhe.Configuration(
                compress_input_ciphertexts=True,
                compress_evaluation_keys=True,
                show_progress=False,
                verbose=False,
                **options,
            ),
        )
        self.circuits[name] = circuit
        self.servers[name] = circuit.server
        return {"client": _saved(circuit.client), "facts": facts(circuit)}

    def take_keys(self, message: Message) -> Message:
        """Keep a client's evaluation keys for one circuit."""
        self.keys[message["name"]] = self.fhe.EvaluationKeys.deserialize(message["keys"])
        return {}

    def run(self, message: Message) -> Message:
        """Run one circuit on a ciphertext."""
        name = message["name"]
        value = self.fhe.Value.deserialize(message["value"])
        result = self.servers[name].run(value, evaluation_keys=self.keys[name])
        return {"value": result.serialize()}

    def simulate(self, message: Message) -> Message:
        """Run one circuit in Concrete's own simulation, on integers."""
        circuit = self.circuits[message["name"]]
        return {"values": pack_array(circuit.simulate(unpack_array(message["values"])))}


class Client:
    """Holds the keys of each circuit, encrypts and decrypts."""

    def __init__(self, fhe: Any) -> None:
        self.fhe = fhe
        self.clients: dict[str, Any] = {}

    def open(self, message: Message) -> Message:
        """Take what the server made for the client of one circuit."""
        self.clients[message["name"]] = _loaded(self.fhe.Client, message["client"])
        return {}

    def keygen(self, message: Message) -> Message:
        """Make keys, or take those of earlier; returns the secret and the evaluation keys."""
        client = self.clients[message["name"]]
        if message.get("secret") is None:
            client.keygen()
        else:
            client.keys = self.fhe.Keys.deserialize(message["secret"])
        return {
            "secret": client.keys.serialize(),
            "evaluation": client.evaluation_keys.serialize(),
        }

    def encrypt(self, message: Message) -> Message:
        """Encrypt one array of integers."""
        client = self.clients[message["name"]]
        return {"value": client.encrypt(unpack_array(message["values"])).serialize()}

    def decrypt(self, message: Message) -> Message:
        """Decrypt one result."""
        value = self.fhe.Value.deserialize(message["value"])
        return {"values": pack_array(self.clients[message["name"]].decrypt(value))}


def _arrays(message: Message, *names: str) -> list[Any]:
    return [unpack_array(message[name]) for name in names]


def _saved(thing: Any) -> bytes:
    """What Concrete's deployment class writes to a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "saved.zip"
        thing.save(path)
        return path.read_bytes()


def _loaded(kind: Any, data: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "saved.zip"
        path.write_bytes(data)
        return kind.load(path)


def read(stream: BinaryIO) -> Message | None:
    """The next message, None at the end of the stream."""
    import msgpack

    head = stream.read(8)
    if len(head) < 8:
        return None
    size = int.from_bytes(head, "big")
    if size > MOST:
        raise ValueError(f"a message of {size} bytes; {MOST} are the most")
    body = stream.read(size)
    if len(body) < size:
        return None
    message: Message = msgpack.unpackb(body, max_bin_len=MOST)
    return message


def write(stream: BinaryIO, message: Message) -> None:
    """Write one message."""
    import msgpack

    body = msgpack.packb(message)
    stream.write(len(body).to_bytes(8, "big") + body)
    stream.flush()


def hello() -> Message:
    """Versions of this end."""
    from importlib.metadata import version

    names = ("concrete-python", "numpy", "msgpack")
    return {
        "version": VERSION,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in names},
    }


def serve(role: str) -> None:
    """Answer requests until the stream ends. An error is an answer too."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints goes to standard error
    fhe = import_concrete()
    worker: Server | Client = Server(fhe) if role == "server" else Client(fhe)
    offered: dict[str, Callable[[Message], Message]] = {
        name: getattr(worker, name) for name in OFFERED[role]
    }
    write(answers, hello())
    while (message := read(sys.stdin.buffer)) is not None:
        try:
            write(answers, {"ok": offered[message["op"]](message)})
        except Exception as error:  # the other end decides what it means
            write(answers, {"error": f"{type(error).__name__}: {error}"[:2000]})


OFFERED = {
    "server": ("compile", "compile_block", "take_keys", "run", "simulate"),
    "client": ("open", "keygen", "encrypt", "decrypt"),
}

if __name__ == "__main__":
    serve(sys.argv[1])
