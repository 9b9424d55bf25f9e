"""Logs as JSON lines on standard error, which is where containers and the local platform pick them up."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import orjson


class JsonLines(logging.Formatter):
    """One JSON object a record; the access log's lines are JSON already and pass as they are."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        if record.name == "stacyard.access":
            return record.getMessage()
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


def log_to_standard_error() -> None:
    """Send what stacyard logs to standard error; called by a process that serves. A second call changes nothing."""
    logger = logging.getLogger("stacyard")
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
