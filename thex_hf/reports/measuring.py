"""What a card is filled with: scores by mode, costs by protocol, figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thex_hf.backends.registry import find_backend, get_backend
from thex_hf.circuits.dispatch import plan_for
from thex_hf.circuits.plan import Plan
from thex_hf.circuits.protocols import (
    CIRCUITS,
    PROTOCOL_FACTS,
    PROTOCOLS,
    PlanOptions,
    serves,
)
from thex_hf.circuits.shape import bucket
from thex_hf.ckks.parameters import MAX_MODULUS_BITS_128
from thex_hf.errors import OptionError, PlanError
from thex_hf.modeling.cards.measures import REPORT_NAME
from thex_hf.modeling.modeling_thex_bert import ThexBertClassifier
from thex_hf.prepared.plan import ENGINE, prepared_plan
from thex_hf.prepared.plan import PROTOCOL as PREPARED
from thex_hf.protocol.costs import estimate, measure_costs
from thex_hf.protocol.engines import CircuitBackend
from thex_hf.protocol.prepared_costs import estimate_prepared, measure_preparation
from thex_hf.reports.plots.canvas import save
from thex_hf.reports.plots.norms import draw_norms, read_norms
from thex_hf.reports.plots.plan import draw_cost, draw_levels, read_cost, read_levels
from thex_hf.reports.plots.stages import draw_stages, read_stages

if TYPE_CHECKING:
    from thex_hf.backends.base import SlotBackend
    from thex_hf.evaluation.score import Scores

FOLDER = "figures"
FIRST = "overall_f1"
"""The metric of a card where there are several and this is among them: that of tags."""


def score_rows(
    model: ThexBertClassifier,
    tokenizer: Any,
    data: Any,
    *,
    protocols: Sequence[str],
    fhe: Sequence[str],
    limit: int | None,
    **options: Any,
) -> Iterator[dict[str, Any]]:
    """Score a model in each mode and under each protocol; the clear model once.

    Args:
        model: converted.
        tokenizer: its tokenizer.
        data: what :func:`thex_hf.evaluation.reading.read` returned.
        protocols: names.
        fhe: modes.
        limit: score so many texts, spread evenly; all if None.
        **options: of the pipeline.

    Yields:
        Rows of ``scores`` in the measures of a card.

    Raises:
        BackendUnavailable: ``thex_hf[evaluate]`` is not installed.
        ThexError: as :func:`thex_hf.evaluation.score.evaluate_model` raises.
    """
    from thex_hf.evaluation.runs import open_pipeline
    from thex_hf.evaluation.score import evaluate_model

    for number, protocol in enumerate(protocols):
        pipe = open_pipeline(None, model, tokenizer, protocol=protocol, **options)
        for mode in fhe:
            if mode != "disable" or number == 0:
                found = evaluate_model(pipe, data, fhe=mode, limit=limit)
                yield as_row(found, mode, protocol)


def as_row(found: Scores, mode: str, protocol: str) -> dict[str, Any]:
    """A row of ``scores`` from what the evaluation found; one of the metrics is the card's."""
    metrics = found.to_json()["metrics"]
    clear = found.to_json()["clear_metrics"]
    name = FIRST if FIRST in metrics else next(iter(metrics))
    row = {
        "fhe": mode,
        "metric": name,
        "value": metrics[name],
        "metrics": metrics,
        "texts": found.texts,
    }
    if mode == "disable":
        return row
    row |= {
        "protocol": protocol,
        "clear_value": clear[name] if clear else None,
        "largest_logit_difference": found.max_logit_difference,
    }
    if found.agreement is not None:
        row["agreement"] = found.agreement
        row["agreement_of"] = "words" if found.kind == "tags" else "texts"
    return row | ({"costs": found.costs} if mode == "execute" else {})


def executed_costs(row: dict[str, Any]) -> dict[str, Any]:
    """A row of ``costs`` from a row of ``scores`` whose texts were encrypted: means over them."""
    spent = row["costs"]
    return {
        "protocol": row["protocol"],
        "tokens": f"{', '.join(spent['buckets'])} (mean of {row['texts']} texts)",
        "executed": True,
        "modulus_limit": MAX_MODULUS_BITS_128.get(spent["ring_degree"], 0),
        **{
            name: spent[name]
            for name in ("ring_degree", "modulus_bits", "levels", "rounds", "key_switches")
        },
        "key_bytes": spent["bytes"]["keys"],
        "up_bytes": spent["bytes"]["up"],
        "down_bytes": spent["bytes"]["down"],
        "server_seconds": spent["seconds"]["server"],
        "client_seconds": spent["seconds"]["client"],
    }


def protocols_of(
    model: ThexBertClassifier, backend: str = ENGINE, ring: int | None = None
) -> list[str]:
    """The protocols that serve a model's form, on that backend and with a ring of one's own.

    Raises:
        OptionError: there are some, and not with these.
    """
    names = PROTOCOLS if backend == ENGINE and ring is None else CIRCUITS
    found = [name for name in names if serves(name, model.config.form)]
    if not found and model.config.fully_converted:
        raise OptionError(
            f"only protocol {PREPARED!r} runs a model of the {model.config.form} form: take "
            f"backend {ENGINE!r}, got {backend!r}, and leave out ring"
        )
    return found


def estimated_costs(
    model: ThexBertClassifier,
    protocols: Sequence[str],
    *,
    tokens: int = 32,
    ring: int | None = None,
    backend: str = "seal",
) -> list[dict[str, Any]]:
    """Plan each protocol and add up its primitives, timed and weighed here with throwaway keys.

    Args:
        model: converted.
        protocols: names; those that no parameters carry are left out.
        tokens: length of the text; its bucket counts.
        ring: ring degree for ``refresh`` and ``one-shot``; the cheapest if None.
        backend: engine to time, some seconds a protocol.

    Returns:
        For each protocol the fields of :class:`thex_hf.protocol.costs.Estimate`, under ``prepared``
        those of :class:`thex_hf.protocol.prepared_costs.PreparedEstimate`, and
        ``modulus_limit``: the most bits that 128-bit security allows for that ring degree. Where
        ciphertexts have neither, all three are 0.

    Raises:
        PlanError: no protocol at all can run the model.
        BackendUnavailable: the backend's library is missing.
    """
    found, config = find_backend(backend), model.config
    if isinstance(found, CircuitBackend):
        weights = model.encoder_weights()
        own = found.estimate(
            weights, [tokens], ranges=config.ranges, softmax=config.softmax, relu="client"
        )
        return [{**one.to_json(), "modulus_limit": 0} for one in own]
    plan_of, engine = _planner(model, tokens, ring), get_backend(backend)
    rows, refused = [], []
    for name in protocols:
        try:
            row = _estimate(model, name, tokens, plan_of, engine)
        except PlanError as error:
            refused.append(f"{name}: {error}")
            continue
        rows.append({**row, "modulus_limit": MAX_MODULUS_BITS_128[row["ring_degree"]]})
    if not rows:
        raise PlanError("; ".join(refused))
    return rows


def _estimate(
    model: ThexBertClassifier,
    protocol: str,
    tokens: int,
    plan_of: Callable[[str], Plan],
    engine: SlotBackend,
) -> dict[str, Any]:
    """Of one protocol. Raises PlanError: no parameters carry the model."""
    if protocol == PREPARED:
        size = bucket(tokens, PROTOCOL_FACTS[PREPARED].buckets)
        prepared = prepared_plan(model.encoder_weights(), size, softmax=model.config.softmax)
        return estimate_prepared(prepared, measure_preparation([prepared])).to_json()
    plan = plan_of(protocol)
    return estimate(plan, measure_costs(engine, [plan])).to_json()


def _planner(model: ThexBertClassifier, tokens: int, ring: int | None) -> Callable[[str], Plan]:
    """What plans a text of that length, given a protocol; raises as :func:`plan_for`."""
    weights, config = model.encoder_weights(), model.config
    return lambda protocol: plan_for(
        weights, bucket(tokens), config.ranges, PlanOptions(protocol, config.softmax, ring)
    )


def draw_figures(
    place: Path,
    model: ThexBertClassifier,
    protocols: Sequence[str],
    *,
    tokens: int,
    ring: int | None,
) -> list[list[str]]:
    """Draw into ``figures/`` of a model's folder.

    Args:
        place: the model's folder; the stages are those of its ``conversion.json``, if there is one.
        model: that is in it.
        protocols: to draw levels and costs of.
        tokens: length of the text that is planned.
        ring: ring degree for ``refresh`` and ``one-shot``; the cheapest if None.

    Returns:
        For each figure its path below the folder, and what it shows.

    Raises:
        BackendUnavailable: matplotlib is not installed.
    """
    name, plan_of, drawn = place.resolve().name, _planner(model, tokens, ring), {}
    if (place / REPORT_NAME).is_file():
        drawn["stages"] = draw_stages([read_stages(place)]), "score after each stage"
    if model.config.form == "normalised":
        roots = read_norms(model, name)
        drawn["norms"] = draw_norms(roots), "what the norms multiply by, times the deviation"
    for protocol in [name for name in protocols if name in CIRCUITS]:
        plan = plan_of(protocol)
        costs, levels = draw_cost(read_cost(plan, name)), draw_levels(read_levels(plan, name))
        drawn[f"cost-{protocol}"] = costs, f"operations of each stage under {protocol}"
        drawn[f"levels-{protocol}"] = levels, f"levels of each stage under {protocol}"
    (place / FOLDER).mkdir(exist_ok=True)
    found = []
    for key, (figure, words) in drawn.items():
        save(figure, place / FOLDER / f"{key}.png")
        found.append([f"{FOLDER}/{key}.png", words])
    return found
