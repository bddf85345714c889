"""Finds the times at which a schedule fires: by a cron expression, an interval or a single time. This module does no I/O.

A cron expression means times on the clocks of a time zone. If these clocks change (to summer time, for example), pgqueue follows the rules of
Debian's cron:

* If neither the minute nor the hour begins with ``*``, the expression means times of day. On each day that fits, the schedule fires
  once at each of these times. If the clocks skip such a time, the schedule fires at the moment of the jump. If the clocks show the time
  twice, the schedule fires only when they show it first. So ``30 2 * * *`` fires at 03:00 on a day without 02:30, and at the first 02:30 on
  a day with two.
* If the minute or the hour begins with ``*``, the expression means an interval. The schedule fires in every real minute that fits. So
  ``*/15 * * * *`` fires after each quarter of an hour of real time, even if the clocks skip an hour or show it twice.

``every`` counts real seconds from its anchor, so changes of clocks do not matter to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from pgqueue.errors import InvalidScheduleError
from pgqueue.text.counted import count
from pgqueue.text.nearest import guess
from pgqueue.text.values import shown

END = datetime(3000, 1, 1, tzinfo=UTC)  # the database refuses this time and later ones
DAY, MINUTE = 86_400, timedelta(minutes=1)
# An expression never fires if no time after EPOCH fits it.
EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - a time without a zone
ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")
ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*", re.ASCII)
# Names of zones that are refused, because the zone that such a name means differs from host to host.
LOCAL = re.compile(r"localtime|posixrules|Factory|posix/.*|right/.*")


class Timing(Protocol):
    """The fire times of a schedule."""

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Returns the fire times after ``moment``, in order, in UTC."""
        ...

    def remark(self, at: datetime, /) -> str:
        """Returns a sentence for people if the clocks change on the day of this fire time. On nearly all days it is empty."""
        ...


def zone(name: object) -> ZoneInfo:
    """Returns the time zone with this IANA name. If there is none, raises InvalidScheduleError, which suggests similar names."""
    if isinstance(name, str) and len(name) <= 64 and ZONE.fullmatch(name) and not LOCAL.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            pass  # the name of a folder of zones, such as Europe, raises OSError
    raise InvalidScheduleError(
        f"{shown(name)} is no time zone.",
        do=guess(str(name), available_timezones(), "give an IANA name, such as Europe/Warsaw or UTC"),
    )


class Cron:
    """A cron expression in a time zone."""

    def __init__(self, expression: str, tz: ZoneInfo) -> None:
        self.expression, self.tz = _checked(expression), tz
        minute, hour, *_ = self.expression.split()
        self.is_interval = minute.startswith("*") or hour.startswith("*")

    def after(self, moment: datetime) -> Iterator[datetime]:
        found = self._elapsed(moment) if self.is_interval else self._daily(moment)
        for at in found:
            if at >= END:
                return
            yield at

    def _walls(self, after: datetime) -> Iterator[datetime]:
        """Returns the times that fit the expression, in whole minutes, as if the clocks never changed."""
        return iter(CronSim(self.expression, after))

    def _daily(self, moment: datetime) -> Iterator[datetime]:
        last = moment
        for wall in self._walls(_wall(moment, self.tz)):
            at = self._instant(wall)
            # If several times fall into one skipped hour, ``at`` is the moment of the jump for all of them. Only the first of them fires.
            if at > last:
                last = at
                yield at

    def _elapsed(self, moment: datetime) -> Iterator[datetime]:
        start, offset = _wall(moment, self.tz), _offset(moment, self.tz)
        # Changes of the clocks have been searched for up to ``seen``. ``change`` is the next change that was found, or None.
        seen, change = moment, None
        while True:
            for wall in self._walls(start):
                at = (wall - offset).replace(tzinfo=UTC)
                if at >= END:
                    return
                if change is None and at > seen:
                    ahead = at + timedelta(days=1)
                    seen, change = ahead, _change(seen, ahead, self.tz)
                if change is not None and at >= change:
                    # From this change on, the clocks have another offset, so the times that fit are computed again.
                    start, offset = _wall(change, self.tz) - MINUTE, _offset(change, self.tz)
                    seen, change = change, None
                    break
                yield at
            else:
                return

    def _instant(self, wall: datetime) -> datetime:
        """Returns the first moment at which the clocks show ``wall``. If the clocks skip that time, returns the moment of the jump."""
        first = wall.replace(tzinfo=self.tz, fold=0).astimezone(UTC)
        if _wall(first, self.tz) == wall:
            return first
        before = wall.replace(tzinfo=self.tz, fold=1).astimezone(UTC)
        return _change(before, first, self.tz) or first

    def remark(self, at: datetime) -> str:
        wall = _wall(at, self.tz)
        midnight = wall.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=self.tz)
        change = _change(
            midnight.astimezone(UTC) - MINUTE, (midnight + timedelta(days=1)).astimezone(UTC), self.tz
        )
        if change is None:
            return ""
        new, old = _wall(change, self.tz), change.replace(tzinfo=None) + _offset(change - MINUTE, self.tz)
        said = f"clocks go from {old:%H:%M} to {new:%H:%M} that day"
        if self.is_interval:
            return said
        if at == change and new > old and next(self._walls(old - MINUTE)) < new:
            return f"{said}: a skipped time fires when they jump"
        if _wall(at + (old - new), self.tz) == wall and new < old:
            return f"{said}: a repeated time fires the first time"
        return said


class Every:
    """A fixed interval. The anchor is a fire time. If the anchor is still to come, it is the first fire time."""

    def __init__(self, seconds: float, anchor: datetime) -> None:
        self.interval, self.anchor = timedelta(seconds=seconds), anchor

    def after(self, moment: datetime) -> Iterator[datetime]:
        turn = max((moment - self.anchor) // self.interval + 1, 0)
        while (at := self.anchor + turn * self.interval) < END:
            yield at
            turn += 1

    def remark(self, _at: datetime) -> str:
        return ""


class Once:
    """A single time."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def after(self, moment: datetime) -> Iterator[datetime]:
        return iter([self.at] if self.at > moment else [])

    def remark(self, _at: datetime) -> str:
        return ""


def _checked(expression: object) -> str:
    if not isinstance(expression, str) or not expression.isascii() or len(expression) > 255:
        raise InvalidScheduleError(f"{shown(expression)} is no cron expression.", do=HOW)
    return _five_fields(expression)


@lru_cache(1024)
def _five_fields(expression: str) -> str:
    """Returns the expression in capitals. If it is wrong, raises InvalidScheduleError, which says which field is wrong."""
    text = ALIASES.get(expression.strip().lower(), expression)
    fields = text.upper().split()
    if len(fields) != len(FIELDS):
        more = (
            "a cron expression has no seconds; for less than a minute, use every" if len(fields) > 5 else ""
        )
        raise InvalidScheduleError(
            f"{shown(expression)} has {count(len(fields), 'field')} instead of five.", why=more, do=HOW
        )
    text = " ".join(fields)
    try:
        first = next(CronSim(text, EPOCH), None)
    except CronSimError as error:
        name = str(error).removeprefix("Bad ")
        if name == "day-of-month" and _is_correct(" ".join([*fields[:3], "*", fields[4]])):
            raise _never_fires(expression) from None  # the day is right in other months
        value = fields[FIELDS.index(name)] if name in FIELDS else expression
        raise InvalidScheduleError(
            f"{shown(value)} is no {name} of a cron expression ({shown(expression)}).", do=HOW
        ) from None
    if first is None:
        raise _never_fires(expression)
    return text


def _is_correct(fields: str) -> bool:
    try:
        CronSim(fields, EPOCH)
    except CronSimError:
        return False
    return True


def _never_fires(expression: str) -> InvalidScheduleError:
    return InvalidScheduleError(
        f"{shown(expression)} never fires.",
        why="none of its months has such a day, in any year",
        do="correct day-of-month and month",
    )


HOW = "write minute, hour, day-of-month, month, day-of-week, such as '0 9 * * MON-FRI', or @hourly, @daily, @weekly, @monthly, @yearly"


def _offset(moment: datetime, tz: ZoneInfo) -> timedelta:
    return moment.astimezone(tz).utcoffset() or timedelta()


def _wall(moment: datetime, tz: ZoneInfo) -> datetime:
    return moment.astimezone(tz).replace(tzinfo=None, fold=0)


def _change(after: datetime, until: datetime, tz: ZoneInfo) -> datetime | None:
    """Returns the first moment in (after, until] at which the clocks have another offset than at ``after``. None: there is none."""

    def offset(second: int) -> timedelta | None:
        return datetime.fromtimestamp(second, tz).utcoffset()

    low, end = int(after.timestamp()), int(until.timestamp())
    known = offset(low)
    while low < end:
        high = min(low + DAY, end)
        if offset(high) != known:
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if offset(middle) != known else (middle, high)
            return datetime.fromtimestamp(high, UTC)
        low = high
    return None
