"""``conversion.json`` is JSON, whatever was measured."""

import json
import math

from thex_hf.conversion.scores import ConversionReport

REPORT = ConversionReport(
    source="bert",
    metric="pearson",
    unconverted=90.0,
    converted=math.nan,
    train_texts=2,
    dev_texts=2,
    seconds=1.0,
    seed=0,
    ranges=[{"scores": math.inf}],
    options={"weight_decays": (0.1,)},
    versions={},
    stages={"unconverted": 90.0, "converted": math.nan},
)


def test_what_is_not_finite_is_null():
    record = REPORT.to_dict()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert (record["converted"], record["ranges"], record["unconverted"]) == (
        None,
        [{"scores": None}],
        90.0,
    )
    back = ConversionReport.from_dict(record)
    assert math.isnan(back.converted)
    assert math.isnan(back.stages["converted"])
    assert math.isnan(back.drop)
