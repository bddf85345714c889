"""In one process, all callers that wait for results share one connection, whichever thread or event loop they are on. They go on waiting after a fork, and after the connection breaks."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App, JobHandle
from pgqueue.app import lookout
from pgqueue.errors import DatabaseUnreachableError, JobFailedError, WaitTimeoutError
from pgqueue.model.outcome import Outcome
from tests.frozen_clocks import frozen
from tests.waiting import wait_until
from tests.worker_by_hand import Hand

DONE = Outcome.completed('"done"')


@pytest.fixture
def jobs(app: App) -> Callable[[int], list[JobHandle]]:
    @app.task(name="t")
    def t(n: int) -> None: ...

    return lambda count: t.enqueue_many([{"n": n} for n in range(count)])


@pytest.fixture
def waiting() -> Iterator[Callable[[JobHandle], list[Any]]]:
    """Yields a function that starts a thread, which waits for the result of a handle. The function returns an empty list, to which the thread adds the result or the error."""
    threads = []

    def start(handle: JobHandle) -> list[Any]:
        ends: list[Any] = []

        def wait() -> None:
            try:
                ends.append(handle.result(60))
            except Exception as error:  # noqa: BLE001 - the test checks it
                ends.append(error)

        threads.append(threading.Thread(target=wait))
        threads[-1].start()
        return ends

    yield start
    for thread in threads:
        thread.join(90)


def sessions(db: Connection[Any]) -> list[int]:
    """Returns the pids of the sessions on the server that serve callers of ``result``."""
    return [
        pid
        for (pid,) in db.execute(
            "select pid from pg_stat_activity where application_name = 'pgqueue wait' and datname = current_database()"
        )
    ]


def has_read_the_jobs(db: Connection[Any]) -> bool:
    return bool(
        db.execute(
            "select 1 from pg_stat_activity where application_name = 'pgqueue wait' and state = 'idle'"
            " and query like '%from pgqueue.jobs%' and datname = current_database()"
        ).fetchall()
    )


def finish(db: Connection[Any], *outcomes: Outcome) -> None:
    hand = Hand(db, ["t"])
    for attempt in hand.claim(1000):
        hand.settle(attempt, outcomes[0] if outcomes else DONE)


def test_all_callers_that_wait_for_results_share_one_connection(app, jobs, db, waiting) -> None:
    handles = jobs(60)
    ends = [waiting(handle) for handle in handles[:20]]

    async def gathered() -> list[Any]:
        finishing = asyncio.create_task(asyncio.to_thread(finish_when_seen))
        try:
            return await asyncio.gather(*(handle.aresult(60) for handle in handles))
        finally:
            await finishing
            await app.aclose()

    def finish_when_seen() -> None:
        wait_until(lambda: has_read_the_jobs(db))
        assert len(sessions(db)) == 1
        finish(db)

    assert asyncio.run(gathered()) == ["done"] * 60
    wait_until(lambda: all(ends))
    assert [end for [end] in ends] == ["done"] * 20


def test_one_query_reads_the_rows_for_all_callers_that_wait(app, jobs, db, waiting, monkeypatch) -> None:
    asked: list[int] = []
    real = lookout.statements.get_ended
    monkeypatch.setattr(
        lookout.statements, "get_ended", lambda ids, watched: (asked.append(len(ids)), real(ids, watched))[1]
    )
    ends = [waiting(handle) for handle in jobs(30)]
    wait_until(lambda: 30 in asked)
    regular = asked.index(30)
    wait_until(lambda: asked.count(30) >= 3)
    assert set(asked[regular:]) == {30}, "each query is for all callers"
    finish(db)
    wait_until(lambda: all(ends))


def test_each_caller_gets_the_result_or_the_error_of_its_own_job(jobs, db, waiting) -> None:
    first, second = jobs(2)
    one, other = waiting(first), waiting(second)
    hand = Hand(db, ["t"])
    attempts = {attempt.id: attempt for attempt in hand.claim(2)}
    hand.settle(attempts[first.id], Outcome.completed('"mine"'))
    wait_until(lambda: one)
    assert one == ["mine"]
    assert not other
    hand.settle(attempts[second.id], Outcome.dead("permanent_error", ValueError("boom")))
    wait_until(lambda: other)
    assert isinstance(other[0], JobFailedError)


def test_a_caller_goes_on_waiting_when_the_connection_is_cut(jobs, db, waiting) -> None:
    [handle] = jobs(1)
    ends = waiting(handle)
    wait_until(lambda: has_read_the_jobs(db))
    [pid] = sessions(db)
    db.execute("select pg_terminate_backend(%s)", [pid])
    wait_until(lambda: sessions(db) not in ([], [pid]))
    assert not ends
    finish(db)
    wait_until(lambda: ends)
    assert ends == ["done"]


def test_waiting_fails_immediately_if_the_server_was_never_reachable() -> None:
    with pytest.raises(DatabaseUnreachableError, match="PGQ-103"):
        App("postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=2").handle(1).result(30)


def test_the_connection_is_closed_some_time_after_the_last_caller_has_stopped_waiting(
    jobs, db, monkeypatch
) -> None:
    monkeypatch.setattr(lookout, "LINGER", 0.2)
    [handle] = jobs(1)
    for _ in range(2):
        with pytest.raises(WaitTimeoutError):
            handle.result(0.01)
        wait_until(lambda: not sessions(db))


def test_after_a_close_of_the_app_the_connection_is_closed_when_no_caller_waits_any_more(
    app, jobs, db, waiting
) -> None:
    [handle] = jobs(1)
    with pytest.raises(WaitTimeoutError):
        handle.result(0.01)
    assert len(sessions(db)) == 1
    app.close()
    wait_until(lambda: not sessions(db), timeout=5)
    ends = waiting(handle)
    wait_until(lambda: has_read_the_jobs(db))
    app.close()
    finish(db)
    wait_until(lambda: ends)
    assert ends == ["done"]
    wait_until(lambda: not sessions(db), timeout=5)


def test_a_forked_process_waits_on_a_separate_connection(jobs, db, waiting) -> None:
    first, second = jobs(2)
    ends = waiting(first)
    wait_until(lambda: has_read_the_jobs(db))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if second.result(60) == "done" else 2
        finally:
            os._exit(code)
    wait_until(lambda: len(sessions(db)) == 2)
    finish(db)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    wait_until(lambda: ends)
    assert ends == ["done"], "the child process has not closed the connection of its parent"


def test_many_loops_that_run_one_after_the_other_use_one_connection(app, jobs, db) -> None:
    [handle] = jobs(1)

    async def look() -> None:
        with pytest.raises(WaitTimeoutError):
            await handle.aresult(0)

    for _ in range(10):
        asyncio.run(look())
    assert len(sessions(db)) == 1


def test_a_cancelled_wait_is_no_longer_registered(app, jobs, db) -> None:
    [handle] = jobs(1)

    async def give_up() -> None:
        waits = [asyncio.create_task(handle.aresult()) for _ in range(5)]
        await asyncio.to_thread(wait_until, lambda: has_read_the_jobs(db))
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    asyncio.run(give_up())
    thread = app.store.waiters._lookout
    assert thread is not None
    assert not thread._waiters


def test_waiting_ends_at_its_timeout_while_a_test_freezes_the_clock(app, jobs, wait_for) -> None:
    [handle] = jobs(1)
    with frozen(), pytest.raises(WaitTimeoutError):
        wait_for(handle, 0.3)


def test_a_result_arrives_while_a_test_freezes_the_clock(app, jobs, db, wait_for) -> None:
    [handle] = jobs(1)
    finishing = threading.Thread(target=lambda: (wait_until(lambda: has_read_the_jobs(db)), finish(db)))
    finishing.start()
    with frozen():
        assert wait_for(handle, 60) == "done"
    finishing.join()


@pytest.fixture(params=["sync", "async"])
def wait_for(request: pytest.FixtureRequest, app: App) -> Callable[[JobHandle, float], Any]:
    if request.param == "sync":
        return JobHandle.result
    return lambda handle, timeout: asyncio.run(handle.aresult(timeout))


KEPT: list[Any] = []  # if Python destroyed tasks of a closed loop, it would print warnings


def run_and_close(steps) -> Any:
    """Runs the steps on an event loop that is closed without cancelling its tasks first."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(steps)
    finally:
        KEPT.append(asyncio.all_tasks(loop))
        loop.close()


@pytest.mark.parametrize("run", [asyncio.run, run_and_close])
def test_the_pool_of_an_event_loop_is_closed_after_the_loop_is_closed(app, jobs, db, run) -> None:
    [handle] = jobs(1)
    for _ in range(6):
        assert run(handle.ajob()).state == "pending"
    own = "select count(*) from pg_stat_activity where application_name = 'pgqueue app' and datname = current_database()"
    # These are the connections of the last loop and of sync callers.
    wait_until(lambda: db.execute(own).fetchone() <= (3,))
    gc.collect()
    app.close()
    wait_until(lambda: db.execute(own).fetchone() == (0,))


def test_a_closed_app_has_no_connection_until_it_needs_a_connection_again(app, db) -> None:
    def own() -> int:
        [(count,)] = db.execute(
            "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'pgqueue app'"
        )
        return count

    async def later() -> None:
        for _ in range(2):
            await app.tasks["t"].aenqueue()
            assert own() >= 1
            await app.aclose()
            wait_until(lambda: own() == 0)

    app.task(name="t")(lambda: None)
    for _ in range(2):
        app.tasks["t"].enqueue()
        assert own() >= 1
        app.close()
        wait_until(lambda: own() == 0)
    asyncio.run(later())
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (4,)


def test_reads_that_begin_at_the_same_time_open_only_one_pool(app, jobs, db) -> None:
    [handle] = jobs(1)

    async def read() -> int:
        await asyncio.gather(*(handle.ajob() for _ in range(50)))
        [(count,)] = db.execute(
            "select count(*) from pg_stat_activity where application_name = 'pgqueue app' and datname = current_database()"
        ).fetchall()
        await app.aclose()
        return int(count)

    assert asyncio.run(read()) < 20


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_error_of_an_exhausted_pool_says_what_to_do(dsn, kind, monkeypatch) -> None:
    from pgqueue.database import pools
    from pgqueue.errors import PoolExhaustedError

    monkeypatch.setattr(pools, "POOL_PATIENCE", 0.05)
    app = App(dsn, pool_size=1)
    expected = pytest.raises(PoolExhaustedError, match=r"(?s)PGQ-110.*all 1 are in use.*App\(pool_size=2\)")

    async def nested() -> None:
        async with app.aconnection():
            with expected:
                async with app.aconnection():
                    pass
        await app.aclose()

    if kind == "async":
        asyncio.run(nested())
    else:
        with app.connection(), expected, app.connection():
            pass
    app.close()


def test_the_pool_of_a_worker_has_two_connections_for_each_slot_unless_the_app_sets_pool_size(dsn) -> None:
    from pgqueue.config import WorkerSettings
    from pgqueue.worker.worker import Worker

    settings = WorkerSettings(queues={"default": None}, concurrency=20)
    sizes = []
    for app in (App(dsn), App(dsn, pool_size=5)):
        app.task(name="t")(_nothing)
        Worker(app, settings)
        sizes.append(app.store.pools._size)
    assert sizes == [40, 5]


def _nothing() -> None: ...


def test_a_notification_with_any_payload_harms_no_caller_that_waits(jobs, db, waiting) -> None:
    [handle] = jobs(1)
    ends = waiting(handle)
    wait_until(lambda: has_read_the_jobs(db))
    for payload in ("9" * 7000, "9" * 19, "x" * 7000, "²", "-1", "٣", ""):
        db.execute("select pg_notify('pgqueue_finished', %s)", [payload])
    finish(db)
    wait_until(lambda: ends)
    assert ends == ["done"]
