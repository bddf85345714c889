"""Computed fire times are compared with the result of a walk through every minute. The time zones change their clocks in very different ways."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, pairwise, takewhile
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgqueue.errors import InvalidScheduleError
from pgqueue.model.fire_times import Cron, Every, Once, zone

MINUTE, QUARTER, HOUR, DAY = (timedelta(minutes=n) for n in (1, 15, 60, 24 * 60))
# Warsaw and New York change clocks by an hour at 2 or 3. Lord Howe changes them by half an hour. Beirut changes them at midnight, so a day
# begins at 1 or has its last hour twice. Chatham has an offset of 12:45 hours.
ZONES = ["Europe/Warsaw", "America/New_York", "Australia/Lord_Howe", "Asia/Beirut", "Pacific/Chatham"]
YEAR = (datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC))


class Field(NamedTuple):
    text: str
    values: frozenset[int]


class Expression(NamedTuple):
    """A cron expression and its meaning: the values of each field."""

    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field

    @property
    def text(self) -> str:
        return " ".join(field.text for field in self)

    @property
    def is_interval(self) -> bool:
        return self.minute.text.startswith("*") or self.hour.text.startswith("*")

    def fits(self, wall: datetime) -> bool:
        if wall.minute not in self.minute.values or wall.hour not in self.hour.values:
            return False
        if wall.month not in self.month.values:
            return False
        days = wall.day in self.day.values, wall.isoweekday() % 7 in {day % 7 for day in self.weekday.values}
        both = self.day.text.startswith("*") or self.weekday.text.startswith("*")
        return all(days) if both else any(days)


def field(text: str, low: int, high: int) -> Field:
    """Returns a field with its values, from ``*``, ``*/5``, ``1,2`` or ``1-5``."""
    if text.startswith("*"):
        return Field(text, frozenset(range(low, high + 1, int(text[2:] or 1))))
    if "-" in text:
        first, last = map(int, text.split("-"))
        return Field(text, frozenset(range(first, last + 1)))
    return Field(text, frozenset(map(int, text.split(","))))


RANGES = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]


def expression(text: str) -> Expression:
    return Expression(*(field(part, *limits) for part, limits in zip(text.split(), RANGES, strict=True)))


@cache
def quarters(name: str, start: datetime, end: datetime) -> list[tuple[datetime, datetime, int]]:
    """Returns each quarter of an hour in UTC, with its local time and the fold of the local time. Within a quarter, these zones never change their clocks."""
    tz = ZoneInfo(name)
    count = (end - start) // QUARTER
    moments = [(at, at.astimezone(tz)) for at in (start + n * QUARTER for n in range(-1, count + 1))]
    return [(at, local.replace(tzinfo=None, fold=0), local.fold) for at, local in moments]


def walk(wanted: Expression, name: str, start: datetime, end: datetime) -> list[datetime]:
    """Returns the fire times in (start, end]. They are found by checking every minute, also the minutes that the clocks skip."""
    found: list[datetime] = []
    expected = None  # the local time now, if the clocks were not changed
    is_interval, hours = wanted.is_interval, wanted.hour.values
    for at, wall, fold in quarters(name, start, end):
        skipped = []
        if expected is not None and wall != expected:
            skipped = [expected + n * MINUTE for n in range((wall - expected) // MINUTE)]
        moved = not is_interval and any(map(wanted.fits, skipped))
        repeated = not is_interval and fold
        expected = wall + QUARTER
        for n in range(15) if moved or wall.hour in hours else ():
            fits = not repeated and wall.minute + n in wanted.minute.values and wanted.fits(wall + n * MINUTE)
            if (fits or (moved and n == 0)) and start < at + n * MINUTE <= end:
                found.append(at + n * MINUTE)
    return found


def between(cron: Cron, start: datetime, end: datetime) -> list[datetime]:
    return list(takewhile(lambda at: at <= end, cron.after(start)))


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    some = st.integers(low, high)
    return st.one_of(
        some.map(str),
        st.lists(some, min_size=1, max_size=4).map(lambda them: ",".join(map(str, sorted(set(them))))),
        st.tuples(some, some).map(lambda pair: f"{min(pair)}-{max(pair)}"),
        st.integers(1, max(high // 2, 1)).map(lambda step: f"*/{step}"),
        st.just("*"),
    )


expressions = st.tuples(
    numbers(0, 59), numbers(0, 4), st.just("*") | numbers(1, 31), st.just("*"), st.just("*") | numbers(0, 6)
).map(lambda parts: expression(" ".join(parts)))


def changed(tz: ZoneInfo, start: datetime, step: timedelta, count: int) -> list[datetime]:
    """Returns the ends of those of the ``count`` steps after ``start`` in which the clocks are changed."""
    offsets = [(at, at.astimezone(tz).utcoffset()) for at in (start + n * step for n in range(count + 1))]
    return [at for (_, before), (at, offset) in pairwise(offsets) if offset != before]


@cache
def changes(name: str) -> list[datetime]:
    tz = ZoneInfo(name)
    days = changed(tz, datetime(2026, 1, 1, tzinfo=UTC), DAY, 3 * 365)
    return [hour for day in days for hour in changed(tz, day - DAY, HOUR, 24)]


@settings(max_examples=150, deadline=None)
@given(wanted=expressions, data=st.data())
def test_computed_fire_times_equal_the_fire_times_of_the_walk_near_a_change_of_the_clocks(wanted, data):
    name = data.draw(st.sampled_from(ZONES))
    start = data.draw(st.sampled_from(changes(name))) - timedelta(hours=30)
    end = start + timedelta(hours=60)
    found = between(Cron(wanted.text, zone(name)), start, end)
    assert found == walk(wanted, name, start, end)


@settings(max_examples=100, deadline=None)
@given(wanted=expressions, data=st.data())
def test_the_fire_times_do_not_depend_on_the_moment_from_which_they_are_computed(wanted, data):
    """If a scheduler computes each fire time from the fire time before, it loses no fire time and has no fire time twice."""
    name = data.draw(st.sampled_from(ZONES))
    middle = data.draw(st.sampled_from(changes(name)))
    start, end = middle - timedelta(hours=12), middle + timedelta(hours=12)
    cron = Cron(wanted.text, zone(name))
    whole = between(cron, start, end)
    moment = start + timedelta(seconds=data.draw(st.floats(0, 86_400)))
    assert between(cron, moment, end) == [at for at in whole if at > moment]
    one_by_one = [next(cron.after(at)) for at in whole[:50]]
    assert one_by_one[: len(whole) - 1] == whole[1:51]


@pytest.mark.parametrize("name", ZONES)
def test_computed_fire_times_of_a_year_equal_the_fire_times_of_the_walk(name):
    start, end = YEAR
    found = {}
    for text in ("30 2 * * *", "0 0 * * *", "0 */2 * * *", "15,45 0,1,2,3,23 1-7 * 0"):
        found[text] = between(Cron(text, zone(name)), start, end)
        assert found[text] == walk(expression(text), name, start, end), text
    days = [at.astimezone(zone(name)).date() for at in found["30 2 * * *"]]
    assert len(days) == len(set(days)) == 365


@pytest.mark.parametrize("name", ZONES)
def test_an_expression_for_every_15_minutes_fires_each_quarter_also_when_the_clocks_change(name):
    for change in changes(name)[:2]:
        start, end = change - timedelta(days=3), change + timedelta(days=3)
        found = between(Cron("*/15 * * * *", zone(name)), start, end)
        assert found == walk(expression("*/15 * * * *"), name, start, end)
        assert {two - one for one, two in pairwise(found)} == {QUARTER}


def local(text: str, name: str, start: str, count: int = 3) -> list[str]:
    fires = Cron(text, zone(name)).after(datetime.fromisoformat(start))
    return [at.astimezone(zone(name)).isoformat(timespec="minutes") for at in islice(fires, count)]


def test_clock_changes_move_fire_times_as_the_documentation_says():
    assert local("30 2 * * *", "Europe/Warsaw", "2027-03-26T12:00+01:00") == [
        "2027-03-27T02:30+01:00", "2027-03-28T03:00+02:00", "2027-03-29T02:30+02:00",
    ]  # fmt: skip
    assert local("30 2 * * *", "Europe/Warsaw", "2027-10-30T12:00+02:00") == [
        "2027-10-31T02:30+02:00", "2027-11-01T02:30+01:00", "2027-11-02T02:30+01:00",
    ]  # fmt: skip
    assert local("30 * * * *", "Europe/Warsaw", "2027-03-28T01:00+01:00") == [
        "2027-03-28T01:30+01:00", "2027-03-28T03:30+02:00", "2027-03-28T04:30+02:00",
    ]  # fmt: skip
    assert local("30 * * * *", "Europe/Warsaw", "2027-10-31T02:00+02:00") == [
        "2027-10-31T02:30+02:00", "2027-10-31T02:30+01:00", "2027-10-31T03:30+01:00",
    ]  # fmt: skip
    assert local("0,30 2 * * *", "Europe/Warsaw", "2027-03-28T00:00+01:00", 2) == [
        "2027-03-28T03:00+02:00", "2027-03-29T02:00+02:00",
    ]  # fmt: skip


def test_an_expression_can_contain_names_last_days_and_leap_days():
    assert local("0 12 L * *", "UTC", "2028-02-01T00:00+00:00", 2) == [
        "2028-02-29T12:00+00:00",
        "2028-03-31T12:00+00:00",
    ]
    assert local("0 9 * jan mon#1", "UTC", "2027-01-01T00:00+00:00", 1) == ["2027-01-04T09:00+00:00"]
    leaps = [datetime.fromisoformat(text).year for text in local("0 0 29 2 *", "UTC", "2027-01-01T00:00Z", 4)]
    assert leaps == [2028, 2032, 2036, 2040]
    assert all(calendar.isleap(year) for year in leaps)
    assert local(" @Daily ", "UTC", "2027-01-01T00:00Z", 1) == ["2027-01-02T00:00+00:00"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("60 * * * *", "'60' is no minute"),
        ("* * * 13 *", "'13' is no month"),
        ("* * * * funday", "'FUNDAY' is no day-of-week"),
        ("0 0 31 2 *", "'0 0 31 2 *' never fires"),
        ("0 3 30-31 FEB *", "never fires"),
        ("0 3 31 4,6 *", "never fires"),
        ("0 3 32 2 *", "'32' is no day-of-month"),
        ("* * */20 * 1L", "never fires"),
        ("* * * *", "has 4 fields"),
        ("*/5 * * * * *", "has 6 fields"),
        ("@often", "has 1 field instead"),
        ("", "has 0 fields"),
        ("* " * 5_000, "is no cron expression"),
        ("٣ * * * *", "is no cron expression"),
        ("*/0 * * * *", "'*/0' is no minute"),
        ("5-1 * * * *", "'5-1' is no minute"),
        (None, "is no cron expression"),
    ],
)
def test_the_error_about_a_bad_expression_says_which_field_is_bad(text, said):
    with pytest.raises(InvalidScheduleError) as caught:
        Cron(text, zone("UTC"))
    assert said in caught.value.what
    assert caught.value.do


@pytest.mark.parametrize("name", ["US/Foo", "Europe", "", "../etc/passwd", "/etc/localtime", "localtime", "right/UTC", "+02:00", "x" * 500, 5, None])  # fmt: skip
def test_a_bad_zone_is_refused(name):
    with pytest.raises(InvalidScheduleError, match="is no time zone"):
        zone(name)


def test_the_error_about_an_unknown_time_zone_suggests_a_similar_time_zone():
    with pytest.raises(InvalidScheduleError, match="did you mean Europe/Warsaw"):
        zone("Europe/Warsav")


moments = st.timedeltas(timedelta(), timedelta(days=14_000)).map(
    lambda age: datetime(2001, 1, 1, tzinfo=UTC) + age
)


@settings(deadline=None)
@given(
    seconds=st.integers(1, 10_000_000),
    anchor=moments,
    moment=moments,
)
def test_the_distance_of_each_fire_time_from_the_anchor_is_a_multiple_of_the_interval(
    seconds, anchor, moment
):
    one, two = islice(Every(seconds, anchor).after(moment), 2)
    assert two - one == timedelta(seconds=seconds)
    assert one > moment
    assert one - timedelta(seconds=seconds) <= moment or one == anchor
    assert (one - anchor) % timedelta(seconds=seconds) == timedelta()


def test_a_single_time_fires_once():
    at = datetime(2030, 1, 1, tzinfo=UTC)
    assert list(Once(at).after(at - MINUTE)) == [at]
    assert list(Once(at).after(at)) == []


@pytest.mark.parametrize(
    ("text", "day", "said"),
    [
        ("30 2 * * *", "2027-03-28T00:00+01:00", "clocks go from 02:00 to 03:00 that day: a skipped time fires when they jump"),
        ("0 3 * * *", "2027-03-28T00:00+01:00", "clocks go from 02:00 to 03:00 that day"),
        ("30 2 * * *", "2027-10-31T00:00+02:00", "clocks go from 03:00 to 02:00 that day: a repeated time fires the first time"),
        ("0 9 * * *", "2027-10-31T00:00+02:00", "clocks go from 03:00 to 02:00 that day"),
        ("0 * * * *", "2027-10-31T00:00+02:00", "clocks go from 03:00 to 02:00 that day"),
        ("30 2 * * *", "2027-10-30T00:00+02:00", ""),
    ],
)  # fmt: skip
def test_a_fire_time_on_a_day_with_a_change_of_the_clocks_has_a_remark(text, day, said):
    cron = Cron(text, zone("Europe/Warsaw"))
    assert cron.remark(next(cron.after(datetime.fromisoformat(day)))) == said
