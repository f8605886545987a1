"""The optional libraries that scoring rests on, or the ``pip`` line that installs them."""

from __future__ import annotations

from typing import Any, Final

from thex_hf._extras import require

_INSTALL: Final = "'thex_hf[evaluate]'"
_WHY: Final = "scoring models (thex_hf.evaluation)"

evaluate: Final[Any] = require("evaluate", install=_INSTALL, purpose=_WHY)
datasets: Final[Any] = require("datasets", install=_INSTALL, purpose=_WHY)
classification: Final[Any] = require("sklearn.metrics", install=_INSTALL, purpose=_WHY)
statistics: Final[Any] = require("scipy.stats", install=_INSTALL, purpose=_WHY)
schemes: Final[Any] = require("seqeval.scheme", install=_INSTALL, purpose=_WHY)
sequences: Final[Any] = require("seqeval.metrics", install=_INSTALL, purpose=_WHY)
evaluators: Final[Any] = require("evaluate.evaluator", install=_INSTALL, purpose=_WHY)
