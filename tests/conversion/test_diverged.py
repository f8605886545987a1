"""What a conversion that diverged had finished is not done again."""

import logging
from dataclasses import asdict, fields, replace

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file

from thex_hf import ThexBertForSequenceClassification
from thex_hf.conversion import (
    ConversionOptions,
    FitOptions,
    NormalisedOptions,
    PolynomialOptions,
    beginning,
    convert,
)
from thex_hf.conversion.checkpoint import checkpoint_folder
from thex_hf.conversion.deciding import FIRST_DECIDED, stage_digests
from thex_hf.conversion.forecast import FITS, STAGES
from thex_hf.conversion.training import trainer
from thex_hf.errors import ConversionError, DivergenceError

NONE = FitOptions(epochs=0.0)
FEW = FitOptions(epochs=0.4, learning_rate=1e-3, batch_size=32, average=0.9, token_dropout=0.1)
WILD = FitOptions(epochs=3.0, learning_rate=1e6, gradient_norm=1e30)


@pytest.fixture(scope="module")
def files(data_files):
    return {"train": data_files[0], "dev": data_files[1]}


def polynomial(**changes):
    stages = {"bounding": FEW, "layer_wise": FEW, "end_to_end": FEW, "steadying": NONE, **changes}
    return ConversionOptions(
        form="polynomial", fine_tuning=FEW, polynomial=PolynomialOptions(**stages)
    )


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.fixture
def trained(monkeypatch):
    """The names of the stages that train, in order, each once."""
    names = {}
    check = trainer.DivergenceGuard.check

    def noting(self, loss, step):
        names[self.name] = True
        check(self, loss, step)

    monkeypatch.setattr(trainer.DivergenceGuard, "check", noting)
    return names


def test_with_other_options_it_goes_on_from_what_they_do_not_touch(
    bert_folder, files, tmp_path, trained, monkeypatch, caplog
):
    out = tmp_path / "out"
    with pytest.raises(
        DivergenceError, match=r"answers, bounded, fine_tuned, fitted.*other options"
    ):
        convert(bert_folder, out, **files, options=polynomial(layer_wise=WILD))
    assert not out.exists()
    kept = {path.name for path in checkpoint_folder(out).iterdir()}
    names = ("answers", "bounded", "fine_tuned", "fitted")
    assert kept == {"begun.json", *(f"{name}.safetensors" for name in names)}
    trained.clear()
    with monkeypatch.context() as patch:
        patch.setattr(beginning, "predict", lambda *_: pytest.fail("asked again"))
        logger = logging.getLogger("thex_hf")
        logger.addHandler(caplog.handler)
        try:
            convert(bert_folder, out, **files, options=polynomial())
        finally:
            logger.removeHandler(caplog.handler)
    assert "had finished: answers, bounded, fine_tuned, fitted" in caplog.text
    assert list(trained) == ["layer-wise distillation", "end-to-end distillation"]
    assert not checkpoint_folder(out).exists()
    convert(bert_folder, tmp_path / "whole", **files, options=polynomial())
    whole, found = weights(tmp_path / "whole"), weights(out)
    assert all(torch.equal(whole[name], found[name]) for name in whole)


@pytest.mark.slow
def test_another_form_needs_no_second_fine_tuning(bert_folder, files, tmp_path, trained):
    out = tmp_path / "out"
    with pytest.raises(DivergenceError):
        convert(bert_folder, out, **files, options=polynomial(end_to_end=WILD))
    assert (checkpoint_folder(out) / "layer_wise.safetensors").is_file()
    trained.clear()
    none = dict.fromkeys(("layer_wise", "layer_norms", "end_to_end", "steadying"), NONE)
    options = replace(polynomial(), form="normalised", normalised=NormalisedOptions(**none))
    convert(bert_folder, out, **files, options=options)
    assert not trained


def test_the_same_options_may_be_tried_again(bert_folder, files, tmp_path, trained, caplog):
    options = polynomial(layer_wise=WILD)
    for _ in range(2):
        with pytest.raises(DivergenceError, match="is kept in"):
            convert(bert_folder, tmp_path / "out", **files, options=options)
    assert list(trained) == ["fine-tuning", "bounded scores", "layer-wise distillation"]


def test_other_data_are_refused_after_a_divergence_too(bert_folder, files, tmp_path):
    options = polynomial(layer_wise=WILD)
    with pytest.raises(DivergenceError):
        convert(bert_folder, tmp_path / "out", **files, options=options)
    swapped = {"train": files["dev"], "dev": files["train"]}
    with pytest.raises(ConversionError, match=r"with other data\..*--restart"):
        convert(bert_folder, tmp_path / "out", **swapped, options=options)


def test_nothing_stays_in_the_cache(bert_folder, files, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "cache"))
    options = polynomial(layer_wise=WILD)
    with pytest.raises(DivergenceError) as caught:
        ThexBertForSequenceClassification.from_pretrained(
            bert_folder, convert=True, options=options, **files
        )
    assert "is kept in" not in str(caught.value)
    assert not list((tmp_path / "cache" / "thex_hf").iterdir())


def test_every_name_in_the_tables_is_an_option():
    for form, stages in STAGES.items():
        own = {item.name for item in fields(ConversionOptions(form=form).stages)}
        followed = {name for names in stages.values() for name in names} - {FITS}
        assert followed <= own
        assert set(FIRST_DECIDED[form]) <= own - followed
        assert set(FIRST_DECIDED[form].values()) <= set(stages)


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ({"norm_degree": 8}, "roots"),
        ({"most_ratio": 50.0}, "roots"),
        ({"end_to_end": NONE}, "converted"),
        ({"rounds": 1}, "converted"),
        ({"attention_power": 4}, "fitted"),
        ({"layer_wise": NONE}, "layer_wise"),
        ({"layer_norms": NONE}, "layer_norms"),
    ],
)
def test_an_option_decides_its_stage_and_all_later_ones(change, first):
    before = ConversionOptions(form="normalised")
    after = replace(before, normalised=replace(before.normalised, **change))
    one, two = stage_digests(before), stage_digests(after)
    names = list(one)
    stages = ["fitted", "layer_wise", "layer_norms", "roots", "converted"]
    assert names == ["fine_tuned", "answers", *stages]
    differ = [name for name in names if one[name] != two[name]]
    assert differ == names[names.index(first) :]


def test_what_all_stages_share_decides_from_the_beginning():
    before = ConversionOptions()
    names = set(asdict(before)) - {"the_x", "polynomial", "normalised"}
    without = {"form", "norm_texts", "half", "calibration_texts", "overwrite", "restart"}
    changes = {
        "seed": 1,
        "max_length": 64,
        "fine_tuning": FEW,
        "weight_decays": (0.1,),
        "early_stop": True,
        "held_out": 0.2,
    }
    assert set(changes) == names - without
    for name, value in changes.items():
        digests = stage_digests(replace(before, **{name: value}))
        assert all(digests[stage] != digest for stage, digest in stage_digests(before).items())
    other = stage_digests(replace(before, norm_texts=64))
    assert [other[s] == d for s, d in stage_digests(before).items()] == [True, True] + [False] * 6
