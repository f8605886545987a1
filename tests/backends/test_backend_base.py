from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

import thex_hf.backends.registry as registry
from thex_hf.backends.base import EvaluationKeys, key_id_of
from thex_hf.backends.clear.backend import BACKEND as CLEAR
from thex_hf.backends.seal.backend import BACKEND as SEAL
from thex_hf.errors import BackendUnavailable, KeyMismatch


def test_key_id_names_the_contents() -> None:
    keys = EvaluationKeys.of(b"ab", b"c", b"d")
    assert len(keys.key_id) == 32
    assert int(keys.key_id, 16)
    others = [(b"a", b"bc", b"d"), (b"ab", b"cd", b""), (b"ab", b"", b"cd"), (b"ab", b"c")]
    assert len({keys.key_id, *(key_id_of(*other) for other in others)}) == 5
    assert keys.size == 4
    assert "ab" not in repr(keys)


def test_exchanged_keys_are_refused() -> None:
    keys = EvaluationKeys.of(b"ab", b"c")
    with pytest.raises(KeyMismatch, match=keys.key_id):
        EvaluationKeys(keys.key_id, b"ab", b"d")
    with pytest.raises(KeyMismatch, match="contents"):
        EvaluationKeys(keys.key_id, b"ab", b"c", b"public")


def test_registry_knows_the_built_in_backends() -> None:
    assert {"clear", "seal"} <= set(registry.list_backends())
    assert registry.get_backend("clear") is CLEAR
    assert registry.get_backend("seal") is SEAL


def test_registry_works_without_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: ())
    assert registry.list_backends() == ["clear", "concrete", "seal"]
    assert registry.get_backend("clear") is CLEAR


def test_an_engine_without_slots_is_found_but_is_no_slot_backend() -> None:
    assert registry.find_backend("concrete").name == "concrete"
    with pytest.raises(BackendUnavailable, match=r"has no slots.*'seal'"):
        registry.get_backend("concrete")


def test_unknown_name_suggests_a_near_one() -> None:
    with pytest.raises(BackendUnavailable, match=r"on offer: .*'clear'.*did you mean 'seal'"):
        registry.get_backend("seals")


def test_a_broken_plugin_is_named_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("broken", "no_such_module_here:BACKEND", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: (broken,))
    assert "broken" in registry.list_backends()
    with pytest.raises(BackendUnavailable, match="no_such_module_here"):
        registry.get_backend("broken")


def test_importing_backends_imports_no_encryption_library() -> None:
    code = (
        "import sys, thex_hf.backends.seal.backend, thex_hf.backends.clear.backend;"
        "sys.exit(any(name.startswith('tenseal') for name in sys.modules))"
    )
    environ = {**os.environ, "THEX_HF_NO_TORCH": "1"}  # torch has nothing to do with it
    assert subprocess.run([sys.executable, "-c", code], check=False, env=environ).returncode == 0


def test_missing_library_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tenseal.sealapi", None)
    usable, reason = SEAL.available()
    assert not usable
    assert "pip install tenseal" in reason
