"""Formats log records as JSON, one object a line. The standard library suffices for this, so pgqueue needs no package for it."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from textwrap import dedent

from pgqueue.telemetry.job_context import context_fields
from pgqueue.text.values import shown

# What every record has, and what formatters and other handlers add to it: these are no fields of the event.
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# JSON allows these characters in a text, but some of them end a line, and others hide or reorder text.
ACTING = re.compile(
    "[\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)

ENCODER = json.JSONEncoder(default=shown, ensure_ascii=False, allow_nan=False)


class JsonFormatter(logging.Formatter):
    """Formats each record as one line of JSON: time, level, logger, event, message, and its fields. Times are in UTC (RFC 3339).

    It works for every logger. Records that are written while a job runs have the fields of the job, also if no filter has set them.
    """

    def format(self, record: logging.LogRecord) -> str:
        given = {name: value for name, value in vars(record).items() if name not in STANDARD}
        said: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": given.pop("event", None),
            "message": record.getMessage(),
            **context_fields(),
        }
        said |= {
            name: value
            for name, value in given.items()
            if value is not None and name not in ("time", "level", "logger", "message")
        }
        if record.exc_text or record.exc_info:
            said["exception"] = dedent(record.exc_text or self.formatException(record.exc_info))  # type: ignore[arg-type]
        if record.stack_info:
            said["stack_info"] = record.stack_info
        return json_line({name: value for name, value in said.items() if value is not None})


def json_line(value: dict[str, object]) -> str:
    """Returns the value as JSON on one line. No character in it acts on a terminal or ends the line."""
    try:
        text = _json(value)
    except (TypeError, ValueError, RecursionError):
        text = (
            "{" + ", ".join(f"{_json(str(name))}: {_json_or_text(one)}" for name, one in value.items()) + "}"
        )
    return text if text.isascii() and "\x7f" not in text else ACTING.sub(_escaped, text)


def _json(value: object) -> str:
    return ENCODER.encode(value)


def _json_or_text(value: object) -> str:
    """Returns the value as JSON, or as a text if JSON has no such value: NaN, a key that is no text, or a value within itself."""
    try:
        return _json(value)
    except (TypeError, ValueError, RecursionError):
        return _json(shown(value))


def _escaped(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1] if found[0] != "\x7f" else "\\u007f"
