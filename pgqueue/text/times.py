"""Writes times for people, with their units."""

from __future__ import annotations

from datetime import UTC, datetime

UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def ago(moment: datetime | None) -> str:
    """Returns ``1.1 s ago`` for a time in the past, ``in 5 m`` for a time in the future."""
    if moment is None:
        return ""
    seconds = since(moment)
    return f"in {span(-seconds)}" if seconds < 0 else f"{span(seconds)} ago"


def since(moment: datetime) -> float:
    """Returns the seconds from this moment until now."""
    return (datetime.now(UTC) - moment).total_seconds()


def span(seconds: float | None) -> str:
    """Returns a duration, rounded to one unit: ``1.1 s``, ``42 s``, ``2 m``, ``3 h``, ``5 d``."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{round(seconds, 1):g} s"
    for unit, size, below in (("s", 1, 59.5), ("m", 60, 7200), ("h", 3600, 172_800)):
        if seconds < below:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:,.0f} d"


def exact(seconds: float) -> str:
    """Returns a duration, exact to the millisecond, in as many units as needed: ``250 ms``, ``1 m 30 s``."""
    thousandths = round(seconds * 1000)
    if thousandths < 1000:
        return f"{thousandths} ms" if thousandths else "0 s"
    parts = []
    for unit, size in UNITS[:-1]:
        number, thousandths = divmod(thousandths, size * 1000)
        parts += [f"{number} {unit}"] if number else []
    parts += [f"{thousandths / 1000:g} s"] if thousandths else []
    return " ".join(parts)
