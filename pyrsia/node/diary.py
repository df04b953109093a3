"""The node's own diary on standard error: a line for eyes, or one JSON object a line for machines.

It is not the transparency log. What strangers wrote is made harmless before it is printed.
"""

import logging
import sys
from typing import Any

import msgspec

from pyrsia import config
from pyrsia.wire.text import safe


class _Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "part": record.name,
            "says": record.getMessage(),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class _Plain(logging.Formatter):
    """A line for eyes; what strangers wrote is made harmless."""

    def format(self, record: logging.LogRecord) -> str:
        said = safe(record.getMessage())
        line = f"{self.formatTime(record)} {record.levelname.lower():<7} {record.name}: {said}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def start(section: config.LogSection) -> None:
    """Write records of this process to standard error, as `section` says."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if section.format == "json" else _Plain())
    logging.basicConfig(level=section.level.upper(), handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line a request says nothing to an operator
    logging.getLogger("httpcore").setLevel(logging.WARNING)
