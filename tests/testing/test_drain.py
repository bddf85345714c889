"""``drain`` runs due jobs in a transaction that is rolled back, with the rules of a worker."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from psycopg import Connection

from pgqueue import App, Cancel, Dead, Job, RateLimited, Retry, Snooze
from pgqueue.errors import DuplicateJobError, JobTimeoutError, WaitTimeoutError
from pgqueue.integrations.testing import QueueInTest

Seen = list[object]


def test_runs_what_is_due_and_what_handlers_enqueue(app: App, queue: QueueInTest, seen: Seen) -> None:
    @app.task(name="child")
    async def child(n: int) -> int:
        seen.append((n, threading.current_thread().name))
        return n * 2

    @app.task(name="parent")
    def parent(n: int) -> None:
        seen.append(threading.current_thread())
        child.enqueue(n + 1)

    handle = parent.enqueue(1)
    child.using(delay="1h").enqueue(7)
    drained = queue.drain()
    assert [(one.task, one.state, one.attempt) for one in drained] == [
        ("parent", "completed", 1),
        ("child", "completed", 1),
    ]
    assert seen == [threading.current_thread(), (2, "pgqueue drain")], "a def runs on the thread of the test"
    assert handle.job().state == "completed"
    assert handle.result() is None
    assert not queue.drain(), "what is due later is left"
    assert drained.counts == {"completed": 2}
    assert drained.of(child)[0].task == "child"


def test_one_rollback_removes_rows_and_jobs(app: App, queue: QueueInTest, conn: Connection) -> None:
    @app.task(name="pay")
    def pay(job: Job, order: int) -> None:
        with job.transaction(result="paid") as own:
            own.execute("insert into orders values (%s)", [order])

    conn.execute("create temp table orders (id int)")
    handle = pay.enqueue(1)
    queue.drain().assert_no_failures()
    assert conn.execute("show search_path").fetchall() == [('"$user", public',)], "the test goes on as before"
    assert conn.execute("select id from orders").fetchall() == [(1,)]
    assert handle.job().result == "paid"
    conn.rollback()
    conn.execute("select 1")
    assert queue.all_enqueued() == []
    assert conn.execute("select count(*) from pgqueue.jobs").fetchone() == (0,)


def test_a_transaction_of_a_handler_that_fails_is_undone(
    app: App, queue: QueueInTest, conn: Connection
) -> None:
    @app.task(name="pay", retry=[5])
    def pay(job: Job) -> None:
        with job.transaction() as own:
            own.execute("insert into orders values (1)")
            child.enqueue()
            raise ValueError

    @app.task(name="child")
    def child() -> None: ...

    conn.execute("create temp table orders (id int)")
    pay.enqueue()
    [failed] = queue.drain()
    assert (failed.state, failed.reason, failed.delay) == ("retrying", "failed", 5)
    assert conn.execute("select id from orders").fetchall() == []
    queue.refute_enqueued(child)


def test_retries_wait_for_their_time(app: App, queue: QueueInTest, seen: Seen) -> None:
    @app.task(name="flaky", retry=[60, 3600])
    def flaky(job: Job) -> None:
        seen.append(job.attempt)
        if job.attempt < 3:
            msg = f"attempt {job.attempt}"
            raise ValueError(msg)

    flaky.enqueue()
    assert [one.state for one in queue.drain()] == ["retrying"]
    assert not queue.drain()
    queue.travel("59s")
    assert not queue.drain()
    queue.travel("2s")
    [second] = queue.drain()
    assert isinstance(second.exception, ValueError)
    assert second.error == "ValueError: attempt 2"
    assert [one.state for one in queue.drain(with_scheduled=True)] == ["completed"]
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_instructions_and_time_limits(app: App, queue: QueueInTest, kind: str) -> None:
    def act(what: str) -> None:
        instructions = {
            "snooze": Snooze(60),
            "cancel": Cancel("no"),
            "dead": Dead("no"),
            "retry": Retry(after=9),
        }
        if what in instructions:
            raise instructions[what]

    if kind == "def":

        @app.task(name="act", timeout=0.2)
        def task(what: str) -> None:
            act(what)
            while what == "slow":
                time.sleep(0.01)
    else:

        @app.task(name="act", timeout=0.2)
        async def task(what: str) -> None:
            act(what)
            while what == "slow":
                await asyncio.sleep(0.01)

    wanted = ["snooze", "cancel", "dead", "retry", "slow", "fine"]
    for what in wanted:
        app.tasks["act"].enqueue(what)
    found = queue.drain()
    assert [(one.state, one.reason) for one in found] == [
        ("pending", "snoozed"), ("cancelled", "cancelled"), ("dead", "given_up"), ("retrying", "failed"), ("retrying", "failed"),
        ("completed", "completed"),
    ]  # fmt: skip
    assert found.attempts[4].error is not None
    assert JobTimeoutError.code in found.attempts[4].error or "timeout" in found.attempts[4].error


def test_a_key_that_is_paused_does_not_keep_the_drain(app: App, queue: QueueInTest, seen: Seen) -> None:
    @app.task(name="call")
    def call(n: int) -> None:
        seen.append(n)
        if n == 1 and seen.count(1) == 1:
            raise RateLimited(60)

    for n in (1, 2):
        call.using(concurrency_key="acme").enqueue(n)
    call.using(concurrency_key="other").enqueue(3)
    assert [one.reason for one in queue.drain()].count("rate_limited") == 1
    assert sorted(seen) == [1, 3]
    assert not queue.drain()
    queue.travel("61s")
    assert queue.drain().counts == {"completed": 2}


def test_order_follows_priority_and_keys(app: App, queue: QueueInTest, seen: Seen) -> None:
    @app.task(name="note")
    def note(what: str) -> None:
        seen.append(what)

    note.enqueue("later")
    note.using(priority=-5).enqueue("urgent")
    for n in (1, 2):
        note.using(concurrency_key="a", ordering="block", priority=1).enqueue(f"a{n}")
    queue.drain()
    assert seen == ["urgent", "later", "a1", "a2"]


def test_queue_task_and_max_jobs_choose(app: App, queue: QueueInTest, seen: Seen) -> None:
    @app.task(name="mail", queue="mail")
    def mail() -> None:
        seen.append("mail")

    @app.task(name="report")
    def report() -> None:
        seen.append("report")
        report.enqueue()

    mail.enqueue()
    report.enqueue()
    assert queue.drain(queue="mail").counts == {"completed": 1}
    full = queue.drain(task=report, max_jobs=3)
    assert (len(full), full.stopped_at_max_jobs) == (3, True)
    assert seen == ["mail", *["report"] * 3]


def test_errors_reach_the_test(app: App, queue: QueueInTest) -> None:
    @app.task(name="bad", retry=False)
    def bad() -> None:
        raise ZeroDivisionError

    @app.task(name="fails")
    def fails() -> None:
        pytest.fail("as the test wants")

    bad.enqueue()
    with pytest.raises(AssertionError, match=r"1 attempt failed:\n  job \d+ bad, attempt 1: dead") as caught:
        queue.drain().assert_no_failures()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    bad.enqueue()
    with pytest.raises(ZeroDivisionError):
        queue.drain(raise_errors=True)
    fails.enqueue()
    with pytest.raises(pytest.fail.Exception, match="as the test wants"):
        queue.drain()


def test_a_wait_for_a_job_that_nothing_runs_says_so(app: App, queue: QueueInTest) -> None:
    @app.task(name="task", unique=True, on_conflict="raise")
    def task() -> int:
        return 5

    handle = task.enqueue()
    with pytest.raises(WaitTimeoutError, match="nothing runs it while the test waits"):
        handle.result(timeout=60)
    with pytest.raises(DuplicateJobError):
        task.enqueue()
    assert queue.drain(), "the transaction is usable after an enqueue that failed"
    assert handle.result() == 5


def test_steps_sleeps_and_hooks(app: App, queue: QueueInTest, seen: Seen) -> None:
    @app.task(name="long")
    def long(job: Job) -> str:
        job.step("one", seen.append, "one")
        job.sleep("rest", "1d")
        job.step_transaction("two", lambda conn: conn.execute("select 1") and seen.append("two"))
        said = job.wait_for("approved", timeout="2d", default=None)
        return "late" if said is None else said.payload

    @long.on_completed
    def done(job: Job) -> None:
        seen.append(job.result)

    first, second = long.enqueue(), long.enqueue()
    assert [one.reason for one in queue.drain()] == ["sleeping", "sleeping"]
    queue.travel("23h")
    assert not queue.drain()
    queue.travel("1h")
    assert [one.reason for one in queue.drain()] == ["waiting", "waiting"]
    first.signal("approved", "by ann")
    queue.drain()
    queue.travel("2d")
    queue.drain()
    assert [first.result(), second.result()] == ["by ann", "late"]
    assert seen == ["one", "one", "two", "two", "by ann", "late"]


def test_workflows_and_gathers(app: App, queue: QueueInTest) -> None:
    @app.task(name="size")
    async def size(n: int) -> int:
        return n

    @app.task(name="total")
    def total(job: Job) -> int:
        return sum(job.gather("sizes", [size.job(n) for n in (1, 2, 3)]))

    handle = total.enqueue()
    queue.drain().assert_no_failures()
    assert handle.result() == 6


def test_a_cancelled_job_does_not_run(app: App, queue: QueueInTest, seen: Seen) -> None:
    @app.task(name="task")
    def task() -> None:
        seen.append(1)

    task.enqueue().cancel()
    task.using(expires="1m").enqueue()
    queue.travel("2m")
    assert not queue.drain()
    assert seen == []
    assert len(queue.all_enqueued()) == 0


def test_a_limit_holds(app: App, queue: QueueInTest, conn: Connection) -> None:
    @app.task(name="task")
    def task() -> None: ...

    conn.execute(
        "insert into pgqueue.limits (queue, rate, period, sliding) values ('default', 2, '1 min', true)"
    )
    for _ in range(3):
        task.enqueue()
    assert len(queue.drain()) == 2
    assert not queue.drain()
    queue.travel("61s")
    assert len(queue.drain()) == 1


def test_schedules_fire_on_the_way(app: App, queue: QueueInTest, seen: Seen) -> None:
    @app.task(name="nightly")
    def nightly(job: Job) -> None:
        seen.append(job.meta["fire_at"])

    app.cron(every="1d")(nightly)
    assert not queue.drain()
    queue.travel("3d")
    assert queue.drain().counts == {"completed": 3}
    assert len(set(seen)) == 3
