"""Upload a folder to the Hub, unless it holds a secret."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from thex_hf.errors import OptionError
from thex_hf.hub.secrets import files_of, refuse_secrets


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
