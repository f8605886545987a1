r"""What a text would cost under each protocol for a model of some shape, before it is converted.

    python benchmarks/shape_costs.py --layers 3 --hidden 384 --heads 12 --name costs_minilm_l3

Plans are made for random weights of that shape and ranges of ordinary size; the operations of each
are timed on this machine, on one thread, and added up, as ``thex-hf estimate`` does for a model
that is there. Writes ``results/NAME.json`` and ``results/NAME.md``.
"""

from __future__ import annotations

import argparse
from typing import Any

from common import surroundings, write
from scaling import FORM, ranges_of, weights_of

from thex_hf.backends.registry import get_backend
from thex_hf.circuits.dispatch import plan_for
from thex_hf.circuits.protocols import PlanOptions
from thex_hf.errors import PlanError
from thex_hf.protocol.costs import estimate, measure_costs


def estimates(case: dict[str, Any], sizes: list[int]) -> tuple[list[dict[str, Any]], list[str]]:
    """What each text length costs, and why some have no plan."""
    plans, refused = {}, []
    for size in sizes:  # a larger ring may have one plan for two of them
        try:
            plan = plan_for(weights_of(case), size, ranges_of(case), PlanOptions(case["protocol"]))
            plans[plan.id] = plan
        except PlanError as error:
            refused.append(f"{case['protocol']}, {size} tokens: {error}")
    rows = []
    for plan in plans.values():
        costs = measure_costs(get_backend("seal"), [plan])
        rows.append(estimate(plan, costs).to_json())
        print(rows[-1], flush=True)
    return rows, refused


def main() -> None:
    """Plan and time every protocol."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for option in ("--layers", "--hidden", "--heads"):
        parser.add_argument(option, type=int, required=True)
    parser.add_argument("--tokens", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--name", required=True)
    args = parser.parse_args()
    shape = {"layers": args.layers, "hidden": args.hidden, "heads": args.heads}
    place = surroundings()
    rows: list[dict[str, Any]] = []
    refused: list[str] = []
    for protocol in FORM:
        found, without = estimates({"protocol": protocol, **shape}, args.tokens)
        rows, refused = rows + found, refused + without
    head = ["protocol", "tokens", "N", "levels", "rounds", "key switches", "server s", "keys MB"]
    table = [[*head, "up MB", "down MB", "encoding s, once", "weights GB"]]
    for row in rows:
        cells = [str(row[key]) for key in ("protocol", "tokens", "ring_degree", "levels", "rounds")]
        sizes = [f"{row[key] / 1e6:.1f}" for key in ("key_bytes", "up_bytes", "down_bytes")]
        cells += [str(row["key_switches"]), f"{row['server_seconds']:.1f}", *sizes]
        cells += [f"{row['prepare_seconds']:.0f}", f"{row['plaintext_bytes'] / 1e9:.1f}"]
        table.append(cells)
    record = {"surroundings": place, "shape": shape, "rows": rows, "refused": refused}
    write(args.name, record, table)
    print("\n".join(refused))


if __name__ == "__main__":
    main()
