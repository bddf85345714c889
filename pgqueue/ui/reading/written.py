"""Writes values of pages as text, for every way to show a page. All text is cleaned of characters that could control a terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from pgqueue.model.units import written_size
from pgqueue.text.shown import visible
from pgqueue.text.times import ago, span
from pgqueue.ui.reading.page import Count, Document, Kind

LONGEST = 400  # characters of a cell
BEGINNING = 64 * 1024  # characters of a document that people see at once
# The mark of each word for a state. Words without a mark of their own get the shape of another state, or a plain square.
MARKS = {
    **{name: name for name in ("pending", "scheduled", "running", "retrying", "waiting", "completed", "cancelled", "dead", "paused")},
    **{name: name for name in ("warn", "error", "info")},
    "ok": "completed", "on": "running", "new": "scheduled", "over": "completed", "problem": "error", "enqueued": "completed",
    "skipped": "cancelled", "missed": "warn", "duplicate": "cancelled", "draining": "waiting", "stopped": "cancelled", "expired": "dead",
    "blocked": "error", "no worker": "error", "full": "waiting", "open": "error", "muted": "paused", "resolved": "completed",
    "failed": "dead", "stopping": "cancelled", "undoing": "retrying", "undone": "cancelled", "undo_failed": "dead",
}  # fmt: skip


def cell(value: object, kind: Kind) -> str:
    """Returns a value as a person reads it in a table, on one line. Empty for None."""
    if value is None or value == "":
        return ""
    text = _written(value, kind)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _written(value: object, kind: Kind) -> str:
    if isinstance(value, datetime):
        text = ago(value) if kind == "time" else value.astimezone(UTC).isoformat()
    elif isinstance(value, Count):
        text = rounded(value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and kind in NUMBERS:
        text = NUMBERS[kind](value)
    elif kind == "list" and isinstance(value, Iterable) and not isinstance(value, str):
        text = ", ".join(map(str, value))
    elif kind == "json":
        text = json.dumps(value, ensure_ascii=False, default=str)
    else:
        text = str(value)
    return visible(text)


def duration(seconds: float) -> str:
    """Returns a duration rounded to one unit, from ``0.4 ms`` to ``5 d``."""
    if 0 < abs(seconds) < 0.9995:
        return f"{seconds * 1000:.{0 if abs(seconds) >= 0.00995 else 1}f} ms"
    return span(seconds)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


NUMBERS: dict[Kind, Callable[[float], str]] = {
    "id": str,
    "number": _number,
    "count": _number,
    "duration": duration,
    "share": lambda value: f"{100 * min(max(value, 0), 99):.0f} %",
    "size": lambda value: written_size(value) + "B" if value >= 1024 else f"{value:.0f} B",
}


def rounded(value: Count) -> str:
    """Returns an exact number with all its digits, and an estimate with two: ``≈ 920,000``."""
    if value.is_exact or value.number < 10:
        return f"{value.number:,}" if value.is_exact else f"≈ {value.number}"
    unit = 10 ** (math.floor(math.log10(value.number)) - 1)
    return f"≈ {round(value.number / unit) * unit:,}"


def short(value: object) -> str:
    """Returns a number for a small space: in full up to 999,999, and then as ``1.23 M``."""
    count = value if isinstance(value, Count) else Count(int(value)) if isinstance(value, int) else None
    if count is None or count.number < 1_000_000:
        return cell(value, "count")
    size, unit = next(
        (size, unit) for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")) if count.number >= size
    )
    return ("" if count.is_exact else "≈ ") + f"{count.number / size:.{2 if count.is_exact else 1}f} {unit}"


def moment(value: datetime) -> str:
    """Returns a time with its date, for the tip over a relative time: ``2026-11-30 15:04:05.123 UTC``."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"


def document(value: object) -> str:
    """Returns JSON for people, over several lines."""
    return visible(json.dumps(value, ensure_ascii=False, indent=2, default=str), lines=True)


def beginning(block: Document) -> tuple[str, bool]:
    """Returns the first BEGINNING characters of a document as people read it, and whether it has more."""
    text = document(block.value) if block.text is None else visible(block.text, lines=True)
    return text[:BEGINNING], len(text) > BEGINNING


def mark(word: object) -> str:
    """Returns the name of the mark that stands beside a word for a state."""
    return MARKS.get(str(word), "other")
