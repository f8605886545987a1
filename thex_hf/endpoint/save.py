"""Writing the handler into a model's folder, on request."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from thex_hf._paths import user_path
from thex_hf.errors import ConversionError

HANDLER, REQUIREMENTS = "handler.py", "requirements.txt"
TEMPLATE = "handler.py.txt"


def save_handler(folder: str | Path, version: str, *, overwrite: bool = False) -> list[Path]:
    """Write ``handler.py`` and ``requirements.txt`` for an Inference Endpoint.

    Args:
        folder: of a converted model.
        version: of this package, which the endpoint will install.
        overwrite: replace files of these names.

    Returns:
        The files.

    Raises:
        ConversionError: no model there, or a file is in the way.
    """
    place = user_path("folder", folder)
    if not (place / "config.json").is_file():
        raise ConversionError(f"{str(place)!r} should be a model's folder, but has no config.json")
    contents = {
        HANDLER: files("thex_hf.endpoint").joinpath(TEMPLATE).read_text(encoding="utf-8"),
        REQUIREMENTS: f"thex_hf>={version}\n",
    }
    for name, text in contents.items():
        path = place / name
        if path.exists() and path.read_text(encoding="utf-8") != text and not overwrite:
            raise ConversionError(f"{path} is there already; look at it, then say --overwrite")
    for name, text in contents.items():
        (place / name).write_text(text, encoding="utf-8")
    return [place / name for name in contents]
