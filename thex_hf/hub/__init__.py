"""Sharing models on the Hugging Face Hub without sharing a key.

:func:`push_folder` uploads a folder after looking for secrets in it; the models' and the
pipelines' own ``push_to_hub`` go through it.
"""

from thex_hf.hub.secrets import Secret, find_secrets, refuse_keys, refuse_secrets
from thex_hf.hub.upload import push_folder

__all__ = ["Secret", "find_secrets", "push_folder", "refuse_keys", "refuse_secrets"]
