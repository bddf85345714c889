"""Tests of the values that a schedule can have, of the missed fire times for which it still fires, and of jitter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgqueue import App, errors
from pgqueue.errors import InvalidArgumentsError, InvalidScheduleError, PgQueueError
from pgqueue.model.schedule import Plan, Schedule, duration, fingerprint, jitter, make, plan

NOON = datetime(2027, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def minutely(**columns):
    return Schedule(name="s", task="t", cron="* * * * *", **columns)


def planned(schedule, now=NOON, next_at=None, edited_at=NOON - timedelta(days=1), *, over=False, grace=60.0):
    return plan(schedule, now, next_at=next_at, edited_at=edited_at, over=over, grace=grace)


def test_a_new_schedule_fires_after_its_edit_and_not_before():
    made = planned(minutely(), edited_at=NOON - timedelta(seconds=30), now=NOON - timedelta(seconds=20))
    assert (list(made.fires), made.following) == ([], NOON)


def test_fire_times_that_are_late_by_less_than_the_grace_do_not_count_as_missed():
    late = [NOON - MINUTE, NOON]
    for missed in ("once", "skip", "all"):
        made = planned(minutely(missed=missed), next_at=late[0])
        assert (made.fires, made.missed_since, made.following) == (late, None, NOON + MINUTE)


def test_missed_once_fires_only_for_the_last_missed_fire_time():
    made = planned(minutely(), next_at=NOON - timedelta(hours=3), now=NOON + MINUTE / 2)
    assert (made.fires, made.missed_since) == ([NOON], NOON - timedelta(hours=3))
    assert made.following == NOON + MINUTE


def test_missed_all_fires_for_as_many_of_the_last_fire_times_as_missed_cap_allows():
    made = planned(minutely(missed="all", missed_cap=3), next_at=NOON - timedelta(days=900))
    assert made.fires == [NOON - 2 * MINUTE, NOON - MINUTE, NOON]
    assert made.missed_since == NOON - timedelta(days=900)
    few = planned(minutely(missed="all", missed_cap=5), next_at=NOON - 3 * MINUTE)
    assert (few.fires, few.missed_since) == ([NOON - n * MINUTE for n in (3, 2, 1, 0)], None)


def test_missed_skip_fires_only_for_a_fire_time_that_is_not_missed():
    assert planned(minutely(missed="skip"), next_at=NOON - timedelta(hours=1)).fires == [NOON]
    daily = Schedule(name="s", task="t", cron="0 9 * * *", missed="skip")
    made = planned(daily, next_at=NOON - timedelta(days=2, hours=3))
    assert not made.fires
    assert made.passed_over == NOON - timedelta(hours=3)
    assert made.missed_since == NOON - timedelta(days=2, hours=3)
    assert made.following == NOON + timedelta(hours=21)


def test_a_single_time_in_the_past_counts_as_missed():
    once = Schedule(name="s", task="t", at=NOON - timedelta(hours=1))
    assert planned(once).fires == [once.at]
    assert planned(once, over=True) == Plan()
    skipping = Schedule(name="s", task="t", at=NOON - timedelta(hours=1), missed="skip")
    assert planned(skipping).passed_over == skipping.at


@settings(deadline=None)
@given(
    every=st.integers(1, 5000), away=st.integers(0, 20_000), missed=st.sampled_from(["once", "skip", "all"]),
    cap=st.integers(1, 50), grace=st.integers(1, 300),
)  # fmt: skip
def test_a_plan_contains_the_right_fire_times_and_the_next_fire_time_for_every_policy(
    every, away, missed, cap, grace
):
    schedule = Schedule(
        name="s", task="t", every=every, anchor=NOON - timedelta(days=9), missed=missed, missed_cap=cap
    )
    timing = schedule.timing()
    first = next(timing.after(NOON - timedelta(seconds=away)))
    made = planned(schedule, next_at=first, grace=grace)
    everything = []
    for at in timing.after(first - timedelta(seconds=1)):
        if at > NOON:
            break
        everything.append(at)
    assert made.following == (next(timing.after(NOON)) if everything else first)
    if not everything:
        assert not made.fires
    elif NOON - first <= timedelta(seconds=grace):
        assert made.fires == everything
    else:
        wanted = {"all": everything[-cap:], "once": everything[-1:], "skip": everything[-1:]}[missed]
        if missed == "skip" and NOON - everything[-1] > timedelta(seconds=grace):
            wanted = []
        assert made.fires == wanted
    assert len(made.due) == len(made.fires)


@given(
    name=st.text(max_size=20),
    seconds=st.floats(0.001, 86_400),
    age=st.timedeltas(timedelta(), timedelta(days=9000)),
)
def test_jitter_stays_in_its_bounds_and_is_the_same_whenever_it_is_computed(name, seconds, age):
    at = NOON + age
    assert 0 <= jitter(name, at, seconds) < seconds
    assert jitter(name, at, seconds) == jitter(name, at.astimezone(), seconds)


def test_jitter_spreads_over_its_whole_range():
    found = {int(jitter("s", NOON + n * MINUTE, 10)) for n in range(200)}
    assert found == set(range(10))
    made = planned(minutely(jitter=30.0), next_at=NOON - MINUTE)
    assert all(0 <= (due - at).total_seconds() < 30 for at, due in zip(made.fires, made.due, strict=True))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({}, "does not say when"),
        ({"cron": "* * * * *", "every": 5}, "says it twice"),
        ({"every": 0.5}, "every is 0.5 s"),
        ({"every": "soon"}, "every is 'soon'"),
        ({"at": NOON.replace(tzinfo=None)}, "at is '2027"),
        ({"at": "tomorrow"}, "at is 'tomorrow'"),
        ({"cron": "* * * * *", "tz": "Mars/Base"}, "no time zone"),
        ({"cron": "* * * * *", "overlap": "pile"}, "overlap is 'pile'"),
        ({"cron": "* * * * *", "missed": "some"}, "missed is 'some'"),
        ({"cron": "* * * * *", "missed_cap": 0}, "missed_cap is 0"),
        ({"cron": "* * * * *", "jitter": "2d"}, "jitter is 172800 s"),
        ({"cron": "* * * * *", "options": {"colour": 1}}, "no option colour"),
        ({"cron": "* * * * *", "options": {"priority": "high"}}, "priority is 'high'"),
        ({"cron": "* * * * *", "options": {"run_at": "2030-01-01"}}, "takes no run_at"),
        ({"cron": "* * * * *", "options": "{"}, "options is"),
        ({"cron": "* * * * *", "color": 1}, "cannot be made of these values"),
    ],
)
def test_the_error_about_a_bad_schedule_says_what_is_wrong(columns, said):
    with pytest.raises(PgQueueError) as caught:
        make("s", "t", **columns)
    assert said in caught.value.what


def test_a_duration_is_written_in_units():
    assert [duration(value) for value in (90, 5400, 86_400, 0.5, 3601)] == [
        "1m30s",
        "1h30m",
        "1d",
        "0.5s",
        "1h1s",
    ]


def test_a_fingerprint_does_not_depend_on_the_order_of_the_schedules():
    one, two = minutely(), Schedule(name="u", task="t", every=60)
    assert fingerprint([one, two]) == fingerprint([two, one]) != fingerprint([one])
    assert fingerprint([minutely(args='{"a": 1}')]) != fingerprint([one])


# ------------------------------------------------------------------ @app.cron


def test_the_decorator_declares_a_schedule_with_the_options_of_its_task():
    app = App("postgresql://nowhere")

    @app.cron("*/5 * * * *", tz="Europe/Warsaw", jitter="10s", overlap="skip", args={"n": 1}, priority=-5)
    @app.cron(every="1h", name="hourly", missed="all", missed_cap=3)
    @app.task(name="report", queue="mail", retry=3, timeout="1m")
    def report(n: int = 0) -> int:
        return n

    assert report(2) == 2
    assert list(app.schedules) == ["hourly", "report"]
    made = app.schedules["report"]
    assert (made.cron, made.tz, made.jitter, made.args) == ("*/5 * * * *", "Europe/Warsaw", 10.0, '{"n":1}')
    assert made.options == {"queue": "mail", "max_attempts": 3, "timeout": 60.0, "priority": -5}
    assert (app.schedules["hourly"].every, app.schedules["hourly"].missed_cap) == (3600.0, 3)


def test_the_decorator_refuses_an_invalid_schedule():
    app = App("postgresql://nowhere")

    @app.task(name="report")
    def report(n: int) -> None: ...

    with pytest.raises(InvalidArgumentsError, match="n is missing"):
        app.cron("@daily")(report)
    with pytest.raises(InvalidScheduleError, match="never fires"):
        app.cron("0 0 31 2 *", args={"n": 1})(report)
    with pytest.raises(InvalidScheduleError, match="is no task"):
        app.cron("@daily")(print)
    with pytest.raises(InvalidArgumentsError, match=r"args is \[1\]"):
        app.cron("@daily", args=[1])(report)  # type: ignore[arg-type]
    app.cron("@daily", args={"n": 1})(report)
    with pytest.raises(InvalidScheduleError, match="Two schedules are named 'report'"):
        app.cron("@hourly", args={"n": 1})(report)
    with pytest.raises(InvalidArgumentsError, match="no option colour"):
        app.cron("@hourly", name="b", args={"n": 1}, colour="red")(report)
    assert errors.InvalidScheduleError.exit_code == 2
    assert list(app.schedules) == ["report"]
