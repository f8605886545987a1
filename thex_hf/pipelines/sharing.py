"""Saving and pushing a pipeline: model, tokenizer and card, and never our code or a key."""

from __future__ import annotations

import os
from typing import Any

from huggingface_hub import CommitInfo

from thex_hf._paths import user_path
from thex_hf.hub import push_folder
from thex_hf.modeling.hub import PUSH_OPTIONS


class SharingMixin:
    """Replaces ``save_pretrained`` and ``push_to_hub`` of :class:`transformers.Pipeline`.

    Those copy the pipeline's code into the folder, and put a card of their own over ours.
    """

    model: Any
    tokenizer: Any

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """Save model, card and tokenizer; keys are never saved with a model.

        Args:
            save_directory: made if need be.
            push_to_hub: upload the folder afterwards; options as in
                :func:`thex_hf.hub.push_folder`, and ``repo_id`` is the folder's name by default.
            **kwargs: as for the model, ``include_remote_code`` among them.

        Raises:
            KeyStoreError: the folder holds keys; nothing was written.
        """
        folder = user_path("save_directory", save_directory)
        pushing = {name: kwargs.pop(name) for name in PUSH_OPTIONS if name in kwargs}
        self.model.save_pretrained(folder, **kwargs)
        self.tokenizer.save_pretrained(folder)
        if push_to_hub:
            push_folder(folder, str(pushing.pop("repo_id", folder.name)), **pushing)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> CommitInfo:
        """Upload model, card and tokenizer in one commit.

        Args:
            repo_id: ``"organisation/name"``, or ``"name"`` for one's own.
            **kwargs: as for the model's ``push_to_hub``.

        Raises:
            HfHubHTTPError: the Hub refused.
        """
        commit: CommitInfo = self.model.push_to_hub(repo_id, tokenizer=self.tokenizer, **kwargs)
        return commit
