"""When a schedule fires: cron expressions, intervals and single times, also over changes of the clock. Pure.

An expression names wall-clock times of a time zone. Where clocks change, these times follow the rules of Debian's cron:

* Times of day (neither the minute nor the hour begins with ``*``) happen once a day. If the clocks skip a time, it fires at
  the moment of the jump. If the clocks repeat a time, it fires the first time. So ``30 2 * * *`` fires at 03:00 if
  02:30 is skipped, and at the first 02:30 if there are two.
* Intervals (the minute or the hour begins with ``*``) follow elapsed time: every real minute that fits fires. So
  ``*/15 * * * *`` fires each quarter of an hour, through skipped and repeated hours alike.

``every`` counts seconds from its anchor and knows no clock but UTC.
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
from pgqueue.text.nearest import guess
from pgqueue.text.values import shown

END = datetime(3000, 1, 1, tzinfo=UTC)  # the database takes no later time
DAY, MINUTE = 86_400, timedelta(minutes=1)
EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - a wall-clock time; only for a first look at an expression
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
LOCAL = re.compile(r"localtime|posixrules|Factory|posix/.*|right/.*")  # these names differ from host to host


class Timing(Protocol):
    """When something fires."""

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The fire times later than ``moment``, in order, in UTC."""
        ...

    def remark(self, at: datetime, /) -> str:
        """What a change of the clocks on the day of this fire time does, in words; nearly always empty."""
        ...


def zone(name: object) -> ZoneInfo:
    """The time zone of an IANA name; raises InvalidScheduleError with near names."""
    if isinstance(name, str) and len(name) <= 64 and ZONE.fullmatch(name) and not LOCAL.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            pass  # a folder of zones, such as Europe, is an OSError
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
        """Wall-clock times that the expression names, in whole minutes, as if no clock ever changed."""
        return iter(CronSim(self.expression, after))

    def _daily(self, moment: datetime) -> Iterator[datetime]:
        last = moment
        for wall in self._walls(_wall(moment, self.tz)):
            at = self._instant(wall)
            if at > last:  # several times in one skipped hour fire once
                last = at
                yield at

    def _elapsed(self, moment: datetime) -> Iterator[datetime]:
        start, offset = _wall(moment, self.tz), _offset(moment, self.tz)
        seen, change = moment, None  # ``change``: the first change of the clocks until ``seen``
        while True:
            for wall in self._walls(start):
                at = (wall - offset).replace(tzinfo=UTC)
                if at >= END:
                    return
                if change is None and at > seen:
                    ahead = at + timedelta(days=1)
                    seen, change = ahead, _change(seen, ahead, self.tz)
                if change is not None and at >= change:
                    # From this change on, the clock has another offset.
                    start, offset = _wall(change, self.tz) - MINUTE, _offset(change, self.tz)
                    seen, change = change, None
                    break
                yield at
            else:
                return

    def _instant(self, wall: datetime) -> datetime:
        """The moment at which a time of day happens. If the clocks repeat the time, the first moment; if they skip it, the moment of the jump."""
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
    """An interval, counted from its anchor. If the anchor is in the future, it is the first fire time."""

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
    """The expression in capitals; raises InvalidScheduleError, which names the wrong field."""
    text = ALIASES.get(expression.strip().lower(), expression)
    fields = text.upper().split()
    if len(fields) != len(FIELDS):
        more = "seconds are not among them: use every for less than a minute" if len(fields) > 5 else ""
        raise InvalidScheduleError(
            f"{shown(expression)} has {len(fields)} fields instead of five.", why=more, do=HOW
        )
    text = " ".join(fields)
    try:
        first = next(CronSim(text, EPOCH), None)
    except CronSimError as error:
        name = str(error).removeprefix("Bad ")
        value = fields[FIELDS.index(name)] if name in FIELDS else expression
        raise InvalidScheduleError(
            f"{shown(value)} is no {name} of a cron expression ({shown(expression)}).", do=HOW
        ) from None
    if first is None:
        raise InvalidScheduleError(
            f"{shown(expression)} never fires.", why="no year has such a day", do="correct day and month"
        )
    return text


HOW = "write minute, hour, day-of-month, month, day-of-week, such as '0 9 * * MON-FRI', or @hourly, @daily, @weekly, @monthly, @yearly"


def _offset(moment: datetime, tz: ZoneInfo) -> timedelta:
    return moment.astimezone(tz).utcoffset() or timedelta()


def _wall(moment: datetime, tz: ZoneInfo) -> datetime:
    return moment.astimezone(tz).replace(tzinfo=None, fold=0)


def _change(after: datetime, until: datetime, tz: ZoneInfo) -> datetime | None:
    """The first moment in (after, until] at which the clocks differ from those at ``after``."""

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
