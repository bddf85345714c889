"""Reads durations and sizes as people write them."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache

from pgqueue.errors import InvalidOptionError, InvalidSettingError
from pgqueue.text.values import shown

LONGEST_DURATION = 365 * 86_400.0
LARGEST_WEIGHT = 1_000_000_000  # also the largest number of a limit


MB = 1024 * 1024


DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)ms)?(?:(\d+(?:\.\d+)?)s?)?",
    re.ASCII,
)


UNITS = (86_400, 3600, 60, 0.001, 1)


SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", re.ASCII | re.IGNORECASE)


def seconds(value: object, what: str, *, past: bool = True) -> float:
    """Returns a time in seconds. ``value`` is a number, a timedelta or a text such as ``90``, ``5m``, ``1h30m``, ``2d``.

    A time below 0 becomes 0. Raises InvalidOptionError if the time is not finite or is longer than a year. The error calls the value ``what``.
    If ``past`` is False, a time below 0 is an error, too.
    """
    least = -1e12 if past else 0.0
    number: object = value
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, str) and (written := _written(value)) is not None:
        number = written
    if (
        isinstance(number, bool)
        or not isinstance(number, int | float)
        or not least <= number <= LONGEST_DURATION
    ):
        raise InvalidOptionError(
            f"{what} is {shown(value)}.",
            do="give seconds, a timedelta or a text like 90s, 5m, 1h30m, a year at most"
            + ("" if past else " and not below 0"),
        )
    return max(float(number), 0.0)


@lru_cache(256)
def _written(text: str) -> float | None:
    """Returns the seconds that a text names, or None. Remembers texts, because handlers give the same few again and again."""
    match = DURATION.fullmatch(text.strip()) if text.strip() else None
    if match is None:
        return None
    return sum(float(part or 0) * unit for part, unit in zip(match.groups(), UNITS, strict=True))


def size(value: object, what: str) -> int:
    """Returns a size in bytes. ``value`` is a number or a text such as ``512M``, ``1.5GiB`` (1K is 1024).

    Raises InvalidSettingError for any other value.
    """
    match = SIZE.fullmatch(str(value).strip())
    if match is None or isinstance(value, bool):
        raise InvalidSettingError(f"{what} is {shown(value)}.", do="give a size like 512M or 1.5G")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))


def written_size(count: float) -> str:
    """Returns a number of bytes as a text such as ``512M``, ``1.5G``."""
    letters = " KMGT"
    power = max((power for power in range(len(letters)) if abs(count) >= 1024**power), default=0)
    return f"{round(count / 1024**power, 2):g}{letters[power].strip()}"
