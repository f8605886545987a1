"""Keys on disk: one directory, named by the user, two files for each plan.

``secret.<plan8>.key`` stays with the client; ``evaluation.<plan8>.key`` may go to the
server. Both are small msgpack maps written whole or not at all, readable by their owner
alone. Keys never lie next to a model, because model folders are shared.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from thex_hf._paths import user_path
from thex_hf.backends.base import EvaluationKeys, SecretKeys
from thex_hf.errors import KeyMismatch, KeyStoreError, PlanMismatch, WireError
from thex_hf.protocol.keyfile import KeyFile, is_key_file, read_file, write_file

_PLAN_ID = re.compile(r"[A-Za-z0-9_-]{8,128}")


class KeyStore:
    """Saves and loads the two halves of a key pair.

    Args:
        directory: where the files lie; made with mode 0700 on the first save.

    Raises:
        KeyStoreError: the directory is a file, or holds a model.
        OptionError: the path is empty, or begins with ``~`` and nobody has such a home.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = user_path("keys", directory)
        self._refuse_model_folder()

    def path(self, kind: str, plan_id: str) -> Path:
        """Where the ``secret`` or ``evaluation`` keys of a plan lie."""
        if not _PLAN_ID.fullmatch(plan_id):
            raise KeyStoreError(
                f"plan id {plan_id!r} cannot name a file; expected 8 to 128 letters and digits"
            )
        return self.directory / f"{kind}.{plan_id[:8]}.key"

    def save(
        self, plan_id: str, backend: str, secret: SecretKeys, evaluation: EvaluationKeys
    ) -> None:
        """Write both halves; replaces earlier keys of the same plan.

        Raises:
            KeyMismatch: the halves do not belong together.
            KeyStoreError: the directory cannot be written, or a file is in the way.
            PlanMismatch: a key file of another plan has the same name.
        """
        if secret.key_id != evaluation.key_id:
            raise KeyMismatch(
                f"secret keys {secret.key_id!r} and evaluation keys {evaluation.key_id!r} "
                f"were not made together; save the pair that one generate() returned"
            )
        self._refuse_model_folder()
        parts = {
            "secret": {"secret": secret.reveal()},
            "evaluation": {
                "relinearisation": evaluation.relinearisation,
                "rotations": evaluation.rotations,
                "public": evaluation.public,
            },
        }
        for kind in parts:
            self._check_target(self.path(kind, plan_id), kind, plan_id)
        self._make_directory()
        # evaluation first: a secret file alone would look like a usable pair
        for kind in ("evaluation", "secret"):
            file = KeyFile(kind, plan_id, backend, evaluation.key_id, parts[kind])
            write_file(self.path(kind, plan_id), file)

    def has(self, plan_id: str) -> bool:
        """Whether a secret key of this plan is here."""
        return self.path("secret", plan_id).exists()

    def load(self, plan_id: str, backend: str) -> tuple[SecretKeys, EvaluationKeys] | None:
        """Both halves, or None where there is no key file of this plan.

        Raises:
            KeyStoreError: a file cannot be read, or one of the two is missing.
            PlanMismatch: the files belong to another plan.
            KeyMismatch: they belong to another backend, or not to each other.
            WireError: a file is damaged.
        """
        paths = [self.path(kind, plan_id) for kind in ("secret", "evaluation")]
        there = [path.exists() for path in paths]
        if not any(there):
            return None
        if not all(there):
            missing = paths[there.index(False)]
            raise KeyStoreError(
                f"{missing} is missing but its other half is there; "
                f"bring it back, or delete the other half to make new keys"
            )
        evaluation = self.load_evaluation(plan_id, backend)
        file = self._read("secret", plan_id, backend)
        if file.key_id != evaluation.key_id:
            raise KeyMismatch(
                f"{paths[0]} belongs to keys {file.key_id!r}, {paths[1]} to "
                f"{evaluation.key_id!r}; bring back the matching file or delete both"
            )
        return SecretKeys(file.part("secret"), file.key_id), evaluation

    def load_evaluation(self, plan_id: str, backend: str) -> EvaluationKeys:
        """The server's half alone. Raises as :meth:`load`, also when it is not there."""
        file = self._read("evaluation", plan_id, backend)
        parts = (file.part(name) for name in ("relinearisation", "rotations", "public"))
        return EvaluationKeys(file.key_id, *parts)

    def _read(self, kind: str, plan_id: str, backend: str) -> KeyFile:
        path = self.path(kind, plan_id)
        file = read_file(path)
        if file.kind != kind:
            raise KeyMismatch(f"{path} holds {file.kind} keys, expected {kind} keys")
        if file.plan_id != plan_id:
            raise PlanMismatch(
                f"{path} was made for plan {file.plan_id!r}, expected {plan_id!r}; "
                f"use another directory or delete the file"
            )
        if file.backend != backend:
            raise KeyMismatch(
                f"{path} was made by backend {file.backend!r}, expected {backend!r}; "
                f"use one directory for each backend"
            )
        return file

    def _check_target(self, path: Path, kind: str, plan_id: str) -> None:
        """Refuse to replace anything but an earlier key file of the same plan."""
        if not os.path.lexists(path):
            return
        if path.is_symlink() or not is_key_file(path):
            raise KeyStoreError(f"{path} is in the way and no key file of ours; move it away")
        try:
            held = read_file(path)
        except WireError:
            return  # our own file, damaged: replacing it is the repair
        if (held.kind, held.plan_id) != (kind, plan_id):
            raise PlanMismatch(
                f"{path} holds {held.kind} keys of plan {held.plan_id!r}; "
                f"use another directory for plan {plan_id!r}"
            )

    def _make_directory(self) -> None:
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise KeyStoreError(
                f"cannot make the key directory {self.directory}: {error}; name another one"
            ) from error

    def _refuse_model_folder(self) -> None:
        if self.directory.exists() and not self.directory.is_dir():
            raise KeyStoreError(f"{self.directory} is a file; name a directory for the keys")
        model = self.directory / "config.json"
        if model.exists() or any(self.directory.glob("*.safetensors")):
            raise KeyStoreError(
                f"{self.directory} holds a model; keys must never lie in a folder that is "
                f"shared or pushed: name another directory"
            )
