"""What this machine and its packages are called, and how much memory is free."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown processor"


def free_memory(system: Path = Path("/")) -> int:
    """Bytes that processes may still take: of the machine, and of the control groups we are in.

    Args:
        system: where ``proc`` and ``sys`` are.
    """
    import psutil

    free = [int(psutil.virtual_memory().available), *_group_memory(system)]
    return max(0, min(free))


def _group_memory(system: Path) -> Iterator[int]:
    """Free bytes of each control group around this process that has a limit."""
    try:
        lines = (system / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            root = system / "sys/fs/cgroup" / controllers
            inner = root / path.lstrip("/")
            for group in (inner, *inner.parents):
                if group.is_relative_to(root):
                    with suppress(OSError, ValueError, KeyError):  # no limit, or no such file
                        yield _group_room(group, *_GROUP_FILES[controllers])


def _group_room(group: Path, limit: str, usage: str, idle: str) -> int:
    """Free bytes of one control group. Raises OSError, ValueError, KeyError: it has no limit."""
    most, used = (int((group / name).read_text(encoding="ascii")) for name in (limit, usage))
    words = (group / "memory.stat").read_text(encoding="ascii").split()
    return most - used + int(dict(zip(words[::2], words[1::2], strict=True))[idle])


_GROUP_FILES = {
    "": ("memory.max", "memory.current", "inactive_file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Limit, use, and what of it the system gives back at once: of version 2 and of version 1."""


def version_of(package: str) -> str | None:
    """The version of an installed package, None if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
