"""The checkpoints that ship with the package, by form."""

from __future__ import annotations

from importlib.resources import files

from thex_hf.errors import OptionError

BUNDLED = {"polynomial": "thex-tiny-sst2-poly", "the-x": "thex-tiny-sst2"}
"""Forms, and the model that comes with the package: the first is the default."""
DEFAULT_FORM = next(iter(BUNDLED))
"""Its ``refresh`` protects text and model, in the time that ``client-aided`` takes."""


def bundled_checkpoint(form: str = DEFAULT_FORM) -> str:
    """Folder of the bundled checkpoint of a form, a key of :data:`BUNDLED`.

    Raises:
        OptionError: none is of that form.
    """
    if form not in BUNDLED:
        raise OptionError(
            f"no model of the {form[:40]} form comes with the package: name the folder or Hub name "
            f"of one"
        )
    return str(files("thex_hf") / "checkpoints" / BUNDLED[form])
