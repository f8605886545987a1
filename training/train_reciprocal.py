"""Train the reciprocal network T of the softmax estimate.

Run from the repository root (a few minutes on one core)::

    python training/train_reciprocal.py

The task is that of THE-X (Chen et al. 2022, section 3.3): random scores in [-3, 3],
target the true softmax, mean squared error, Adam at 1e-3. Three things are added so
that one network serves every length from 1 to 128: lengths are drawn evenly on a log
scale, a relative error ``(s T(s) - 1)^2`` over a log-even grid of sums joins the loss,
and training starts from the best piecewise-linear reciprocal on ``2h - 1`` log-even
pieces, which a network of this shape can represent exactly.

The start uses first-layer units ``relu((k - s) / a)`` that die out for large sums, so
that small results are never differences of large terms: ciphertext noise stays small.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from thex_hf.approximations.softmax import (
    HIDDEN,
    SUM_RANGE,
    WEIGHTS_PATH,
    ReciprocalNet,
    cubed_relu,
    estimate,
    exact,
)

LENGTHS = (2, 4, 8, 16, 32, 64, 128)
LARGEST_PREACTIVATION = 96.0


def initial_net(hidden: int) -> ReciprocalNet:
    """Write the best piecewise-linear 1/s on 2h - 1 pieces as a network.

    ``T = sum_j c_j relu(f(s) - f(z_j)) + last`` with ``f = sum_i a_i relu(k_i - s)``:
    the knots ``k`` and ``z`` take turns, and each piece's slope is a product.
    """
    pieces = 2 * hidden - 1
    knots = np.geomspace(*SUM_RANGE, pieces + 1)
    ratio = knots[1] / knots[0]
    bulge = (1 + ratio) ** 2 / (4 * ratio)  # largest s * chord(s) on a piece
    values = 2 / (1 + bulge) / knots
    slopes = np.diff(values) / np.diff(knots)
    inner_slope, outer_sum = np.zeros(hidden + 1), np.zeros(hidden + 1)
    inner_slope[0] = -1 / knots[1]
    for piece, slope in enumerate(slopes):
        if piece % 2:
            inner_slope[piece // 2 + 1] = slope / outer_sum[piece // 2]
        else:
            outer_sum[piece // 2] = slope / inner_slope[piece // 2]
    inner, outer = knots[1::2], np.append(knots[2::2], knots[-1])
    strengths = np.diff(inner_slope)
    scale = np.maximum(inner, SUM_RANGE[1] / LARGEST_PREACTIVATION)
    offsets = np.maximum(inner - outer[:, None], 0.0) @ strengths
    return ReciprocalNet(
        w1=-1 / scale,
        b1=inner / scale,
        w2=np.tile(strengths * scale, (hidden, 1)),
        b2=-offsets,
        w3=-np.diff(outer_sum),
        b3=float(values[-1]),
    )


NAMES = ("w1", "b1", "w2", "b2", "w3", "b3")


def scaled(net: ReciprocalNet, steps: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights ``w (1 + step)``: steps are relative, since weights span many sizes."""
    return {name: torch.tensor(getattr(net, name)) * (1 + steps[name]) for name in NAMES}


def to_net(p: dict[str, Tensor]) -> ReciprocalNet:
    """Copy the tensors to a network."""
    arrays = {name: tensor.detach().numpy().copy() for name, tensor in p.items()}
    return ReciprocalNet(**{**arrays, "b3": float(arrays["b3"])})


def evaluate(p: dict[str, Tensor], sums: Tensor) -> Tensor:
    """T on a tensor of sums."""
    first = torch.relu(sums[..., None] * p["w1"] + p["b1"])
    return torch.relu(first @ p["w2"].T + p["b2"]) @ p["w3"] + p["b3"]


def probability_loss(p: dict[str, Tensor], length: int, rows: int) -> Tensor:
    """Mean squared error against true softmax, times length squared (scale-free)."""
    scores = torch.rand(rows, length, dtype=torch.float64) * 6 - 3
    weights = torch.relu((scores / 2 + 1) ** 3)
    guess = weights * evaluate(p, weights.sum(-1, keepdim=True))
    return ((guess - torch.softmax(scores, -1)) ** 2).mean() * length**2


def relative_loss(p: dict[str, Tensor], grid: Tensor) -> Tensor:
    """Squared relative error plus its high power mean, which stands for the maximum."""
    error = grid * evaluate(p, grid) - 1
    return (error**2).mean() + (error**16).mean() ** (1 / 8)


def train(steps: int, seed: int, rate: float, probability_weight: float) -> ReciprocalNet:
    """Adam from the piecewise-linear start; the learning rate falls to zero."""
    torch.manual_seed(seed)
    start = initial_net(HIDDEN)
    moves = {n: torch.zeros_like(torch.tensor(getattr(start, n))) for n in NAMES}
    for tensor in moves.values():
        tensor.requires_grad_()
    optimizer = torch.optim.Adam(moves.values(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    low, high = np.log(SUM_RANGE)
    for _ in range(steps):
        p = scaled(start, moves)
        length = round(float(2 ** (torch.rand(1) * 7)))
        sums = torch.exp(low + (high - low) * torch.rand(512, dtype=torch.float64))
        loss = relative_loss(p, sums) + probability_weight * probability_loss(p, length, 64)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return to_net(scaled(start, moves))


def errors_by_length(net: ReciprocalNet, seed: int, rows: int = 4000) -> dict[str, dict]:
    """Relative error of T and error of the estimate, for scores in [-3, 3]."""
    rng, table = np.random.default_rng(seed), {}
    for length in LENGTHS:
        scores = rng.uniform(-3, 3, (rows, length))
        mask = np.ones(length)
        sums = cubed_relu(scores).sum(-1)
        sums = sums[sums >= SUM_RANGE[0]]
        relative = np.abs(sums * net(sums) - 1)
        truth = exact(scores, mask)
        difference = estimate(scores, mask, net) - truth
        table[str(length)] = {
            "sum_min": float(sums.min()),
            "sum_max": float(sums.max()),
            "relative_error_max": float(relative.max()),
            "relative_error_mean": float(relative.mean()),
            "mse_to_softmax": float((difference**2).mean()),
            "total_variation_to_softmax": float(np.abs(difference).sum(-1).mean() / 2),
        }
    return table


def range_errors(net: ReciprocalNet) -> dict[str, float]:
    """Relative error and largest hidden values over the whole range of sums."""
    sums = np.geomspace(*SUM_RANGE, 20001)
    relative = np.abs(sums * net(sums) - 1)
    first = sums[:, None] * net.w1 + net.b1
    second = np.maximum(first, 0) @ net.w2.T + net.b2
    return {
        "relative_error_max": float(relative.max()),
        "relative_error_mean": float(relative.mean()),
        "first_preactivation_max": float(np.abs(first).max()),
        "second_preactivation_max": float(np.abs(second).max()),
    }


def main() -> None:
    """Train, measure, write the weights and the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30_000)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--probability-weight", type=float, default=1e-4)
    parser.add_argument("--output", type=Path, default=WEIGHTS_PATH)
    parser.add_argument("--report", type=Path, default=Path(__file__).with_name("reciprocal.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    net = train(args.steps, args.seed, args.rate, args.probability_weight)
    net.save(args.output)
    report = {
        "steps": args.steps,
        "seed": args.seed,
        "rate": args.rate,
        "probability_weight": args.probability_weight,
        "seconds": round(time.perf_counter() - start, 1),
        "fingerprint": net.fingerprint(),
        "hidden": HIDDEN,
        "sum_range": SUM_RANGE,
        "range": range_errors(net),
        "range_before_training": range_errors(initial_net(HIDDEN)),
        "by_length": errors_by_length(net, args.seed + 1),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }
    args.report.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
