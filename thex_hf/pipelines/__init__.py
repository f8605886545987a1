"""Hugging Face pipelines whose encoder runs on ciphertexts.

transformers is imported before any module of this package, see :mod:`thex_hf`.
"""

import transformers as transformers
