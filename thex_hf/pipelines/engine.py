"""Options that an engine does not have."""

from __future__ import annotations

from typing import Any

from thex_hf.backends.registry import find_backend
from thex_hf.circuits.dispatch import FLOODS, RINGS
from thex_hf.circuits.schedule import SOFTMAX
from thex_hf.errors import OptionError
from thex_hf.pipelines.options import one_of
from thex_hf.processes.pool import check_processes
from thex_hf.protocol.engines import RELU, capabilities_of


def check_engine(backend: str, protocol: str, **options: Any) -> None:
    """Refuse what an engine cannot do.

    Args:
        backend: its name.
        protocol: the one chosen.
        **options: ``softmax``, ``relu``, ``keys``, ``ring`` and, where there are any,
            ``flood`` and ``processes`` as given.

    Raises:
        OptionError: says which option, and what to do.
        BackendUnavailable: no backend of that name.
    """
    can = capabilities_of(find_backend(backend))
    relu, softmax = one_of("relu", options["relu"], RELU), options["softmax"]
    if protocol not in can.protocols:
        raise OptionError(
            f"backend {backend!r} serves the protocol {', '.join(can.protocols)} only, not "
            f"{protocol}; use backend 'seal', or a model of the THE-X form"
        )
    if relu not in can.relu:
        raise OptionError(
            f"relu='server' needs tables on ciphertext, which backend 'concrete' has; with "
            f"backend {backend!r} the client rectifies, or polynomials take the place of ReLU"
        )
    if softmax is not None:
        if protocol != "client-aided":
            raise OptionError(f"softmax is an option of client-aided, not of {protocol}")
        one_of("softmax", softmax, SOFTMAX)
    if softmax == "estimate-on-server" and softmax not in can.softmax:
        raise OptionError(
            f"with backend {backend!r} the client finishes the softmax: "
            f"{' or '.join(can.softmax)}, not {softmax}"
        )
    if options["keys"] is not None and not can.keeps_keys:
        raise OptionError(
            f"backend {backend!r} makes new keys for every session and keeps none: leave out keys"
        )
    if options["keys"] is not None and backend == "clear":
        raise OptionError("backend 'clear' encrypts nothing and makes no keys: leave out keys")
    if options.get("processes") is not None:
        check_processes(options["processes"])
        if not can.side_by_side:
            raise OptionError(f"backend {backend!r} has processes of its own: leave out processes")
    if options["ring"] is not None:
        _check_ring(options["ring"], backend, protocol, can.rings)
    if options.get("flood") is not None:
        if protocol == "client-aided":
            raise OptionError(
                "flood is for refresh and one-shot; client-aided protects no model: leave it out"
            )
        one_of("flood", options["flood"], FLOODS)


def _check_ring(ring: Any, backend: str, protocol: str, rings: bool) -> None:
    if not rings:
        raise OptionError(f"backend {backend!r} has no ring to choose: leave out ring")
    if protocol == "client-aided":
        raise OptionError(
            "ring is for refresh and one-shot; client-aided has the one that it needs: leave it out"
        )
    if type(ring) is not int or ring not in RINGS:
        raise OptionError(f"ring must be one of {', '.join(map(str, RINGS))}, got {ring!r}")
