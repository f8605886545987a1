"""Which keys a client makes for a plan."""

from __future__ import annotations

from thex_hf.backends.base import KeyLevels, KeyRequest
from thex_hf.encrypted.plan import Plan


def key_request(plan: Plan) -> KeyRequest:
    """The keys that a plan needs, none longer than its use."""
    keys = plan.keys
    return KeyRequest(
        plan.parameters,
        plan.rotations,
        relinearisation=keys.relinearisation is not None,
        conjugation=keys.conjugation is not None,
        public=keys.public,
        levels=KeyLevels(dict(keys.rotations), keys.relinearisation, keys.conjugation),
    )
