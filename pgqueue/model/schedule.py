"""A schedule, from code or from SQL, and the plan that says which of its fire times need a job now. This module does no I/O."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any, Literal, NamedTuple

from pgqueue.errors import InvalidScheduleError, PgQueueError
from pgqueue.model.fire_times import END, Cron, Every, Once, Timing, zone
from pgqueue.model.names import check_free, check_name
from pgqueue.model.units import LONGEST_DURATION, seconds
from pgqueue.text.nearest import rather
from pgqueue.text.values import shown

Overlap = Literal["queue", "skip", "cancel-old", "allow"]
Missed = Literal["once", "skip", "all"]
OVERLAPS: tuple[Overlap, ...] = ("queue", "skip", "cancel-old", "allow")
MISSED: tuple[Missed, ...] = ("once", "skip", "all")
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)  # the database refuses earlier times
MOST_MISSED = 1000  # the largest missed_cap: at most this many missed fire times can get a job later
# A schedule cannot have these options: its fire times say when a job runs, and each fire time enqueues only once anyway.
NOT_FOR_SCHEDULES = frozenset({"run_at", "idempotency_key", "idempotency_ttl"})


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A schedule. Exactly one of ``cron``, ``every`` (seconds) and ``at`` says when it fires. ``args`` is JSON text."""

    name: str
    task: str
    cron: str | None = None
    every: float | None = None
    at: datetime | None = None
    anchor: datetime | None = None
    tz: str = "UTC"
    overlap: str = "queue"
    missed: str = "once"
    missed_cap: int = 100
    jitter: float = 0.0
    args: str = "{}"
    options: Mapping[str, object] = field(default_factory=dict)

    def timing(self) -> Timing:
        """Returns the fire times. Raises InvalidScheduleError if a value is wrong."""
        tz = zone(self.tz)
        if self.cron is not None:
            return Cron(self.cron, tz)
        if self.every is not None:
            if not 1 <= self.every <= LONGEST_DURATION:
                raise InvalidScheduleError(
                    f"every is {self.every:g} s.", do="give from one second to 365 days"
                )
            return Every(self.every, self.anchor or BEGINNING)
        assert self.at is not None
        return Once(self.at)

    def check(self) -> Timing:
        """Checks the schedule and returns its timing. Raises a PgQueueError that says which value is wrong."""
        check_name("schedule", self.name)
        check_free(self.task)
        if sum(value is not None for value in (self.cron, self.every, self.at)) != 1:
            raise InvalidScheduleError(
                f"Schedule {self.name} does not say when it fires, or says it twice.",
                do="give one of cron, every and at",
            )
        for name, value in (("at", self.at), ("anchor", self.anchor)):
            if value is not None and not _is_moment(value):
                raise InvalidScheduleError(
                    f"{name} is {shown(str(value))}.",
                    do="give a time with its zone, from year 2000 to 2999",
                )
        for name, text, known in (("overlap", self.overlap, OVERLAPS), ("missed", self.missed, MISSED)):
            if text not in known:
                raise InvalidScheduleError(f"{name} is {shown(text)}.", do=rather(text, known))
        if not isinstance(self.missed_cap, int) or not 1 <= self.missed_cap <= MOST_MISSED:
            raise InvalidScheduleError(
                f"missed_cap is {shown(self.missed_cap)}.", do=f"give from 1 to {MOST_MISSED}"
            )
        if not 0 <= self.jitter <= 86_400:
            raise InvalidScheduleError(f"jitter is {self.jitter:g} s.", do="give from 0 to a day")
        _check_options(self.options)
        return self.timing()

    def fires(self) -> str:
        """Returns a text for people that says when it fires: ``0 9 * * MON``, ``every 5m``, ``at 2030-01-01 09:00+00:00``."""
        if self.cron is not None:
            return self.cron
        return f"every {duration(self.every)}" if self.every is not None else f"at {self.at}"

    def as_row(self) -> dict[str, object]:
        """Returns the columns of pgqueue.schedules that define the schedule, with values for JSON."""
        row = {name: getattr(self, name) for name in COLUMNS}
        for name in ("at", "anchor"):
            row[name] = None if row[name] is None else row[name].astimezone(UTC).isoformat()
        return {**row, "args": json.loads(self.args), "options": dict(self.options)}


COLUMNS = tuple(Schedule.__dataclass_fields__)


def _is_moment(value: object) -> bool:
    return isinstance(value, datetime) and value.tzinfo is not None and BEGINNING <= value < END


def _check_options(options: object) -> None:
    from pgqueue.model import options as rules  # noqa: PLC0415 - it imports pydantic, which is slow, and most commands of `pgq` need no pydantic
    from pgqueue.model import unique  # noqa: PLC0415

    if not isinstance(options, Mapping):
        raise InvalidScheduleError(f"options is {shown(options)}.", do="give an object of enqueue's options")
    if unfit := NOT_FOR_SCHEDULES.intersection(options):
        raise InvalidScheduleError(
            f"A schedule takes no {', '.join(sorted(unfit))}.",
            why="its fire times say when each job runs, and each fire time enqueues only once",
            do="use jitter, overlap and missed",
        )
    if wrong := rules.unknown(options):
        raise InvalidScheduleError(f"A schedule has no option {wrong}.", do="use enqueue's options")
    unique.checked_together(rules.options(**options))


def make(
    name: str,
    task: str,
    *,
    cron: str | None = None,
    every: float | str | timedelta | None = None,
    jitter: float | str | timedelta = 0,
    **rest: Any,
) -> Schedule:
    """Makes a schedule and checks it. Durations can have any form, such as "5m". Raises a PgQueueError that says which value is wrong."""
    try:
        made = Schedule(
            name=name, task=task, cron=cron, every=None if every is None else seconds(every, "every"),
            jitter=seconds(jitter, "jitter"), **rest,
        )  # fmt: skip
    except TypeError as error:
        raise InvalidScheduleError(f"A schedule cannot be made of these values: {error}.") from None
    made.check()
    return made


def fingerprint(declared: list[Schedule]) -> str:
    """Returns a hash of the schedules. It does not depend on their order."""
    text = json.dumps(sorted((one.as_row() for one in declared), key=lambda row: row["name"]), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def duration(value: float | None) -> str:
    """Returns seconds as a text such as ``1h30m``, which ``every`` also accepts."""
    if value is None:
        return ""
    left, parts = float(value), []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        count, left = divmod(left, size)
        parts.append(f"{count:g}{unit}" if count else "")
    return "".join(parts) + (f"{left:g}s" if left or not any(parts) else "")


class Plan(NamedTuple):
    """The work for one schedule now. ``fires``: the fire times that get a job now. ``following``: the next fire time (None: never again).

    ``due``: for each of ``fires``, the ``run_at`` of its job (None: immediately). ``passed_over``: the last past fire time, if no past
    fire time gets a job. ``missed_since``: the first missed fire time, if it gets no job of its own. In that case, the job of ``fires[0]``
    (if ``fires`` is not empty) also stands for all fire times since ``missed_since``.
    """

    fires: Sequence[datetime] = ()
    due: Sequence[datetime | None] = ()
    missed_since: datetime | None = None
    passed_over: datetime | None = None
    following: datetime | None = None


def plan(
    schedule: Schedule,
    now: datetime,
    *,
    next_at: datetime | None,
    edited_at: datetime,
    over: bool,
    grace: float,
) -> Plan:
    """Plans the work for one schedule. ``next_at``: its next fire time, if it is known. ``over``: whether the fire time ``at`` was handled.

    A fire time that is at most ``grace`` seconds ago is late, not missed. If the first past fire time is missed, the schedule's policy
    ``missed`` decides about all past fire times. So with "once" or "skip", however many fire times are past, at most one gets a job.
    """
    timing = schedule.check()
    first = next_at or _first(schedule, timing, edited_at, over)
    if first is None or first > now:
        return Plan(following=first)
    following = next(timing.after(now), None)
    margin = timedelta(seconds=grace)
    if now - first <= margin:
        fires, missed_since, passed_over = [first, *_until(timing, first, now)], None, None
    else:
        wanted = schedule.missed_cap if schedule.missed == "all" else 1
        fires, missed_since, passed_over = _latest(timing, first, now, wanted), first, None
        if schedule.missed == "skip" and now - fires[-1] > margin:
            fires, passed_over = [], fires[-1]
        if fires and fires[0] == first:
            missed_since = None
    due = [_due(schedule, at) for at in fires]
    return Plan(fires, due, missed_since, passed_over, following)


def _due(schedule: Schedule, at: datetime) -> datetime | None:
    return at + timedelta(seconds=jitter(schedule.name, at, schedule.jitter)) if schedule.jitter else None


def _first(schedule: Schedule, timing: Timing, edited_at: datetime, over: bool) -> datetime | None:
    if schedule.at is not None:
        return None if over else schedule.at
    return next(timing.after(edited_at), None)


def _until(timing: Timing, after: datetime, now: datetime) -> Iterator[datetime]:
    return takewhile(lambda at: at <= now, timing.after(after))


def _latest(timing: Timing, first: datetime, now: datetime, count: int) -> list[datetime]:
    """Returns the last ``count`` fire times from ``first`` to ``now``. Looks back from ``now``, because ``first`` can be years ago."""
    span = timedelta(minutes=2)
    while now - span > first:
        found = list(_until(timing, now - span, now))
        if len(found) >= count:
            return found[-count:]
        span *= 4
    return [first, *_until(timing, first, now)][-count:]


def jitter(name: str, at: datetime, most: float) -> float:
    """Returns a number of seconds from 0 to ``most``. It differs between schedules, but is the same on every host for a given fire time."""
    digest = hashlib.sha256(f"{name}\n{at.timestamp():.6f}".encode()).digest()
    return most * int.from_bytes(digest[:6], "big") / 2**48


def problem(error: Exception) -> str:
    """Returns the text of an error for the column ``problem`` of pgqueue.schedules."""
    if not isinstance(error, PgQueueError):
        return f"{type(error).__name__}: {error!s:.500}"
    return " ".join(filter(None, (error.what, error.why and f"{error.why};", error.do)))
