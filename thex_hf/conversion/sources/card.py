"""What a converted model's card takes over from its source's: licence, languages, origin."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.repocard import metadata_load
from huggingface_hub.utils._validators import validate_repo_id

from thex_hf.conversion.sources.adapter import base_of
from thex_hf.conversion.sources.reading import optional_file
from thex_hf.modeling.cards.card import README
from thex_hf.modeling.cards.head import LICENSE
from thex_hf.modeling.opening import expand, looks_local

SNAPSHOTS, CACHED = "snapshots", "models--"
"""How the cache of the Hub calls its folders: ``models--owner--name/snapshots/REVISION``."""


def hub_name(source: str | Path) -> str | None:
    """The name on the Hub of a source; None for a folder that is not in the Hub's cache.

    Args:
        source: folder or Hub name.
    """
    if not os.path.isdir(source):
        return str(source)
    place = Path(source).resolve()
    owner = place.parent.parent.name
    if place.parent.name != SNAPSHOTS or not owner.startswith(CACHED):
        return None
    return owner.removeprefix(CACHED).replace("--", "/")


def card_fields(source: str | Path, trained_on: Sequence[str] = ()) -> dict[str, Any]:
    """Fields for the head of a converted model's card.

    ``base_model`` is the source, if it is on the Hub; else what its card says that it was made
    from, or an adapter's base model. ``license`` (with name and link), ``language`` and
    ``datasets`` are those of the source's card; an adapter without them has those of its base
    model, but for the data. What is not known is left out, and so is whatever may be a path of this
    machine.

    Args:
        source: folder or Hub name.
        trained_on: ids of data sets on the Hub that the conversion trains on.
    """
    source = expand(source)
    head, base = _read_head(source), base_of(source)
    own, below = _fields(source, head), {} if base is None else card_fields(base)
    if "license" in own:
        below = {name: value for name, value in below.items() if name not in LICENSE}
    data = [*_names(source, head.get("datasets")), *trained_on]
    fields = {**below, **own, "datasets": list(dict.fromkeys(data))}
    return {name: value for name, value in sorted(fields.items()) if value}


def _read_head(source: str | Path) -> dict[str, Any]:
    path = optional_file(source, README)
    try:
        return (metadata_load(path) if path else None) or {}
    except Exception:  # whatever the YAML reader makes of it
        return {}


def _fields(source: str | Path, head: dict[str, Any]) -> dict[str, Any]:
    """Those of a source's own card, and its name, as far as they are known."""
    name = hub_name(source)
    bases = [name] if name else _names(source, head.get("base_model"))
    language = ["no" if one is False else one for one in _listed(head.get("language"))]  # Norwegian
    found = {
        "base_model": bases[0] if len(bases) == 1 else bases,
        "language": _texts(language, head.get("language")),
        "license": _texts(_listed(head.get("license")), head.get("license")),
        "license_name": _texts([head.get("license_name")], None),
        "license_link": _link(name, head.get("license_link")),
    }
    return {key: value for key, value in found.items() if value}


def _names(source: str | Path, value: Any) -> list[str]:
    """Names on the Hub among those of a card: none that may mean a folder of this machine."""
    folder = Path(source) if os.path.isdir(source) and not hub_name(source) else None
    return [str(name) for name in _listed(value) if _on_hub(name, folder)]


def _on_hub(name: Any, folder: Path | None) -> bool:
    """Whether a name is one on the Hub.

    Args:
        name: of a model or of a data set.
        folder: of this machine, whose card has the name; None for a card of the Hub.
    """
    if not isinstance(name, str):
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    if folder is None:
        return True
    return not looks_local(name) and not any(
        (place / name).exists() for place in (folder, folder.resolve().parent)
    )


def _link(name: str | None, link: Any) -> str | None:
    """Where a licence can be read by whoever has the card; None if nobody else can."""
    if not isinstance(link, str) or not link:
        return None
    if link.startswith(("https://", "http://")):
        return link
    return f"https://huggingface.co/{name}/blob/main/{link}" if name else None


def _texts(values: list[Any], as_given: Any) -> Any:
    """The texts among some values; one text where one was given."""
    texts = [value for value in values if isinstance(value, str) and value]
    return texts if isinstance(as_given, list) else next(iter(texts), None)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
