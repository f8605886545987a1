"""Keys on disk: one directory, named by the user, with a folder for each plan.

``pair.<plan8>/secret.key`` stays with the client; ``pair.<plan8>/evaluation.key`` may go to the
server. Both are small msgpack maps, readable by their owner alone. A pair is written elsewhere in
the directory and takes its name when it is whole: whenever a process is killed, there is a good
pair or none, and of two that make one at once the first wins. Keys never lie next to a model,
because model folders are shared.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from thex_hf._paths import user_path
from thex_hf.backends.base import EvaluationKeys, KeyLevels, KeyRequest, SecretKeys
from thex_hf.circuits.plan import Plan
from thex_hf.errors import KeyMismatch, KeyStoreError, PlanMismatch
from thex_hf.protocol.keyfile import KeyFile, read_file, write_file

UNFINISHED, LOCK = ".key-", ".lock"
LOCK_SECONDS = 30.0
_PLAN_ID = re.compile(r"[A-Za-z0-9_-]{8,128}")


class KeyStore:
    """Saves and loads the two halves of a key pair. Several processes may share a directory.

    Args:
        directory: where the pairs lie; made with mode 0700 on the first save.

    Raises:
        KeyStoreError: the directory is a file, or holds a model.
        OptionError: the path is empty, or begins with ``~`` and nobody has such a home.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = user_path("keys", directory)
        self._refuse_model_folder()

    def path(self, kind: str, plan_id: str) -> Path:
        """Where the ``secret`` or ``evaluation`` keys of a plan lie."""
        return self._pair(plan_id) / f"{kind}.key"

    def save(
        self, plan_id: str, backend: str, secret: SecretKeys, evaluation: EvaluationKeys
    ) -> tuple[SecretKeys, EvaluationKeys]:
        """Write both halves, unless a pair of this plan is there already.

        Returns:
            The pair to use: this one, or the one that was there first. To have new keys, delete
            the old pair's folder.

        Raises:
            KeyMismatch: the halves do not belong together.
            KeyStoreError: the directory cannot be written, or something else is in the way.
            PlanMismatch, WireError: as :meth:`load`, of a pair that was there first.
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
        files = [
            KeyFile(kind, plan_id, backend, evaluation.key_id, part) for kind, part in parts.items()
        ]
        if self._publish(self._pair(plan_id), files):
            return secret, evaluation
        first = self.load(plan_id, backend)
        if first is None:
            raise KeyStoreError(
                f"{self._pair(plan_id)} is in the way and no key pair of ours; move it away"
            )
        return first

    def has(self, plan_id: str) -> bool:
        """Whether a secret key of this plan is here."""
        return self.path("secret", plan_id).exists()

    def load(self, plan_id: str, backend: str) -> tuple[SecretKeys, EvaluationKeys] | None:
        """Both halves, or None where there is no key file of this plan.

        What processes that were killed have left unfinished is removed.

        Raises:
            KeyStoreError: a file cannot be read, or one of the two is missing.
            PlanMismatch: the files belong to another plan.
            KeyMismatch: they belong to another backend, or not to each other.
            WireError: a file is damaged.
        """
        paths = [self.path(kind, plan_id) for kind in ("secret", "evaluation")]
        if any(self.directory.glob(f"{UNFINISHED}*")):
            with self._alone(0.0) as alone:
                self._sweep(alone)
        if not self._pair(plan_id).exists():
            return None  # asked first: a pair comes all at once
        there = [path.exists() for path in paths]
        if not any(there):
            return None
        if not all(there):
            missing = paths[there.index(False)]
            raise KeyStoreError(
                f"{missing} is missing but its other half is there; "
                f"bring it back, or delete the folder to make new keys"
            )
        evaluation = self.load_evaluation(plan_id, backend)
        file = self._read("secret", plan_id, backend)
        if file.key_id != evaluation.key_id:
            raise KeyMismatch(
                f"{paths[0]} belongs to keys {file.key_id!r}, {paths[1]} to "
                f"{evaluation.key_id!r}; bring back the matching file or delete the folder"
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

    def _pair(self, plan_id: str) -> Path:
        if not _PLAN_ID.fullmatch(plan_id):
            raise KeyStoreError(
                f"plan id {plan_id!r} cannot name a file; expected 8 to 128 letters and digits"
            )
        return self.directory / f"pair.{plan_id[:8]}"

    def _publish(self, place: Path, files: list[KeyFile]) -> bool:
        """Write a pair and give it its name; False if something has that name already."""
        self._make_directory()
        made = ""
        try:
            with self._alone(LOCK_SECONDS) as alone:
                self._sweep(alone)
                if os.path.lexists(place):
                    return False
                made = tempfile.mkdtemp(prefix=UNFINISHED, dir=self.directory)  # mode 0700
                for file in files:
                    write_file(Path(made, f"{file.kind}.key"), file)
                os.rename(made, place)
        except OSError as error:
            shutil.rmtree(made, ignore_errors=True)
            if os.path.lexists(place):  # without the lock another process may have been faster
                return False
            raise KeyStoreError(
                f"cannot write the keys {place}: {error}; name a directory you can write to"
            ) from error
        return True

    @contextmanager
    def _alone(self, seconds: float) -> Iterator[bool]:
        """Try to keep other processes from saving; whether that was possible.

        The lock goes with the process that holds it. Where it cannot be had all is right
        nevertheless, but nothing is swept.
        """
        lock = FileLock(self.directory / LOCK, timeout=seconds, mode=0o600)
        with suppress(OSError, NotImplementedError):  # a time-out is one
            lock.acquire()
        try:
            yield lock.is_locked
        finally:
            lock.release()

    def _sweep(self, alone: bool) -> None:
        """Remove what is unfinished: who wrote it is dead, for nobody else holds the lock."""
        for path in self.directory.glob(f"{UNFINISHED}*") if alone else ():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()

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
