"""The service's log: one JSON object a line, whoever writes it and whatever it says."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any


class JsonLines(logging.Formatter):
    """A record as a JSON object on one line, in ASCII; its fields where the message is a map."""

    def format(self, record: logging.LogRecord) -> str:
        """See :class:`logging.Formatter`."""
        fields: dict[str, Any] = {"time": self.formatTime(record), "level": record.levelname}
        if isinstance(record.msg, dict):
            fields |= record.msg
        else:
            fields |= {"event": "log", "from": record.name, "message": record.getMessage()}
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=repr)


def log_to(stream: Any = None) -> None:
    """Write all logs of this process to a stream, standard error if None.

    The service's own from ``INFO``, everybody else's from ``WARNING``; uvicorn's from ``ERROR``,
    since :mod:`thex_hf.serving.http.connection` says what it would warn of.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    levels = {"thex_hf.serving.http": logging.INFO, "uvicorn.error": logging.ERROR}
    for name, level in levels.items():
        own = logging.getLogger(name)
        own.handlers.clear()
        own.propagate = True
        own.setLevel(level)
