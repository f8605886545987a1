"""Saving and pushing that all THE-X models share: a card at every save, never next to a key.

With ``include_remote_code`` a folder also holds ``thex_remote.py``, a few lines that import the
*installed* package, and ``config.json`` names that file under ``auto_map`` and
``custom_pipelines``. Then ``pipeline(model=..., trust_remote_code=True)`` finds the classes by
itself. Where ``thex_hf`` was imported nothing is asked and the file is not read.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo

from thex_hf.errors import ConversionError
from thex_hf.hub import fetch_files, push_folder, refuse_keys
from thex_hf.modeling.adapters import refuse_unsaved_adapter
from thex_hf.modeling.cards.card import README, is_ours, write_card
from thex_hf.modeling.cards.measures import RECORDS, carry_records
from thex_hf.tasks import TASKS

PUSH_OPTIONS = (
    "repo_id",
    "commit_message",
    "commit_description",
    "private",
    "token",
    "revision",
    "create_pr",
)
"""Options of :func:`thex_hf.hub.push_folder` that ``save_pretrained`` takes too."""

MODULE = "thex_remote"
FILE = f"{MODULE}.py"
_CONFIG = "config.json"
_MARK = '"""Made by thex_hf'


@dataclass(frozen=True)
class Head:
    """How a model class is loaded: Auto class, and the pipeline with its task, if it has one."""

    auto: str
    task: str = ""
    pipeline: str = ""


HEADS = {
    "ThexBertModel": Head("AutoModel"),
    **{
        task.model_class: Head(task.auto_class, task.pipeline, task.pipeline_class)
        for task in TASKS
    },
}
"""Model classes by name."""


class HubMixin:
    """Replaces ``save_pretrained`` and ``push_to_hub`` of :class:`transformers.PreTrainedModel`."""

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: dict[str, Any] | None = None,
        *,
        include_remote_code: bool = False,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Save weights, configuration and a model card.

        A ``README.md`` of one's own is left alone; in ours the part between the marks is
        written anew. If the model was loaded from a folder and has the same weights still, that
        folder's conversion report, measures and card come along.

        Args:
            save_directory: made if need be.
            is_main_process: only the main process writes the card.
            state_dict: as in Hugging Face.
            include_remote_code: also write ``thex_remote.py``, so that the model loads without
                ``import thex_hf``, with ``trust_remote_code=True``.
            push_to_hub: upload the whole folder afterwards; options as in
                :func:`thex_hf.hub.push_folder`, and ``repo_id`` is the folder's name by default.
            **kwargs: as in Hugging Face.

        Raises:
            KeyStoreError: the folder holds keys; nothing was written.
            ConversionError: ``safe_serialization=False`` was asked for, or the model has adapters
                that peft put there, and is not the ``PeftModel``.
        """
        folder = Path(os.path.expanduser(save_directory))
        pushing = {name: kwargs.pop(name) for name in PUSH_OPTIONS if name in kwargs}
        repository = str(pushing.pop("repo_id", folder.name))
        options = {"is_main_process": is_main_process, "state_dict": state_dict, **kwargs}
        _save(self, folder, include_remote_code, None, options)
        if push_to_hub and is_main_process:
            push_folder(folder, repository, **pushing)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        tokenizer: Any = None,
        commit_message: str | None = None,
        commit_description: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        include_remote_code: bool = False,
        tags: list[str] | None = None,
        **kwargs: Any,
    ) -> CommitInfo:
        """Upload the model and its card in one commit; what the user wrote in the card there stays.

        So do figures of these very weights that the repository has already.

        Args:
            repo_id: ``"organisation/name"``, or ``"name"`` for one's own.
            tokenizer: uploaded along; a pipeline needs one in the repository.
            commit_message: first line of the commit.
            commit_description: the rest of it.
            private: whether a new repository is private.
            token: access token; None or True: the stored one.
            revision: branch; made if there is none.
            create_pr: open a pull request.
            include_remote_code: as for :meth:`save_pretrained`.
            tags: tags of a new card, besides ours.
            **kwargs: for :meth:`save_pretrained`; ``use_temp_dir`` has no effect, since a
                temporary folder is always used.

        Raises:
            HfHubHTTPError: the Hub refused.
        """
        kwargs.pop("use_temp_dir", None)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            known = (README, *RECORDS)
            fetch_files(repo_id, known, folder, token=token, revision=revision)
            _save(self, folder, include_remote_code, repo_id, kwargs, tags)
            if tokenizer is not None:
                tokenizer.save_pretrained(folder)
            return push_folder(
                folder,
                repo_id,
                commit_message=commit_message or f"Upload {type(self).__name__}",
                commit_description=commit_description,
                private=private,
                token=token,
                revision=revision,
                create_pr=create_pr,
            )


def _save(
    model: Any,
    folder: Path,
    remote_code: bool,
    title: str | None,
    options: dict[str, Any],
    tags: list[str] | None = None,
) -> None:
    """Save a model with its card and records; ``title`` is the card's, if not the folder's name."""
    if options.pop("safe_serialization", True) is not True:
        raise ConversionError(
            "thex_hf writes safetensors only, never pickled weights: leave out "
            "safe_serialization=False."
        )
    refuse_keys(folder)
    refuse_unsaved_adapter(model)
    # Loading through thex_remote.py marks the classes so that transformers would copy their
    # files into the folder; the shim imports the installed package instead.
    type(model)._auto_class = type(model.config)._auto_class = None
    super(HubMixin, model).save_pretrained(folder, **options)
    if not options.get("is_main_process", True) or not (folder / "config.json").is_file():
        return  # of a model with an adapter transformers saves the adapter alone
    if remote_code:
        write_remote_code(folder, type(model).__name__)
    else:
        drop_remote_code(folder)
    fresh = not (folder / README).exists()
    source = Path(model.name_or_path or folder)
    carry_records(source, folder, *([README] if is_ours(source) else []))
    carried = fresh and (folder / README).exists()
    if title is None and carried:
        title = folder.resolve().name
    write_card(folder, title=title, tags=tags or ())


def write_remote_code(folder: Path, model_class: str) -> None:
    """Write ``thex_remote.py`` and name it in the folder's ``config.json``.

    Args:
        folder: holds a saved model.
        model_class: a key of :data:`HEADS`.
    """
    head = HEADS[model_class]
    names = [name for name in ("ThexBertConfig", model_class, head.pipeline) if name]
    text = f'{_MARK}: loads the installed package."""\n\nfrom thex_hf import {", ".join(names)}\n'
    text += f"\n__all__ = {json.dumps(names)}\n"
    (folder / FILE).write_text(text, encoding="utf-8")
    config = _without_shim(_read_config(folder))
    config["auto_map"] = {
        "AutoConfig": f"{MODULE}.ThexBertConfig",
        head.auto: f"{MODULE}.{model_class}",
    }
    if head.pipeline:
        # under another name than the task's own: under that one transformers would ask for
        # trust_remote_code even where thex_hf is imported
        config["custom_pipelines"] = {
            f"{head.task}-remote": {
                "impl": f"{MODULE}.{head.pipeline}",
                "pt": [head.auto],
                "type": "text",
            }
        }
    _write_config(folder, config)


def drop_remote_code(folder: Path) -> None:
    """Take the shim out of a folder; a file of that name which is not ours stays."""
    config = _read_config(folder)
    cleaned = _without_shim(config)
    if cleaned != config:
        _write_config(folder, cleaned)
    shim = folder / FILE
    if shim.is_file() and shim.read_text(encoding="utf-8").startswith(_MARK):
        shim.unlink()


def _without_shim(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration without what names the shim; a Hub name may stand before it."""
    out = dict(config)
    if any(_names_shim(value) for value in (out.get("auto_map") or {}).values()):
        del out["auto_map"]
    pipelines = out.get("custom_pipelines") or {}
    if any(_names_shim(entry.get("impl")) for entry in pipelines.values()):
        del out["custom_pipelines"]
    return out


def _names_shim(reference: Any) -> bool:
    return str(reference).rpartition("--")[2].startswith(f"{MODULE}.")


def _read_config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    return found


def _write_config(folder: Path, config: dict[str, Any]) -> None:
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / _CONFIG).write_text(text, encoding="utf-8")
