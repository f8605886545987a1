"""What figures were measured on: processor, cores, system, versions."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from thex_hf._machine import processor, version_of

PACKAGES = (
    "thex_hf", "torch", "transformers", "tenseal", "numpy", "evaluate", "datasets",
    "scikit-learn", "scipy", "seqeval",
)  # fmt: skip


def machine_facts() -> dict[str, Any]:
    """Machine and versions, as JSON values; the load is that of the last minute, if known."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: version_of(name) for name in PACKAGES},
    }
