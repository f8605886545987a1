"""Client and server as two objects in two folders, joined by nothing but bytes.

The client makes keys and ships the evaluation half once; then ciphertexts go back and forth
until it can read the logits. Everything that crosses passes through one function, which
also looks for the secret key in it.

By default on the ``clear`` engine, which encrypts nothing but follows every step: about 15 s
in all, imports included, and 0.6 GB of memory on a 2-core machine. ``--backend seal``
encrypts: about 25 s and 1 GB. ``--protocol refresh`` or ``one-shot`` takes the bundled model of
the polynomial form, and the client no longer sees anything of the model; one-shot under
``seal`` takes about a minute and 3 GB.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer

import thex_hf
from thex_hf.backends import get_backend
from thex_hf.circuits.dispatch import FORMS, plan_for
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.circuits.shape import bucket
from thex_hf.protocol.client import ClientRun
from thex_hf.protocol.keys import KeyStore, key_request
from thex_hf.protocol.server import ServedModel, ServerRun

TEXT = "a warm , funny and beautifully acted film"


class Client:
    """Holds the text, the embedding table and the secret key."""

    def __init__(self, folder: Path, backend: str, name: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        self.model = thex_hf.ThexBertForSequenceClassification.from_pretrained(name)
        self.backend = get_backend(backend)
        self.store = KeyStore(folder)

    def make_keys(self, plan: Plan) -> bytes:
        """Make both halves, keep them, and return the server's half."""
        pair = self.backend.generate(key_request(plan))
        self.secret, _ = self.store.save(plan.key_set, self.backend.name, *pair)
        return self.store.path("evaluation", plan.key_set).read_bytes()

    def start(self, plan: Plan, ids: torch.Tensor) -> ClientRun:
        """One text's run: exact embeddings in clear, everything after them encrypted."""
        with torch.no_grad():
            embeddings = self.model.embed(ids)[0].double().numpy()
        engine = self.backend.client(plan.parameters, self.secret)
        return ClientRun(plan, engine, self.secret.key_id, np.asarray(embeddings))


class Server:
    """Holds the weights and, from the client, evaluation keys and ciphertexts."""

    def __init__(self, folder: Path, backend: str, name: str, protocol: str) -> None:
        model = thex_hf.ThexBertForSequenceClassification.from_pretrained(name)
        self.weights, self.ranges = model.encoder_weights(), model.config.ranges
        self.protocol = protocol
        self.served = ServedModel(self.weights)
        self.backend = get_backend(backend)
        self.store = KeyStore(folder)

    def plan(self, size: int) -> Plan:
        """The plan of one bucket: public, no secret in it."""
        return plan_for(self.weights, size, self.ranges, PlanOptions(self.protocol))

    def take_keys(self, plan: Plan, data: bytes) -> None:
        """Keep the evaluation keys that a client sent."""
        place = self.store.path("evaluation", plan.key_set)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    def start(self, plan: Plan) -> ServerRun:
        """One text's run."""
        keys = self.store.load_evaluation(plan.key_set, self.backend.name)
        engine = self.backend.server(plan.parameters, keys, plan.rotations)
        return ServerRun(self.served, plan, engine, keys.key_id)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the example; ``argv`` as on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", nargs="?", default=TEXT)
    parser.add_argument("--backend", default="clear", help="clear, seal, or a plug-in's name")
    parser.add_argument("--protocol", default="client-aided", choices=FORMS)
    options = parser.parse_args(argv)
    name = thex_hf.bundled_checkpoint(FORMS[options.protocol])

    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        client = Client(Path(one), options.backend, name)
        server = Server(Path(two), options.backend, name, options.protocol)

        def carry(data: bytes, what: str) -> bytes:
            secret = client.secret.reveal()
            parts = [
                secret[i : i + 16] for i in range(0, len(secret) - 16, max(16, len(secret) // 8))
            ]
            assert not any(part in data for part in parts), "a piece of the secret key crossed"
            print(f"  {what:24} {len(data):>10,} bytes")
            return data

        ids = client.tokenizer(options.text, return_tensors="pt")["input_ids"]
        plan = server.plan(bucket(ids.shape[1]))
        print(f"bucket {plan.shape.tokens}, {plan.schedule.rounds} rounds, plan {plan.id}")

        keys = client.make_keys(plan)
        server.take_keys(plan, carry(keys, "up: evaluation keys"))
        asking, answering = client.start(plan, ids), server.start(plan)
        visit = carry(answering.start(carry(asking.request(), "up: request")), "down: visit")
        while (reply := asking.receive(visit)) is not None:
            kind = "down: visit" if asking.step < len(plan.schedule.round_trips) else "down: answer"
            visit = carry(answering.reply(carry(reply, "up: reply")), kind)

        assert asking.logits is not None
        label = client.model.config.id2label[int(np.argmax(asking.logits))]
        print(f"{label}  {options.text}")
        print(f"client folder: {sorted(path.name for path in Path(one).rglob('*.key'))}")
        print(f"server folder: {sorted(path.name for path in Path(two).rglob('*.key'))}")


if __name__ == "__main__":
    main()
