"""Prepare a stock of tickets on a cluster: batches side by side, into one folder.

    pip install '.[ray]'               # in a clone
    python examples/ray/preparing.py --url https://host:8000 --keys /shared/my-keys --tickets 4096
    thex-hf classify --backend remote --url https://host:8000 --keys /shared/my-keys "A warm film."

Each task is the client's half of one batch; the service, on Ray too (``service.py``) or not, does
its half with as many workers as it has. **Every task reads the secret key** in the folder: the
cluster must be the client's own, not the one that serves. All machines must see the folder, on a
file system with locks that work. A task that dies leaves no half batch, and Ray does it again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from thex_hf.client.exchange import Client
from thex_hf.client.http import open_transport
from thex_hf.client.preparation import Prepared
from thex_hf.prepared.plan import PreparedPlan


def open_stock(url: str, token: str | None, keys: str, tokens: int) -> tuple[Client, PreparedPlan]:
    """A client of the service with the shared keys, and the plan for texts of so many tokens."""
    client = Client(open_transport(url, token), Path(keys), wanted="prepared")
    plan = client.plan(tokens)
    assert isinstance(plan, PreparedPlan)
    return client, plan


def one_batch(url: str, token: str | None, keys: str, tokens: int) -> Prepared:
    """Prepare a batch, wherever there is a core: it joins the stock when it is whole."""
    client, plan = open_stock(url, token, keys, tokens)
    return client.prepare_tickets(plan)


def prepare(
    url: str, keys: str, tickets: int, tokens: int = 32, token: str | None = None
) -> tuple[list[Prepared], int]:
    """Prepare so many tickets or more in whole batches: what each cost, and how many are left."""
    import ray

    client, plan = open_stock(url, token, keys, tokens)
    client.keys_for(plan)  # made and sent once, before anybody needs them
    batches = -(-tickets // plan.batch.tickets)
    task = ray.remote(num_cpus=1, scheduling_strategy="SPREAD")(one_batch)
    made = ray.get([task.remote(url, token, keys, tokens) for _ in range(batches)])
    return made, client.stock(plan).left()


def main(argv: list[str] | None = None) -> None:
    """Prepare, and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--token")
    parser.add_argument("--keys", required=True, help="folder that all machines see")
    parser.add_argument("--tickets", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=32, help="of the longest text")
    chosen = parser.parse_args(argv)
    begin = time.perf_counter()
    made, left = prepare(chosen.url, chosen.keys, chosen.tickets, chosen.tokens, chosen.token)
    wall, work = time.perf_counter() - begin, sum(batch.seconds for batch in made)
    tickets, size = sum(batch.tickets for batch in made), sum(batch.bytes_up for batch in made)
    print(f"{tickets} tickets in {wall:.0f} s, {work:.0f} s of all tasks together")
    print(f"{size / 1e6:.0f} MB up; {left} tickets are left")


if __name__ == "__main__":
    main()
