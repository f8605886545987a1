"""Tickets for tests, prepared with an engine that encrypts nothing, and runs that spend them."""

import numpy as np
from prepared.clear_cipher import ClearCipher

from thex_hf.prepared.bfv.parameters import BfvParameters
from thex_hf.prepared.field import Field
from thex_hf.prepared.jobs import Batch
from thex_hf.prepared.masks import ticket_seed
from thex_hf.prepared.network import Shown
from thex_hf.prepared.online import ClientShares, ServerShares
from thex_hf.prepared.preparing import ClientPreparation, ServerPreparation
from thex_hf.prepared.rows import RowLayout

PRIME = 576460752303210497  # 59 bits, 1 modulo 2 * 8192
NUMBERS = Field(PRIME)
SMALL = BfvParameters(ring_degree=1024)  # of no ciphertext


def prepare(network, tickets=2, parameters=SMALL, cipher=None, numbers=NUMBERS):
    """Seeds of both sides and the client's rows."""
    batch = Batch(network, parameters, tickets)
    client_seeds = [ticket_seed(b"client" + bytes(26), n) for n in range(tickets)]
    server_seeds = [ticket_seed(b"server" + bytes(26), n) for n in range(tickets)]
    rows = np.zeros((tickets, RowLayout(network).numbers), np.uint64)
    cipher = cipher or (ClearCipher(numbers, parameters.ring_degree),) * 2
    client = ClientPreparation(batch, numbers, cipher[0], client_seeds, rows)
    server = ServerPreparation(batch, numbers, cipher[1], server_seeds)
    for job in batch.jobs:
        for chunk in job.chunks:
            up = client.inputs(job, chunk)
            assert len(up) == chunk.up
            down = server.answer(job, chunk, up)
            assert len(down) == chunk.down
            client.take(job, chunk, down)
    return client_seeds, server_seeds, rows


class Recorded(ServerShares):
    """Keeps the server's share of every number before it is cut."""

    def __post_init__(self):
        super().__post_init__()
        self.seen = {}

    def cut(self, name, hat, shift):
        self.seen[name] = hat.copy()
        return super().cut(name, hat, shift)


def run(network, client_seed, server_seed, row, embeddings, numbers=NUMBERS):
    """The logits of a text, the server's shares, and all that crossed, up and down."""
    server = Recorded(network, numbers, server_seed)
    client = ClientShares(network, numbers, client_seed, row)
    up = [client.start(embeddings)]
    down = [server.start(up[0])]
    for _ in network.rounds:
        up.append(client.answer(down[-1]))
        down.append(server.take(up[-1]))
    return client.read(down[-1]), server.seen, up, down


def shown(network):
    """Names of the values that the client is to see."""
    steps = [step for steps in network.rounds for step in steps if step.function]
    return [(step.source if isinstance(step, Shown) else step.shown).name for step in steps]


def hidden(network, down):
    """What comes down in each round, with its value: without the answer and what is shown."""
    return [
        [
            (value, array)
            for value, array in zip(network.revealed(number), message, strict=True)
            if value.name not in shown(network)
        ]
        for number, message in enumerate(down[:-1])
    ]
