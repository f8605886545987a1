"""Import an optional library, or say which ``pip`` line installs it."""

from __future__ import annotations

import importlib
from types import ModuleType

from thex_hf.errors import BackendUnavailable


def require(module: str, *, install: str, purpose: str) -> ModuleType:
    """Import ``module`` or explain how to get it.

    Args:
        module: dotted module name, for example ``"tenseal.sealapi"``.
        install: what to put after ``pip install``.
        purpose: what the module is needed for, as the end of a sentence.

    Raises:
        BackendUnavailable: the import failed; the cause is chained.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise BackendUnavailable(
            f"{purpose} needs the module {module!r}, which could not be imported "
            f"({type(error).__name__}: {error}). Install it with: pip install {install}"
        ) from error
