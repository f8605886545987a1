"""The machine and the libraries that figures were measured with."""

from __future__ import annotations

import os
import platform
from typing import Any

from thex_hf._machine import processor, version_of
from thex_hf.backends.registry import find_backend
from thex_hf.protocol.engines import CircuitBackend

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
