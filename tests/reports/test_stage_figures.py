"""Scores by stage, from the reports that conversions leave."""

import json
from pathlib import Path

import pytest

import thex_hf
from thex_hf.errors import ConversionError
from thex_hf.reports.plots.stages import ORDER, draw_stages, places, read_stages

REPORT = {"metric": "f1", "dev_texts": 8, "form": "the-x"}


def write(folder, **changes):
    folder.mkdir(exist_ok=True)
    (folder / "conversion.json").write_text(json.dumps({**REPORT, **changes}))
    return folder


def test_lines_have_the_scores_of_the_bundled_reports():
    folders = [Path(thex_hf.bundled_checkpoint(form)) for form in ("the-x", "polynomial")]
    models = [read_stages(folder) for folder in folders]
    (axes,) = draw_stages(models).axes
    for line, model, folder in zip(axes.lines, models, folders, strict=True):
        report = json.loads((folder / "conversion.json").read_text())
        assert line.get_ydata()[0] == report["unconverted"]
        assert line.get_ydata()[-1] == report["converted"]
        assert list(line.get_ydata()) == list(model.scores.values())
        assert list(line.get_xdata()) == [places(models).index(name) for name in model.scores]
        assert folder.name in line.get_label()
    assert "accuracy" in axes.get_ylabel()


def test_an_unknown_stage_comes_before_the_last(tmp_path):
    scores = {"unconverted": 9.0, "polished": 8.0, "converted": 7.0}
    model = read_stages(write(tmp_path / "own", stages=scores))
    assert places([model]) == ["unconverted", "polished", "converted"]
    assert model.scores == scores
    assert ORDER[-1] == "converted"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "no conversion report"),
        ({"stages": {"converted": 1.0}}, "two are the least"),
        ({"stages": {"converted": 1.0, "relu": "high"}}, "no conversion report"),
        ({"stages": [1.0, 2.0]}, "no conversion report"),
        (
            {"stages": {"converted": 1.0, "relu": 2.0}, "metric": ["f1"], "dev_texts": None},
            "report",
        ),
    ],
)
def test_what_is_no_report_is_refused(tmp_path, changes, words):
    with pytest.raises(ConversionError, match=words):
        read_stages(write(tmp_path / "own", **changes))


def test_a_folder_without_a_report_is_refused(tmp_path):
    with pytest.raises(ConversionError, match="thex-hf convert"):
        read_stages(tmp_path)
