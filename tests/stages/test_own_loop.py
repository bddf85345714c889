"""A handler can damage the event loop that it shares with its worker. The worker goes on nevertheless, and still stops on a signal."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.config import WorkerSettings
from pgqueue.worker.exit_codes import FAILED, STOPPED
from pgqueue.worker.worker import Worker
from tests.waiting import wait_until


class Deadly(BaseException):
    """An error that is no Exception, and that asyncio does not treat in a special way."""


def fails(*_: object) -> Any:
    raise SystemExit(3)


def cancel_all() -> None:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


def cancel_again_and_again() -> None:
    """Cancels all tasks of the loop every 20 ms for a second. This also cancels the tasks that the worker starts during this second in order to wait."""
    loop = asyncio.get_running_loop()
    for turn in range(50):
        loop.call_later(0.02 * turn, lambda: [task.cancel() for task in asyncio.all_tasks(loop)])


def exit_in_callbacks() -> None:
    loop = asyncio.get_running_loop()
    for error in (SystemExit(0), KeyboardInterrupt(), Deadly(), asyncio.CancelledError()):
        future = loop.create_future()
        future.add_done_callback(lambda _, error=error: (_ for _ in ()).throw(error))
        future.set_result(None)
        loop.call_soon(lambda error=error: (_ for _ in ()).throw(error))


def break_factory() -> None:
    asyncio.get_running_loop().set_task_factory(fails)


def break_exception_handler() -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(fails)
    loop.call_soon(lambda: 1 / 0)


def ignore_signals() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def remove_signals() -> None:
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


def take_signals() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)


def stop() -> None:
    asyncio.get_running_loop().stop()


def close() -> None:
    asyncio.get_running_loop().close()


# Each function does something to the event loop that a handler should not do.
DEEDS = [
    cancel_all, cancel_again_and_again, exit_in_callbacks, break_factory, break_exception_handler, ignore_signals,
    remove_signals, take_signals, stop, close,
]  # fmt: skip


@pytest.fixture(autouse=True)
def _signals() -> Any:
    usual = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in usual.items():
        signal.signal(number, handler)


def worked(app: App, meanwhile: Callable[[], None]) -> int:
    """Runs a worker. Meanwhile, another thread calls ``meanwhile`` and then sends SIGTERM. Returns the exit code of the worker."""
    worker = Worker(app, WorkerSettings(queues={"default": None}, poll=0.2, concurrency=4))
    failures: list[BaseException] = []

    def play() -> None:
        try:
            wait_until(lambda: hasattr(worker, "_own_loop"))
            meanwhile()
        except BaseException as error:  # noqa: BLE001 - it is raised below
            failures.append(error)
        finally:
            wait_until(lambda: worker._stopping.is_set() or signal.raise_signal(signal.SIGTERM))

    thread = threading.Thread(target=play)
    thread.start()
    code = worker.run()
    thread.join()
    if failures:
        raise failures[0]
    return code


def are_completed(db: Connection[Any], task: str) -> bool:
    rows = db.execute("select state from pgqueue.jobs where task = %s", [task]).fetchall()
    return bool(rows) and all(state == "completed" for (state,) in rows)


@pytest.mark.parametrize("deed", DEEDS)
def test_a_worker_goes_on_and_still_stops_on_sigterm_whatever_a_handler_did_to_the_loop(
    db: Connection[Any], app: App, deed: Callable[[], None]
) -> None:
    handlers: list[Any] = []

    @app.task(name="deed", retry=False)
    async def _deed() -> None:
        handlers.append(signal.getsignal(signal.SIGTERM))
        deed()

    @app.task(name="ok", retry=[0.0] * 50)
    async def _ok() -> None:
        await asyncio.sleep(0.01)

    def meanwhile() -> None:
        db.execute("insert into pgqueue.jobs (task) values ('deed')")
        wait_until(
            lambda: db.execute(
                "select 1 from pgqueue.jobs where task = 'deed' and finished_at > '-infinity'"
            ).fetchone()
        )
        db.execute("insert into pgqueue.jobs (task) select 'ok' from generate_series(1, 20)")
        wait_until(lambda: are_completed(db, "ok"))
        wait_until(lambda: signal.getsignal(signal.SIGTERM) is handlers[0])
        leader = "select 1 from pgqueue.workers where state = 'running' and expires_at > now()"
        assert db.execute(leader).fetchone()

    assert worked(app, meanwhile) == STOPPED
    gc.collect()


def test_a_worker_drains_and_exits_with_1_if_a_handler_breaks_the_loop_for_good(
    db: Connection[Any], app: App, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker logs one line, however long it drains. A signal during the drain counts as the first signal. Only a second signal would hurry the worker."""
    mended: list[str] = []

    @app.task(name="deed")
    async def _deed() -> None:
        await asyncio.get_running_loop().shutdown_default_executor()
        mend = worker._own_loop.mend
        worker._own_loop.mend = lambda: mended.append(mend()) or mended[-1]  # type: ignore[method-assign]
        async with asyncio.timeout(60):
            while not any(mended[:-1]):
                await asyncio.sleep(0.01)
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)

    worker = Worker(app, WorkerSettings(queues={"default": None}, poll=0.2))
    db.execute("insert into pgqueue.jobs (task) values ('deed')")
    with caplog.at_level(logging.ERROR, "pgqueue"):
        code = worker.run()
    assert code == FAILED
    assert [record.message for record in caplog.records] == [
        "a handler has shut down the threads of the event loop; the worker stops and exits with 1"
    ]
    assert are_completed(db, "deed")


def test_an_executor_that_a_handler_has_set_and_shut_down_is_replaced(
    db: Connection[Any], app: App, caplog: pytest.LogCaptureFixture
) -> None:
    """If the DSN contains a host name, each new connection needs the executor, because the executor resolves the name."""

    @app.task(name="deed")
    async def _deed() -> None:
        with ThreadPoolExecutor(1) as executor:
            asyncio.get_running_loop().set_default_executor(executor)

    @app.task(name="resolves", retry=[0.1] * 200)
    async def _resolves() -> None:
        await asyncio.get_running_loop().getaddrinfo("localhost", None)

    def meanwhile() -> None:
        for task in ("deed", "resolves"):
            db.execute("insert into pgqueue.jobs (task) values (%s)", [task])
            wait_until(lambda task=task: are_completed(db, task))

    with caplog.at_level(logging.ERROR, "pgqueue"):
        assert worked(app, meanwhile) == STOPPED
    assert "shut down the executor of the event loop" in caplog.text


def test_a_worker_goes_on_if_a_logging_handler_of_the_user_fails_on_a_line_of_asyncio(
    db: Connection[Any], app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise ValueError(record.name)

    @app.task(name="deed")
    async def _deed() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)

    def meanwhile() -> None:
        for _ in range(2):
            db.execute("insert into pgqueue.jobs (task) values ('deed')")
            wait_until(lambda: are_completed(db, "deed"))

    monkeypatch.setattr(logging.getLogger(), "handlers", [Broken()])
    assert worked(app, meanwhile) == STOPPED


def test_a_worker_logs_an_error_and_exits_with_1_if_one_of_its_services_ends_unexpectedly(
    db: Connection[Any], app: App, caplog: pytest.LogCaptureFixture
) -> None:
    """A service is an asyncio task that runs as long as the worker. Here a handler cancels the service that settles jobs.

    So the outcome of the job's first attempt is not written. The job is not lost, because the next worker runs it again.
    """

    runs: list[int] = []

    @app.task(name="deed", retry=[0.0])
    async def _deed() -> None:
        runs.append(1)
        if len(runs) > 1:
            return
        for task in [one for one in gc.get_objects() if isinstance(one, asyncio.Task)]:
            if "Settler.run" in repr(task.get_coro().cr_await):  # type: ignore[union-attr]
                task.cancel()

    db.execute("insert into pgqueue.jobs (task) values ('deed')")
    with caplog.at_level(logging.ERROR, "pgqueue"):
        code = Worker(app, WorkerSettings(queues={"default": None}, poll=0.2)).run()
    assert code == FAILED
    assert "the service Settler.run failed, which is a bug" in caplog.text
    assert worked(app, lambda: wait_until(lambda: are_completed(db, "deed"))) == STOPPED
    assert len(runs) == 2


def test_a_worker_leaves_no_service_running_even_if_its_last_step_raises(
    db: Connection[Any], app: App, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(app, WorkerSettings(queues={"default": None}, drain=True))
    monkeypatch.setattr(worker, "_finish", fails)
    with caplog.at_level(logging.ERROR), pytest.raises(SystemExit):
        worker.run()
    gc.collect()
    asyncio.run(worker._links.close())
    assert [record.message for record in caplog.records] == []
