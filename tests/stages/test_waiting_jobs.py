"""Jobs that wait for a signal: what people see of them and can change, and the statements that suspend and wake them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.model.steps import TakeSignal
from pgqueue.model.suspension import Request
from pgqueue.worker.attempt import Attempt
from tests.apps.waiting_tasks import app
from tests.factories import add_jobs, add_limit, look, reasons
from tests.waiting_runs import drain, enqueue, noted
from tests.worker_by_hand import Hand, LimitedHand
from tests.workflows import finish, ids, node, states, store, violations


@pytest.fixture
def path(tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file with the notes of the handlers."""
    with noted(tmp_path, dsn, monkeypatch) as path:
        yield path


# ---------------------------------------------------------------- people look at jobs that wait, and change them


def test_the_view_waiting_lists_jobs_that_wait_for_a_signal(path: Path, db: Connection[Any]) -> None:
    jobs = [enqueue("waiting", timeout=3600), enqueue("waiting"), enqueue("several", count=1)]
    drain()
    rows = db.execute(
        "select id, task, signals, since between now() - interval '1 min' and now(), until > now() from pgqueue.waiting order by id"
    ).fetchall()
    assert rows == [
        (jobs[0], "waiting", ["approved", "refused"], True, True),
        (jobs[1], "waiting", ["approved", "refused"], True, None),
        (jobs[2], "several", ["page"], True, None),
    ]
    sent = "select pgqueue.signal(w.id, 'approved') from pgqueue.waiting w where 'approved' = any(w.signals)"
    assert db.execute(sent).fetchall() == [("sent",), ("sent",)]
    drain()
    assert [look(db, job_id) for job_id in jobs] == ["completed", "completed", "waiting"]


def test_a_waiting_job_can_be_cancelled_and_revived(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("waiting")
    drain()
    assert app.handle(job_id).cancel() == "cancelled"
    app.handle(job_id).revive()
    assert look(db, job_id, "state, waits_for") == ("pending", None)
    drain()
    assert look(db, job_id) == "waiting"
    app.handle(job_id).signal("approved", 1)
    drain()
    assert look(db, job_id, "result") == ["approved", 1, None, None]


def test_a_waiting_job_is_dead_at_its_deadline(path: Path, db: Connection[Any]) -> None:
    job_id = app.tasks["waiting"].using(deadline=3600).enqueue().id
    drain()
    assert look(db, job_id) == "waiting", "a signal can come before the deadline"
    db.execute("update pgqueue.jobs_live set deadline_at = now() - interval '1 s'")
    run(db, statements.finish_overdue(10))
    assert (look(db, job_id), reasons(db, job_id)[-1]) == ("dead", ("waiting", "dead", "deadline_exceeded"))


def test_a_job_that_has_started_does_not_expire_while_it_waits(path: Path, db: Connection[Any]) -> None:
    job_id = app.tasks["waiting"].using(expires=3600).enqueue().id
    drain()
    assert look(db, job_id, "state, expires_at") == ("waiting", None)


def test_an_edit_moves_the_time_out_and_other_changes_leave_it(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("waiting", timeout=3600)
    drain()
    until = look(db, job_id, "run_at")
    app.handle(job_id).edit(priority=5)
    assert look(db, job_id, "state, priority, run_at, waits_for is not null") == ("waiting", 5, until, True)
    app.handle(job_id).edit(delay=7200)
    stored = "select (value ->> 'until')::timestamptz from pgqueue.checkpoints where name = 'wait:approved'"
    assert db.execute(stored).fetchone() == (look(db, job_id, "run_at"),)
    assert look(db, job_id, "run_at") > until


def test_a_wait_that_is_forgotten_needs_another_signal(path: Path, db: Connection[Any]) -> None:
    job_id = enqueue("failing_after")
    app.handle(job_id).signal("approved", 1)
    drain()
    db.execute("select pgqueue.forget_step(%s, 'wait:approved')", [job_id])
    db.execute("select pgqueue.forget_step(%s, 'lease')", [job_id])
    assert look(db, job_id) == "completed"
    [(left,)] = db.execute("select count(*) from pgqueue.signals where taken_by is null").fetchall()
    assert left == 0


# ---------------------------------------------------------------- the statements


def asleep(*requests: Request) -> Outcome:
    return Outcome.suspended(requests)


def suspend(hand: Hand, attempt: Attempt, *requests: Request) -> bool:
    """Suspends the attempt, and returns whether it still belonged to this worker."""
    found = run(hand.db, statements.suspend(hand.id, [(attempt.id, attempt.lease_id, asleep(*requests))]))
    return found == [attempt.id]


WAIT = Request("wait", "wait:go", "", 3600.0, ("go",))
NAP = Request("sleep", "nap", "", 60.0)


def take(hand: Hand, attempt: Attempt, *names: str, key: str = "") -> str | None:
    """Returns what the statement answers about a wait for these signals: the value of its checkpoint, or one word."""
    asked = TakeSignal(f"wait:{names[0]}", key, names)
    [taken] = run(hand.db, statements.take_signals([(hand.id, attempt.id, attempt.lease_id, asked)]))
    return taken.found[0].value if taken.found else taken.what


def test_a_job_waits_until_the_earliest_of_several_requests_is_over(db: Connection[Any], hand: Hand) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    assert suspend(hand, attempt, NAP, WAIT, WAIT._replace(name="wait:stop", names=("stop",)))
    state, waits_for, soon = look(db, attempt.id, "state, waits_for, run_at < now() + interval '61 s'")
    assert (state, sorted(waits_for), soon) == ("waiting", ["go", "stop"], True)


@pytest.mark.parametrize("whose", ["a former lease", "another worker"])
def test_an_attempt_without_the_lease_suspends_nothing_and_takes_nothing(
    db: Connection[Any], hand: Hand, whose: str
) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    db.execute("select pgqueue.signal(%s, 'go')", [attempt.id])
    late = Hand(db, ["t"]) if whose == "another worker" else hand
    if whose == "a former lease":
        db.execute("update pgqueue.jobs_live set lease_id = lease_id + 1")
    attempt.worker_id = late.id
    assert not suspend(late, attempt, WAIT)
    assert take(late, attempt, "go") == "lost"
    assert look(db, attempt.id) == "running"
    assert db.execute("select count(*) from pgqueue.checkpoints").fetchone() == (0,)
    assert db.execute("select taken_by from pgqueue.signals").fetchall() == [(None,)]


def test_a_suspended_job_gives_its_seats_back(db: Connection[Any]) -> None:
    add_limit(db, queue="default", concurrency=1)
    hand = LimitedHand(db, ["t"])
    add_jobs(db, count=2)
    [first] = hand.take(after=None)
    assert suspend(hand, first, NAP)
    assert look(db, first.id, "seats_taken") is None
    [second] = hand.take(after=None)
    assert second.id != first.id


def test_a_job_that_was_asked_to_stop_is_cancelled_instead_of_suspended(
    db: Connection[Any], hand: Hand
) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    db.execute("select pgqueue.cancel(%s)", [attempt.id])
    assert suspend(hand, attempt, WAIT)
    assert look(db, attempt.id) == "cancelled"
    assert reasons(db, attempt.id) == [
        ("running", "waiting", "waiting"),
        ("waiting", "cancelled", "cancelled"),
    ]


def test_two_waits_of_one_statement_take_different_signals(db: Connection[Any], hand: Hand) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    for n in (1, 2):
        db.execute("select pgqueue.signal(%s, 'go', %s)", [attempt.id, str(n)])
    lease = (hand.id, attempt.id, attempt.lease_id)
    asked = [(*lease, TakeSignal("wait:go", str(n), ("go",))) for n in range(3)]
    found = run(db, statements.take_signals(asked))
    assert [taken.what for taken in found] == ["over", "over", "open"]
    assert [
        taken.found[0].value.count('"payload": ' + str(n)) for n, taken in enumerate(found, 1) if taken.found
    ] == [1, 1]
    assert run(db, statements.take_signals(asked))[:2] == found[:2], (
        "a statement that is sent again finds the same"
    )


def test_a_locked_job_is_reported_as_locked(
    db: Connection[Any], hand: Hand, connect: Callable[..., Connection[Any]]
) -> None:
    add_jobs(db)
    [attempt] = hand.claim()
    other = connect(autocommit=False)
    other.execute("select from pgqueue.jobs_live for update")
    assert take(hand, attempt, "go") == "locked"
    other.rollback()
    assert take(hand, attempt, "go") == "open"


def test_only_signals_of_jobs_that_are_gone_are_purged(db: Connection[Any], hand: Hand) -> None:
    gone, kept = add_jobs(db, count=2)
    for job_id in (gone, kept):
        db.execute("select pgqueue.signal(%s, 'go')", [job_id])
    db.execute("delete from pgqueue.jobs where id = %s", [gone])
    assert run(db, statements.purge_signals(0, 100)) == kept
    assert db.execute("select count(*) from pgqueue.signals").fetchone() == (2,), "they are too young"
    db.execute("update pgqueue.signals set at = at - interval '2 h'")
    assert run(db, statements.purge_signals(0, 1)) == gone
    assert run(db, statements.purge_signals(gone, 100)) == kept
    assert run(db, statements.purge_signals(kept, 100)) is None
    assert db.execute("select job_id from pgqueue.signals").fetchall() == [(kept,)]


# ---------------------------------------------------------------- what other parts say of such jobs


def test_why_says_for_what_a_job_waits_and_how_long_it_sleeps(path: Path, db: Connection[Any]) -> None:
    waiting, unlimited, sleeping = (
        enqueue("waiting", timeout=3600),
        enqueue("several", count=1),
        enqueue("late"),
    )
    scheduled = app.tasks["waiting"].using(delay=60).enqueue().id
    drain()
    said = {job_id: app.handle(job_id).why() for job_id in (waiting, unlimited, sleeping, scheduled)}
    assert said[waiting].reason == "signal"
    assert "It waits for the signal approved or refused, since " in said[waiting].sentence
    assert (said[waiting].until, said[waiting].do) == (
        look(db, waiting, "run_at"),
        f"pgq jobs signal {waiting} approved",
    )
    assert (said[unlimited].until, said[unlimited].sentence.endswith("without a time-out.")) == (None, True)
    assert said[sleeping].reason == "sleeping"
    assert "It sleeps until " in said[sleeping].sentence
    assert "by its step 'nap'" in said[sleeping].sentence
    assert (said[scheduled].reason, said[scheduled].do) == ("scheduled", None)
    app.handle(waiting).edit(delay=0)
    assert "Its time-out passed at " in app.handle(waiting).why().sentence


def test_the_timeline_shows_each_stretch_in_which_a_handler_was_awake(
    path: Path, db: Connection[Any]
) -> None:
    job_id = enqueue("waiting")
    drain()
    app.handle(job_id).signal("approved")
    drain()
    said = [(e.from_state, e.to_state, e.reason) for e in run(db, statements.list_timeline(job_id))]
    assert said == [
        (None, "pending", "enqueued"), ("pending", "running", "claimed"), ("running", "waiting", "waiting"),
        ("waiting", "pending", "signalled"), ("pending", "running", "claimed"), ("running", "completed", "completed"),
    ]  # fmt: skip


# ---------------------------------------------------------------- nodes of workflows


def waiting_node(db: Connection[Any]) -> tuple[Hand, int, dict[str, int]]:
    """Stores a workflow of two nodes. The first of them waits for a signal. Returns the hand, the workflow, and the ids of the nodes."""
    flow = store(db, node("a"), node("b", "a"))
    hand = Hand(db, ["t"])
    [attempt] = hand.claim()
    assert suspend(hand, attempt, WAIT)
    assert violations(db) == {}
    return hand, flow, ids(db, flow)


def test_a_node_that_waits_for_a_signal_goes_on_and_releases_what_follows(db: Connection[Any]) -> None:
    hand, flow, job = waiting_node(db)
    assert states(db, flow) == {"a": "waiting", "b": "waiting"}
    db.execute("select pgqueue.signal(%s, 'go')", [job["a"]])
    assert states(db, flow) == {"a": "pending", "b": "waiting"}
    [attempt] = hand.claim()
    assert hand.settle(attempt, COMPLETED)
    assert states(db, flow) == {"a": "completed", "b": "pending"}
    assert violations(db) == {}


def test_a_node_that_waits_for_nodes_gets_no_signal_before_it_has_run(db: Connection[Any]) -> None:
    _, flow, job = waiting_node(db)
    db.execute("select pgqueue.signal(%s, 'go')", [job["b"]])
    assert states(db, flow) == {"a": "waiting", "b": "waiting"}, "b waits for a, and not for a signal"
    assert run(db, statements.time_out_waits(10)) == []
    assert run(db, statements.why(job["b"])).reason == "waiting"
    assert run(db, statements.why(job["a"])).reason == "signal"


def test_a_look_at_a_node_that_waits_for_a_signal_does_not_release_it(db: Connection[Any]) -> None:
    """The leader looks again at nodes whose jobs were locked when they became ready."""
    _, flow, job = waiting_node(db)
    db.execute("insert into pgqueue.unresolved (node_id) values (%s)", [job["a"]])
    finish(db)
    assert states(db, flow) == {"a": "waiting", "b": "waiting"}
    assert look(db, job["a"], "waits_for") == ["go"]
    assert violations(db) == {}


@pytest.mark.parametrize("how", ["the workflow", "the job", "its deadline"])
def test_a_node_that_waits_for_a_signal_ends_with_its_workflow(db: Connection[Any], how: str) -> None:
    _, flow, job = waiting_node(db)
    if how == "the workflow":
        db.execute("select pgqueue.cancel_workflow(%s)", [flow])
    elif how == "the job":
        db.execute("select pgqueue.cancel(%s)", [job["a"]])
    else:
        db.execute(
            "update pgqueue.jobs_live set deadline_at = now() - interval '1 s' where id = %s", [job["a"]]
        )
        run(db, statements.finish_overdue(10))
    assert states(db, flow) == {"a": "dead" if how == "its deadline" else "cancelled", "b": "cancelled"}
    assert violations(db) == {}


# ---------------------------------------------------------------- versions


def test_a_sleep_and_a_signal_give_the_job_the_version_of_its_task(db: Connection[Any], hand: Hand) -> None:
    add_jobs(db, count=2)
    one, two = hand.claim()
    assert suspend(hand, one, NAP._replace(version=4))
    db.execute("select pgqueue.signal(%s, 'go')", [two.id])
    asked = TakeSignal("wait:go", "", ("go",), 5)
    run(db, statements.take_signals([(hand.id, two.id, two.lease_id, asked)]))
    assert (look(db, one.id, "version"), look(db, two.id, "version")) == (4, 5)
    assert db.execute("select job_id, version from pgqueue.checkpoints order by 1").fetchall() == [
        (one.id, 4),
        (two.id, 5),
    ]
