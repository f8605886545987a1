"""Sharing models on the Hugging Face Hub without sharing a key.

:func:`push_folder` uploads a folder after looking for key files, private keys and access tokens in
it; the models' and the pipelines' own ``push_to_hub`` go through it. A key file is known by its
name and by how it starts, so a renamed one is found too. A file inside an archive, or one that was
encrypted or encoded again, is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from thex_hf.errors import KeyStoreError, OptionError

KEY_NAMES = ("secret.*key", "evaluation.*key", ".key-*")
"""Names that ``thex_hf`` gives to key files, unfinished ones included."""

KEY_FOLDERS = ("pair.*", ".key-*")
"""Names of the folders that it keeps them in."""

SECRET_NAMES = (
    *KEY_NAMES,
    *("*.key", "*.pem", "*.p12", "*.pfx", "id_rsa*", "id_ed25519*", "id_ecdsa*"),
    *(".env", ".env.*", ".netrc", ".pypirc", "stored_tokens", "tickets.db"),
)
"""Names that stand for a secret of some kind."""

NOT_UPLOADED = {".git", ".cache", "__pycache__"}
"""Folders that are neither looked into nor uploaded."""

_KEY_FILE = re.compile(  # a msgpack map
    rb"\A[\x80-\x8f]\xa6format(?:\xacthex_hf\.keys|\xafthex_hf\.tickets)"
)
_SEAL = re.compile(rb"\A\x5e\xa1\x10")  # SEAL's header: magic number, length of the header
_PRIVATE = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{34,}")
_SEARCHED = 8 << 20  # bytes of a file that are searched for tokens and private keys
_WEIGHTS = ".safetensors"


@dataclass(frozen=True)
class Secret:
    """A file that must not be shared.

    Args:
        path: inside the folder.
        why: what was recognised.
    """

    path: Path
    why: str

    def __str__(self) -> str:
        return f"{self.path.as_posix()} ({self.why})"


def files_of(folder: Path) -> Iterator[Path]:
    """All files of a folder and of the folders in it, in order, but for :data:`NOT_UPLOADED`."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if path.name not in NOT_UPLOADED and not path.is_symlink():
                yield from files_of(path)
        elif path.is_file():
            yield path


def find_secrets(folder: str | Path) -> list[Secret]:
    """Look at every file of a folder, those in its sub-folders included.

    Raises:
        KeyStoreError: a file cannot be read, so nobody knows what is in it.
    """
    root = Path(folder)
    looked = ((path.relative_to(root), _secret(path)) for path in files_of(root))
    return [Secret(path, why) for path, why in looked if why]


def refuse_secrets(folder: str | Path) -> None:
    """Raise if a folder that is to be uploaded holds a secret.

    Raises:
        KeyStoreError: names the files.
    """
    found = find_secrets(folder)
    if found:
        raise KeyStoreError(
            f"{folder} holds {_listed(found)}; nothing was uploaded. Keep keys and tokens in a "
            f"directory of their own, away from the model, and push again"
        )


def refuse_keys(folder: str | Path) -> None:
    """Raise if a folder that a model is to be saved in holds key files of ours.

    Raises:
        KeyStoreError: names the files.
    """
    root = Path(folder)
    places = [root, *(place for name in KEY_FOLDERS for place in root.glob(name))]
    files = [path for own in places if own.is_dir() for path in sorted(own.iterdir())]
    found = [
        Secret(path.relative_to(root), why)
        for path in files
        if path.is_file() and (why := _key(path))
    ]
    if found:
        raise KeyStoreError(
            f"{folder} holds {_listed(found)}; a model is never saved next to keys, since model "
            f"folders are shared: save it in another folder"
        )


def _listed(found: list[Secret]) -> str:
    shown = ", ".join(map(str, found[:5]))
    return shown + (f" and {len(found) - 5} more" if len(found) > 5 else "")


def _named(path: Path, patterns: Iterable[str]) -> bool:
    return any(fnmatch(path.name.lower(), pattern) for pattern in patterns)


def _key(path: Path) -> str:
    """Why a file is a key file of ours; empty if it is none."""
    start = _start(path, 64)
    if _KEY_FILE.match(start):
        return "a thex_hf key file"
    if _SEAL.match(start):
        return "a key or ciphertext of SEAL"
    return "named like a key file" if _named(path, KEY_NAMES) else ""


def _secret(path: Path) -> str:
    """Why a file is secret; empty if nothing says so."""
    if why := _key(path):
        return why
    if _named(path, SECRET_NAMES):
        return "named like a secret"
    if path.suffix == _WEIGHTS:
        return ""
    content = _start(path, _SEARCHED)
    if _PRIVATE.search(content):
        return "holds a private key"
    return "holds an access token of the Hub" if _TOKEN.search(content) else ""


def _start(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise KeyStoreError(
            f"cannot read {path}, so it may be a key: {error}; make it readable or move it away"
        ) from error


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    commit_message: str = "Upload model",
    commit_description: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
) -> CommitInfo:
    """Upload all files of a folder in one commit; the repository is made if there is none.

    Files of the repository that the folder lacks stay there.

    Args:
        folder: a model's folder.
        repo_id: ``"organisation/name"``, or ``"name"`` for one's own.
        commit_message: first line of the commit.
        commit_description: the rest of it.
        private: whether a new repository is private; the owner's default if None.
        token: access token; None or True: the one stored by ``hf auth login``.
        revision: branch; made if there is none. ``main`` if None.
        create_pr: open a pull request with the files.

    Returns:
        The commit, as ``huggingface_hub`` describes it.

    Raises:
        KeyStoreError: the folder holds a key file or another secret; nothing was uploaded.
        OptionError: there is no such folder, or it is empty.
        HfHubHTTPError: the Hub refused; see :mod:`huggingface_hub`.
    """
    root = Path(folder)
    files = list(files_of(root)) if root.is_dir() else []
    if not files:
        raise OptionError(f"{str(folder)!r} should be a folder with a model; it holds no file")
    refuse_secrets(root)
    api = HfApi(token=token)
    repo = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
    if revision is not None and not revision.startswith("refs/pr/"):
        api.create_branch(repo, branch=revision, exist_ok=True)
    return api.create_commit(
        repo,
        [CommitOperationAdd(path.relative_to(root).as_posix(), path) for path in files],
        commit_message=commit_message,
        commit_description=commit_description,
        revision=revision,
        create_pr=create_pr,
    )


def fetch_files(
    repo_id: str,
    names: Sequence[str],
    folder: Path,
    *,
    token: str | bool | None = None,
    revision: str | None = None,
) -> None:
    """Get files of a repository into a folder, those that are there.

    Args:
        repo_id: the repository; it need not exist yet.
        names: paths in it.
        folder: where to.
        token: as for :func:`push_folder`.
        revision: branch; ``main`` if None.

    Raises:
        HfHubHTTPError: the Hub refused.
    """
    for name in names:
        try:
            hf_hub_download(repo_id, name, token=token, revision=revision, local_dir=str(folder))
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return
        except EntryNotFoundError:
            continue
