import pytest
from transformers import pipeline

import thex_hf  # noqa: F401  (registers the task)


@pytest.fixture(scope="session")
def classifier():
    return pipeline("thex-text-classification", protocol="client-aided")
