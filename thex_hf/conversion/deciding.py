"""Which options decide what a stage leaves: after a divergence, what is done again."""

from __future__ import annotations

from dataclasses import asdict

from thex_hf.conversion.beginning import ANSWERS
from thex_hf.conversion.context import LAST
from thex_hf.conversion.digests import deciding_options, json_digest
from thex_hf.conversion.forecast import STAGES
from thex_hf.conversion.options import ConversionOptions

SETTINGS_AFTER_STAGES = ("half", "calibration_texts")
"""Options that change nothing in the stages, so unfinished work goes on if they differ."""

SETTINGS_OF_FORMS = ("form", "norm_texts", "the_x", "polynomial", "normalised")
"""Options that change nothing before the first stage of a form."""

FIRST_DECIDED: dict[str, dict[str, str]] = {
    "the-x": {"dropout": "relu"},
    "polynomial": {
        "activation": "fitted",
        "attention_power": "fitted",
        "norm": "fitted",
        "rounds": LAST,
        "drawn": LAST,
        "dropout": LAST,
    },
    "normalised": {
        "losses": "layer_wise",
        "strange_share": "layer_wise",
        "dropout": "layer_norms",
        "norm_degree": "roots",
        "norm_degrees": "roots",
        "quantiles": "roots",
        "widening": "roots",
        "most_ratio": "roots",
        "rounds": LAST,
        "drawn": LAST,
    },
}
"""The first stage that a field of a form's options decides, where it is not the form's first; how
a stage is trained decides that stage (:data:`thex_hf.conversion.forecast.STAGES`)."""


def stage_digests(options: ConversionOptions) -> dict[str, str]:
    """For each stage, in order, a digest of the options that decide what it leaves.

    Those that decide an earlier stage decide the later ones too. A field that no table names is
    taken to decide the form's first stage.
    """
    shared = deciding_options(options, *SETTINGS_AFTER_STAGES, *SETTINGS_OF_FORMS)
    digests = dict.fromkeys(("fine_tuned", ANSWERS), json_digest(shared))
    shared |= {"form": options.form, "norm_texts": options.norm_texts}
    stages = STAGES[options.form]
    first = {field: stage for stage, fields in stages.items() for field in fields}
    first |= FIRST_DECIDED[options.form]
    own, begun = asdict(options.stages), set[str]()
    earliest = next(iter(stages))
    for stage in stages:
        begun.add(stage)
        decides = {name: v for name, v in own.items() if first.get(name, earliest) in begun}
        digests[stage] = json_digest([shared, decides])
    return digests
