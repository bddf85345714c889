"""Alerts in the database. Each alert opens once, sends its messages once, and can be muted.

Reminders can follow until the alert is resolved. A person resolves it, or it is resolved because its cause is gone.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import Outage
from pgqueue.database.run import run
from pgqueue.database.statements.alerts import MESSAGES_A_MINUTE
from pgqueue.maintenance.alerting.messages import TASKS, written
from pgqueue.maintenance.alerting.settings import AlertSettings
from pgqueue.maintenance.alerting.watch import Watch
from pgqueue.model.alert import AlertChange, Cause
from pgqueue.model.outcome import Outcome
from tests.waiting import wait_until
from tests.worker_by_hand import Hand

TARGETS = sorted(TASKS.values())


def cause(subject: str = "mail", kind: str = "late", **more: Any) -> Cause:
    return Cause(kind, subject, f"{subject} is {kind}", **more)


def raise_alerts(
    db: Connection[Any], *causes: Cause, calm: float = 60.0, remind: float | None = None
) -> list[AlertChange]:
    return run(db, statements.raise_alerts(causes, TARGETS, calm=calm, remind=remind))


def messages(db: Connection[Any]) -> list[tuple[str, int, int]]:
    """Returns, for each stored message, (task, id of the alert, number of the message among the messages of this alert)."""
    return db.execute(
        "select task, (args ->> 'alert')::int, (args ->> 'message')::int from pgqueue.jobs_live"
        " where queue = 'pgqueue.alerts' order by id"
    ).fetchall()


def sender(db: Connection[Any], *names: str) -> Hand:
    return Hand(db, [TASKS[name] for name in names], "pgqueue.alerts")


def older(db: Connection[Any], column: str) -> None:
    db.execute(f"update pgqueue.alerts set {column} = {column} - interval '10 min'".encode())


def test_a_cause_that_is_found_repeatedly_opens_one_alert_with_one_message_to_each_target(db):
    sender(db, "webhook", "mail")
    [opened] = raise_alerts(db, cause())
    assert (opened.kind, opened.subject, opened.opened) == ("late", "mail", True)
    assert raise_alerts(db, cause()) == raise_alerts(db, cause()) == []
    assert sorted(messages(db)) == [(task, opened.id, 1) for task in TARGETS]
    [alert] = run(db, statements.list_alerts(False))
    assert (alert.count, alert.messages, alert.resolved_at) == (3, 1, None)
    assert len(raise_alerts(db, cause("other"), cause("mail", "stalled"))) == 2
    assert len(messages(db)) == 6


def test_two_leaders_at_the_same_time_send_one_message_for_each_alert(db, connect):
    sender(db, "webhook")
    one = connect(autocommit=False)
    assert len(raise_alerts(one, cause("a"), cause("b"))) == 2
    two = connect()
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(raise_alerts, two, cause("b"), cause("a"))
        waits = "select cardinality(pg_blocking_pids(%s)) > 0"
        wait_until(lambda: db.execute(waits, [two.info.backend_pid]).fetchone()[0])
        one.commit()
        later.result(timeout=10)
    assert len(messages(db)) == 2
    assert [alert.count for alert in run(db, statements.list_alerts(True))] == [2, 2]


def message_args(db: Connection[Any]) -> list[dict[str, Any]]:
    return [
        args
        for (args,) in db.execute(
            "select args from pgqueue.jobs_live where queue = 'pgqueue.alerts' order by id"
        )
    ]


def test_many_alerts_at_the_same_time_send_only_a_few_messages_each_minute(db):
    """The last message of a minute counts the alerts that have no message yet."""
    sender(db, "webhook")
    causes = [cause(f"made_up_{n:04}", "dead") for n in range(2000)]
    assert len(raise_alerts(db, *causes)) == 2000
    *each, rest = message_args(db)
    assert [message["subject"] for message in each] == [f"made_up_{n:04}" for n in range(MESSAGES_A_MINUTE)]
    assert (rest["kind"], rest["subject"], rest["count"]) == (
        "many",
        f"{2000 - MESSAGES_A_MINUTE} more",
        2000 - MESSAGES_A_MINUTE,
    )
    assert "made_up_0020" in rest["text"]
    raise_alerts(db, *causes, cause("another"))
    raise_alerts(db, cause("one more"))
    assert len(message_args(db)) == MESSAGES_A_MINUTE + 1, "no more messages are sent in that minute"
    db.execute("update pgqueue.alerts set sent_at = sent_at - interval '61 s'")
    raise_alerts(db, *causes, cause("another"), cause("one more"))
    assert sorted(message["subject"] for message in message_args(db)[MESSAGES_A_MINUTE + 1 :]) == [
        "another",
        "one more",
    ], "alerts without a message get one in the next minute"
    assert (
        len({(message["alert"], message["message"]) for message in message_args(db)}) == MESSAGES_A_MINUTE + 3
    )


def test_a_mail_can_be_written_from_the_message_that_counts_the_other_alerts(db):
    sender(db, "webhook")
    raise_alerts(db, *(cause(f"c{n}") for n in range(MESSAGES_A_MINUTE + 2)))
    settings = AlertSettings(smtp="smtp://localhost", mail_from="a@example.org", mail_to=("b@example.org",))
    mail = written(settings, message_args(db)[-1])
    assert mail["Subject"] == "pgqueue: many: 2 more"
    assert "2 more alerts within a minute, of late c" in mail.get_content()


def test_a_new_alert_opens_if_a_cause_returns_after_its_alert_was_resolved(db):
    sender(db, "webhook")
    [first] = raise_alerts(db, cause())
    assert raise_alerts(db) == []
    older(db, "last_at")
    assert [(change.id, change.opened) for change in raise_alerts(db)] == [(first.id, False)]
    assert run(db, statements.list_alerts(False)) == []
    [second] = raise_alerts(db, cause())
    assert second.id != first.id
    assert [alert for _, alert, _ in messages(db)] == [first.id, second.id]
    older(db, "last_at")
    assert raise_alerts(db, cause()) == []  # the alert stays open, because its cause is found again


def test_reminders_are_sent_when_they_are_due_but_never_if_reminders_are_off(db):
    sender(db, "webhook")
    raise_alerts(db, cause(), remind=300)
    raise_alerts(db, cause(), remind=300)
    assert [number for *_, number in messages(db)] == [1]
    older(db, "sent_at")
    raise_alerts(db, cause(), remind=None)
    raise_alerts(db, cause(), remind=700)
    assert [number for *_, number in messages(db)] == [1]
    raise_alerts(db, cause(), remind=300)
    raise_alerts(db, cause(), remind=300)
    assert [number for *_, number in messages(db)] == [1, 2]


def test_no_message_is_stored_until_a_living_worker_can_send_it(db):
    raise_alerts(db, cause())
    hand = sender(db, "mail")
    db.execute("update pgqueue.workers set expires_at = now() - interval '1 s'")
    raise_alerts(db, cause())
    assert messages(db) == []
    db.execute("update pgqueue.workers set expires_at = now() + interval '1 h' where id = %s", [hand.id])
    raise_alerts(db, cause())
    raise_alerts(db, cause())
    assert [(task, number) for task, _, number in messages(db)] == [(TASKS["mail"], 1)]


def test_no_message_is_sent_about_a_muted_subject_even_if_its_alert_opens_again(db):
    sender(db, "webhook")
    [opened] = raise_alerts(db, cause())
    assert run(db, statements.mute_alert(opened.id, 3600.0)) is not None
    older(db, "sent_at")
    raise_alerts(db, cause(), remind=1)
    assert run(db, statements.resolve_alert(opened.id)) is True
    [again] = raise_alerts(db, cause(), remind=1)
    assert [alert for _, alert, _ in messages(db)] == [opened.id]
    for alert in (opened.id, again.id):
        run(db, statements.mute_alert(alert, 0.0))
    raise_alerts(db, cause(), remind=1)
    assert [alert for _, alert, _ in messages(db)] == [opened.id, again.id]


def test_resolve_alert_returns_whether_the_alert_was_open_resolved_or_unknown(db):
    [opened] = raise_alerts(db, cause())
    assert [run(db, statements.resolve_alert(alert)) for alert in (opened.id, opened.id, 99)] == [
        True,
        False,
        None,
    ]
    assert run(db, statements.mute_alert(99, 60.0)) is None


# ---------------------------------------------------------------- how the leader finds causes


def look(dsn: str, **settings: Any) -> None:
    async def once() -> None:
        watch = Watch(Link(dsn, "watch", Outage(dsn)), AlertSettings(**settings), 0.0)
        watch._until = float("inf")
        try:
            await watch.look(0.0)
        finally:
            await watch._link.close()

    asyncio.run(once())


def make_dead(db: Connection[Any], task: str, count: int = 1) -> None:
    db.execute("insert into pgqueue.jobs (task) select %s from generate_series(1, %s)", [task, count])
    hand = Hand(db, [task])
    for attempt in hand.claim(count):
        hand.settle(attempt, Outcome.dead("permanent_error", ValueError(f"no {attempt.id}")))


def open_alerts(db: Connection[Any]) -> dict[tuple[str, str], int]:
    return {(alert.kind, alert.subject): alert.count for alert in run(db, statements.list_alerts(False))}


def test_one_alert_for_each_task_counts_the_dead_jobs_of_the_task(db, dsn):
    look(dsn)
    assert open_alerts(db) == {}
    make_dead(db, "a", 3)
    make_dead(db, "b")
    look(dsn)
    assert open_alerts(db) == {("dead", "a"): 3, ("dead", "b"): 1}
    make_dead(db, "a", 2)
    look(dsn)
    assert open_alerts(db) == {("dead", "a"): 5, ("dead", "b"): 1}
    [alert] = [alert for alert in run(db, statements.list_alerts(False)) if alert.subject == "a"]
    newest = db.execute("select max(id) from pgqueue.jobs_dead").fetchone()[0]
    assert alert.text == f"5 jobs of a are dead, the last is {newest}: ValueError: no {newest}"
    db.execute("select pgqueue.revive(id) from pgqueue.jobs_dead where task = 'b'")
    look(dsn)
    assert open_alerts(db) == {("dead", "a"): 5}


def test_only_new_dead_jobs_open_an_alert_again_after_a_person_has_resolved_it(db, dsn):
    make_dead(db, "a", 3)
    look(dsn)
    [alert] = run(db, statements.list_alerts(False))
    run(db, statements.resolve_alert(alert.id))
    look(dsn)
    assert open_alerts(db) == {}
    make_dead(db, "a")
    look(dsn)
    assert open_alerts(db) == {("dead", "a"): 1}


def test_jobs_that_became_dead_long_ago_open_no_alert(db, dsn):
    make_dead(db, "a")
    db.execute("update pgqueue.jobs_dead set finished_at = now() - interval '2 h'")
    look(dsn)
    assert open_alerts(db) == {}


def test_a_queue_is_late_if_its_oldest_due_job_is_too_old_unless_the_queue_is_paused(db, dsn):
    db.execute(
        "insert into pgqueue.jobs (task, queue, priority, run_at) values"
        " ('a', 'own', 0, now() - interval '50 s'), ('a', 'own', 5, now() - interval '90 s'),"
        " ('a', 'kept', 0, now() - interval '50 s'), ('a', 'later', 0, now() + interval '1 h'),"
        " ('a', 'paused', 0, now() - interval '1 day'), ('b', 'default', 0, now() - interval '10 min')"
    )
    db.execute(
        "insert into pgqueue.queues (name, max_age, paused) values ('own', '60 s', false), ('kept', '80 s', false),"
        " ('paused', '1 s', true)"
    )
    Hand(db, ["a"])
    look(dsn, stalled_after=0)
    assert open_alerts(db) == {("late", "own"): 1}
    look(dsn, stalled_after=60, max_age=300)
    assert open_alerts(db) == {
        ("late", "own"): 2, ("late", "default"): 1, ("stalled", "own"): 1, ("stalled", "default"): 1,
    }  # fmt: skip
    texts = {
        alert.subject: alert.text
        for alert in run(db, statements.list_alerts(False))
        if alert.kind == "stalled"
    }
    assert "no living worker serves it" in texts["own"]
    assert "no living worker of this queue knows the task b" in texts["default"]


def test_a_queue_is_also_late_if_the_oldest_due_job_of_one_key_is_too_old(db, dsn):
    db.execute(
        "insert into pgqueue.jobs (task, queue, concurrency_key, run_at)"
        " select 'a', 'keyed', 'k' || n, now() - make_interval(secs => n) from generate_series(1, 60) n"
    )
    db.execute(
        "insert into pgqueue.jobs (task, queue, run_at) values ('a', 'keyed', now() - interval '55 s')"
    )
    Hand(db, ["a"], "keyed")
    fronts = run(db, statements.watch_queues())
    assert len(fronts) == 61
    assert [front.key for front in fronts[:2]] == ["k60", "k59"]
    assert fronts[0].task_served
    look(dsn, max_age=59)
    assert open_alerts(db) == {("late", "keyed"): 1}


def test_the_oldest_job_with_a_key_is_found_among_many_keys(db):
    db.execute(
        "insert into pgqueue.jobs (task, queue, concurrency_key, run_at)"
        " select 'a', 'keyed', lpad(n::text, 5, '0'), now() - make_interval(secs => n) from generate_series(1, 1500) n"
    )
    fronts = run(db, statements.watch_queues())
    assert len(fronts) == 1001
    assert fronts[0].key == "01500"


def test_resolved_alerts_are_purged_after_the_retention(db):
    for subject in ("old", "new", "open"):
        raise_alerts(db, cause(subject))
    db.execute(
        "update pgqueue.alerts set resolved_at = now() - case subject when 'old' then interval '8 days' else '1 day' end"
        " where subject <> 'open'"
    )
    run(db, statements.purge(100))
    assert {alert.subject for alert in run(db, statements.list_alerts(True))} == {"new", "open"}


@pytest.mark.parametrize(
    "broken", ["'other', 's', 't', 1", "'late', 's', 't', 0", "'late', 's', null, 1", "'late', null, 't', 1"]
)
def test_an_alert_with_a_missing_or_unknown_value_is_refused(db, broken):
    with pytest.raises(psycopg.errors.IntegrityError):
        db.execute(f"insert into pgqueue.alerts (kind, subject, text, count) values ({broken})".encode())
    with pytest.raises(psycopg.errors.CheckViolation):
        db.execute("update pgqueue.queues set max_age = interval '0'")


# ---------------------------------------------------------------- the command line


def test_commands_list_resolve_and_mute_alerts(pgq, db):
    assert pgq("alerts").err.strip() == "No alert is open."
    [one] = raise_alerts(db, cause("mail", queue="mail", job_id=7))
    [two] = raise_alerts(db, cause("shop"))
    assert [row[:3] for row in pgq("alerts").rows] == [
        [str(two.id), "late", "shop"],
        [str(one.id), "late", "mail"],
    ]
    assert [item["subject"] for item in pgq("alerts", "--json").items] == ["shop", "mail"]
    assert "muted" in pgq("alerts", "mute", str(one.id), "--for", "2h").err
    assert [row[6] for row in pgq("alerts", "list").rows] == ["open", "muted"]
    assert "unmuted" in pgq("alerts", "mute", str(one.id), "--for", "0").err
    assert "resolved" in pgq("alerts", "resolve", str(one.id)).err
    assert "resolved already" in pgq("alerts", "resolve", str(one.id)).err
    assert [item["id"] for item in pgq("alerts", "list", "--json").items] == [two.id]
    assert [item["id"] for item in pgq("alerts", "--all", "--json").items] == [two.id, one.id]
    for words in (("resolve", "99"), ("mute", "99")):
        done = pgq("alerts", *words)
        assert (done.code, "PGQ-509  There is no alert 99." in done.err) == (5, True)
    assert pgq("alerts", "mute", str(one.id), "--for", "soon").code == 2
