"""Training takes products in bfloat16 where the processor is made for them, and nowhere else."""

import pytest
import torch
from accelerate import Accelerator

from thex_hf.conversion.training.trainer import autocast, make_accelerator


def kind_of_product():
    """The type of a product of float32 matrices as training would take it."""
    matrix = torch.ones(4, 4)
    with autocast(make_accelerator()):
        return (matrix @ matrix).dtype


@pytest.fixture
def able(monkeypatch):
    """Say what the processor can do."""
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)

    def say(**abilities):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities, raising=False)

    return say


needs_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="of processors")


@needs_cpu
@pytest.mark.parametrize("ability", ["avx512_bf16", "amx_bf16"])
def test_processors_with_bfloat16_use_it(able, ability):
    able(**{ability: True, "avx512_f": True})
    assert kind_of_product() == torch.bfloat16


@needs_cpu
def test_others_do_not(able, monkeypatch):
    able(avx512_f=True, avx512_bf16=False)
    assert kind_of_product() == torch.float32
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # as in older versions
    assert kind_of_product() == torch.float32


def test_who_says_no_gets_float32(able, monkeypatch):
    able(avx512_bf16=True)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert kind_of_product() == torch.float32


def test_others_in_the_process_keep_their_precision(able):
    able(avx512_bf16=True)
    before = Accelerator()
    kind_of_product()
    assert before.mixed_precision == "no"
    assert Accelerator().mixed_precision == "no"
