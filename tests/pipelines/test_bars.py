"""A list of texts shows how far it is."""

import pytest
from tiny_pipelines import make
from transformers.utils import logging

from thex_hf import _progress


@pytest.fixture
def bars(monkeypatch):
    made = []

    class Bar:
        def __init__(self, total, desc, disable, **options):
            self.counts, self.disable = [total, desc], disable
            made.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def update(self, count):
            self.counts.append(count)

    monkeypatch.setattr(_progress, "tqdm", Bar)
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)
    logging.enable_progress_bar()
    yield made
    logging.disable_progress_bar()


@pytest.mark.filterwarnings("ignore:Cannot enable progress bars")
def test_a_list_has_a_bar_of_its_texts(bars):
    pipe = make()
    pipe(["good"] * 5, fhe="disable", batch_size=2)
    (bar,) = bars
    assert bar.counts == [5, "texts", 2, 2, 1]
    assert bar.disable is None  # shown on a terminal
    pipe(["good"] * 2, fhe="disable", batch_size=2)
    pipe("good", fhe="disable")
    assert [bar.disable for bar in bars[1:]] == [True, True]
    logging.disable_progress_bar()
    pipe(["good"] * 5, fhe="disable")
    assert bars[-1].disable is True
    list(pipe(iter(["good"] * 2), fhe="disable"))  # who reads a stream sees it come
    assert len(bars) == 4
