"""The checkpoints that ship with the package, by form."""

from __future__ import annotations

from importlib.resources import files

BUNDLED = {"the-x": "thex-tiny-sst2", "polynomial": "thex-tiny-sst2-poly"}


def bundled_checkpoint(form: str = "the-x") -> str:
    """Folder of the bundled checkpoint of a form, a key of :data:`BUNDLED`."""
    return str(files("thex_hf") / "checkpoints" / BUNDLED[form])
