"""Where labelled texts are from, as a card may say it: ids of the Hub, no path of this machine."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from thex_hf.tables.sets import WITH_PARTS

OWN = "custom"
"""What stands for the id of a data set that is none of the Hub's."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Origin:
    """Where texts are from; by default nobody knows.

    Args:
        name: of a file or folder, without the way to it; or the id on the Hub.
        type: the data set's id on the Hub, or :data:`OWN`.
        config: which of its parts.
        split: which split.
        revision: its commit on the Hub.
    """

    name: str = "own texts"
    type: str = OWN
    config: str | None = None
    split: str | None = None
    revision: str | None = None

    @classmethod
    def of_path(cls, path: Path) -> Origin:
        """Of a file or folder of this machine."""
        return cls(path.name or path.resolve().name)

    @classmethod
    def of_hub(cls, name: str, split: str, data: Any = None) -> Origin:
        """Of a data set on the Hub.

        Args:
            name: as ``datasets`` takes it, with a part after a slash for :data:`WITH_PARTS`.
            split: which split.
            data: what ``datasets`` loaded, which says the revision.
        """
        owner, _, part = name.partition("/")
        known = owner in WITH_PARTS and part
        found, config = (owner, part) if known else (name, None)
        return cls(found, found, config, split, revision_of(data))

    def to_json(self) -> dict[str, Any]:
        """Plain values, without what is not known."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def revision_of(data: Any) -> str | None:
    """The commit on the Hub that a data set was loaded from; None where nothing says it.

    ``datasets`` calls the folder of its cache so: it is the folder of the files that are read.
    """
    for file in getattr(data, "cache_files", None) or ():
        name = Path(file["filename"]).parent.name
        if _COMMIT.fullmatch(name):
            return name
    return None
