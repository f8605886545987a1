"""The bundled checkpoint gives the logits it gave when it was made, in every mode."""

import json
from pathlib import Path

import pytest

ROWS = json.loads((Path(__file__).parents[1] / "golden" / "thex_tiny_sst2.json").read_text())


@pytest.mark.parametrize(("fhe", "tolerance"), [("disable", 1e-4), ("simulate", 0.01)])
def test_logits(classifier, fhe, tolerance):
    for row in ROWS:
        classifier(row["text"], fhe=fhe)
        assert classifier.report.logits == pytest.approx(row["logits"], abs=tolerance)
