"""Encryption engines: a small contract, a registry, and two that come along.

``seal`` encrypts (Microsoft SEAL); ``clear`` imitates it on numpy and hides nothing.
Importing this package imports no encryption library.
"""

from thex_hf.backends.base import EvaluationKeys, KeyLevels, KeyRequest, SecretKeys, SlotBackend
from thex_hf.backends.registry import get_backend, list_backends

__all__ = [
    "EvaluationKeys",
    "KeyLevels",
    "KeyRequest",
    "SecretKeys",
    "SlotBackend",
    "get_backend",
    "list_backends",
]
