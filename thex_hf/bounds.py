"""Which answers a model's calibration allows.

Nothing in a polynomial encoder bounds its values: on a text unlike all that calibration saw they
can run away, in clear as on ciphertexts, where they also leave the modulus and come back as other
numbers. The logits tell: whoever holds them checks them here before handing them on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thex_hf.errors import RangeError

SAFETY = 2.0
"""Texts may exceed what calibration saw by this factor; circuits leave room for as much."""


def check_logits(
    logits: NDArray[Any], calibration: Mapping[str, Any] | None, fhe: str = "execute"
) -> None:
    """Refuse logits that are not finite, or larger than calibration allows.

    Args:
        logits: of one text, any shape.
        calibration: of the model's configuration; its ``logit`` is the largest absolute logit
            that was seen. None, or without it: nothing is known, and any finite logits pass.
        fhe: how they were computed: ``execute``, ``simulate`` or ``disable``.

    Raises:
        RangeError: says what was allowed, what came and what to do.
    """
    values = np.abs(np.asarray(logits, np.float64))
    largest = float(values.max(initial=0.0)) if np.isfinite(values).all() else float("inf")
    seen = (calibration or {}).get("logit")
    if np.isfinite(largest) and (seen is None or largest <= SAFETY * seen):
        return
    expected = (
        "finite logits were expected"
        if seen is None
        else f"calibration saw logits up to {seen:.3g}, and twice that is allowed"
    )
    came = "one is not finite" if not np.isfinite(largest) else f"one of {largest:.2g} came"
    advice = (
        "the clear model itself does not know what to do with this text. Convert with more "
        "--effort, or calibrate on texts like it: thex-hf calibrate"
        if fhe == "disable"
        else "fhe='disable' tells whether the clear model does better; if so, a larger ring (of "
        "refresh or one-shot) may carry the text, else another form of the model"
    )
    raise RangeError(
        f"{expected}, {came}: values ran away inside the encoder and the answer would mean "
        f"nothing. What to do: {advice}."
    )


def check_room(calibration: Mapping[str, Any] | None, room: float) -> None:
    """Refuse a plan whose last prime does not carry the logits that calibration allows.

    Larger ones would come back as others; those of a regression may well be that large.

    Args:
        calibration: as in :func:`check_logits`.
        room: the modulus of the answer by the scale, halved: logits must stay below it.

    Raises:
        RangeError: they need not.
    """
    seen = (calibration or {}).get("logit")
    if seen is None or SAFETY * seen < room:
        return
    raise RangeError(
        f"this plan carries logits below {room:.0f}, and calibration saw one of {seen:.3g}, of "
        f"which twice as much is allowed. What to do: another protocol may carry them; of a "
        f"regression divide the numbers to predict by a constant and convert again."
    )


def within(values: NDArray[Any], most: float) -> tuple[NDArray[Any], float]:
    """Values cut to what an honest run can hold, and how large they were.

    Args:
        values: real, any shape.
        most: what they must not exceed.

    Returns:
        The values between ``-most`` and ``most``, 0 for those that are no numbers; and the largest
        absolute value that came, infinity if one is no number.
    """
    largest = float(np.abs(values).max(initial=0.0))
    cut = np.clip(np.nan_to_num(values, nan=0.0, posinf=most, neginf=-most), -most, most)
    return cut, largest if np.isfinite(largest) else float("inf")


def check_shown(largest: float, room: float) -> None:
    """Refuse a run in which a value came near what the modulus carries.

    Beyond it, numbers come back as others: of many values that run away, most lie anywhere.

    Args:
        largest: absolute value that the client decrypted on the way.
        room: the modulus by the scale, halved: values must stay below it.

    Raises:
        RangeError: it exceeds half of ``room``.
    """
    if largest <= room / 2:
        return
    raise RangeError(
        f"values inside the encoder should stay below {room / 2:.0f}, half of what the modulus "
        f"carries, and one of {largest:.0f} came: they ran away and the answer would mean nothing. "
        f"What to do: fhe='disable' tells whether the clear model knows the text; if so, convert "
        f"again with more weight decay, which keeps values small."
    )
