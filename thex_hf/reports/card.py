"""Measure a model in a folder and write the figures, and the machine's, into its card."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thex_hf._choices import FHE_MODES, one_of
from thex_hf._machine import processor, version_of
from thex_hf.backends.registry import find_backend
from thex_hf.errors import ConversionError
from thex_hf.modeling.cards.card import write_card
from thex_hf.modeling.cards.measures import read_measures, write_measures
from thex_hf.modeling.opening import open_model, open_tokenizer
from thex_hf.options import RunOptions, choose_protocol
from thex_hf.protocol.engines import CircuitBackend
from thex_hf.reports.measuring import (
    draw_figures,
    estimated_costs,
    executed_costs,
    protocols_of,
    score_rows,
)

SAME = ("machine", "versions", "backend")
"""What must be as it was for earlier figures to stay."""


def make_card(
    folder: str | Path,
    data: str | Path | None = None,
    *,
    split: str = "validation",
    fhe: Sequence[str] = ("disable", "simulate"),
    limit: int | None = None,
    protocols: Sequence[str] | None = None,
    tokens: int = 32,
    ring: int | None = None,
    processes: int | None = None,
    backend: str = "seal",
    figures: bool = False,
) -> dict[str, Any]:
    """Measure costs, and scores where there are data; write ``measures.json`` and ``README.md``.

    Earlier figures for other modes and protocols stay, if weights, texts, machine and versions are
    the same. A README without our marks is left alone.

    Args:
        folder: of a converted model.
        data: labelled texts, see :func:`thex_hf.conversion.data.reading.read_texts`; None: only
            costs.
        split: of a named data set.
        fhe: modes to score in: ``disable``, ``simulate``, ``execute``.
        limit: score so many texts, spread evenly; all if None. The card marks a score of fewer
            than all as partial, and its head, which the Hub reads, does not have it.
        protocols: all that serve the model if None.
        tokens: length of the text whose costs are estimated.
        ring: ring degree for ``refresh`` and ``one-shot``; the cheapest if None.
        processes: of the server, for texts that are encrypted; all usable cores if None.
        backend: engine.
        figures: also draw stages, levels and costs into ``figures/``, which needs matplotlib.

    Returns:
        The measures, as written.

    Raises:
        ConversionError: the folder holds no converted classifier.
        OptionError: a mode or protocol is not on offer.
        ThexError: as planning and classifying raise.
    """
    place = Path(folder)
    modes = [one_of("fhe", mode, FHE_MODES) for mode in fhe]
    _check_folder(place)
    model = open_model(place)
    wanted = [
        choose_protocol(p, model.config.form)
        for p in protocols or protocols_of(model, backend, ring)
    ]
    for name in wanted:
        RunOptions(backend, name, ring=ring, processes=processes).check_engine()
    measures: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "backend": backend_words(backend),
        "machine": machine(),
        "versions": versions(),
        "costs": estimated_costs(model, wanted, tokens=tokens, ring=ring, backend=backend),
        "scores": [],
    }
    if data is not None:
        from thex_hf.evaluation.reading import read

        texts = read(data, model.config, split, every_token=model.every_token)
        measures["texts"] = {**texts.origin.to_json(), "available": len(texts)}
        options = {"ring": ring, "processes": processes, "backend": backend}
        rows = score_rows(
            model,
            open_tokenizer(place, model.config.vocab_size),
            texts,
            protocols=wanted,
            fhe=modes,
            limit=limit,
            **options,
        )
        for row in rows:
            if row["fhe"] == "execute":
                measures["costs"].append(executed_costs(row))
            measures["scores"].append(row)
    if figures:
        measures["figures"] = draw_figures(place, model, wanted, tokens=tokens, ring=ring)
    merged = with_earlier(measures, read_measures(place))
    write_measures(place, merged)
    write_card(place)
    return merged


def _check_folder(folder: Path) -> None:
    """Refuse what is no folder of a model, such as a Hub name."""
    if not (folder / "config.json").is_file():
        raise ConversionError(
            f"{str(folder)!r} should be the folder of a model; it has no config.json. A card is "
            f"written into a folder: get a model from the Hub first, with: hf download"
        )


def with_earlier(new: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
    """Keep rows of earlier measures that were not measured again."""
    if old is None or any(old.get(name) != new[name] for name in SAME):
        return new
    texts = new.get("texts") or old.get("texts")
    out = {**new, **({"texts": texts} if texts else {})}
    if "figures" in old:
        out.setdefault("figures", old["figures"])
    if texts == old.get("texts"):
        done = [(row["fhe"], row.get("protocol")) for row in new["scores"]]
        kept = [r for r in old.get("scores", []) if (r["fhe"], r.get("protocol")) not in done]
        out["scores"] = [*new["scores"], *kept]
    present = [(row["protocol"], bool(row.get("executed"))) for row in new["costs"]]
    executed = {row["protocol"] for row in out["scores"] if row["fhe"] == "execute"}
    out["costs"] = new["costs"] + [
        row
        for row in old.get("costs", [])
        if (row["protocol"], bool(row.get("executed"))) not in present
        and (not row.get("executed") or row["protocol"] in executed)
    ]
    return out


PACKAGES = ("thex_hf", "torch", "transformers", "numpy", "tenseal")
LIBRARIES = {"seal": ("Microsoft SEAL through TenSEAL", "tenseal")}
"""By backend: what encrypts, and the package that brings it."""


def machine() -> dict[str, Any]:
    """Processor, usable cores, system and Python."""
    usable = getattr(os, "sched_getaffinity", None)
    return {
        "processor": processor(),
        "cores": len(usable(0)) if usable else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that the figures depend on, those that are installed."""
    import thex_hf

    found = {name: version_of(name) for name in PACKAGES} | {"thex_hf": thex_hf.__version__}
    return {name: number for name, number in found.items() if number}


def backend_words(name: str) -> dict[str, str]:
    """A backend's name, and the library behind it with its version."""
    found = find_backend(name)
    if isinstance(found, CircuitBackend):
        return {"name": name, "library": found.library}
    words, package = LIBRARIES.get(name, (f"backend {name}", ""))
    return {"name": name, "library": f"{words} {version_of(package) or ''}".strip()}
