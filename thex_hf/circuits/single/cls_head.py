"""Last feed-forward part and classifier where only [CLS] is read: one quadratic form a label."""

from __future__ import annotations

import numpy as np

from thex_hf.circuits.context import Context, Handles, Target
from thex_hf.circuits.polynomial.maps import Head
from thex_hf.ckks.packing.matmul import sum_features


def logits(run: Context, head: Head, row: Handles) -> Handles:
    """Logits in ``bar`` from the [CLS] row in ``edge`` before the last norms; all else is zero.

    Levels: 2.
    """
    run.begin_stage("FFN, classifier")
    engine, geometry, answer = run.engine, run.shape.geometry, run.shape.bar
    gain = engine.scale_ratio(engine.level(row[0]) - 1)
    size, rows = run.shape.hidden, run.shape.stream("edge")
    outputs = [
        np.where((label >= 0) & (feature >= 0), label * size + feature, -1)
        for label in answer.maps()
        for feature in rows.maps()
    ]
    forms = run.apply([Target("form", head.form.divided_by(gain), outputs)], rows.maps(), row)[0]
    low = [engine.mod_switch(a, engine.level(forms[0])) for a in row]
    out = []
    for index, feature_map in enumerate(answer.maps()):
        label_forms = forms[index * rows.blocks : (index + 1) * rows.blocks]
        products = [engine.mul(a, b) for a, b in zip(label_forms, low, strict=True)]
        total = sum_features(engine, geometry, run.sum_products(products))
        out.append(run.add_bias(f"answer {index}", total, head.bias, feature_map))
    return out
