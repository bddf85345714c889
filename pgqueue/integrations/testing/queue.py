"""``QueueInTest``: what a test can ask and do in its own transaction. The fixture ``pgqueue`` returns it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pgqueue.app.app import App
from pgqueue.database import statements
from pgqueue.database.joining import joined, kind_of
from pgqueue.database.statements.jobs import JobFilter
from pgqueue.errors import WrongConnectionError
from pgqueue.integrations.testing.drained import Drained, name_of_task
from pgqueue.integrations.testing.draining import Choice, Drain, raise_caught
from pgqueue.integrations.testing.enqueued import Wanted, shown
from pgqueue.integrations.testing.link import TransactionLink
from pgqueue.integrations.testing.moving import Time
from pgqueue.integrations.testing.routing import routed
from pgqueue.integrations.testing.transaction import JoinedTransaction
from pgqueue.model.job import Job
from pgqueue.model.units import seconds
from pgqueue.sql import Statement
from pgqueue.text.counted import count as counted

T = TypeVar("T")
OPEN = ("pending", "retrying", "waiting", "running")
MOST_READ = 100_000
FOREVER = float("inf")
Names = object | Iterable[object] | None


class QueueInTest:
    """The jobs in the transaction of a test. ``connection`` is the test's own connection or session.

    While the block of ``joined_queue`` is open, each enqueue of the app that joins no transaction joins this one. So one rollback at the
    end of the test removes business rows and jobs. Methods that begin with ``a`` are the twins for async connections.
    """

    def __init__(self, app: App, connection: object) -> None:
        self.app = app
        self.connection = connection
        self._transaction = JoinedTransaction(connection)
        self._link = TransactionLink(self._transaction)
        self._time = Time(app, self._link)

    # ---------------------------------------------------------------- what is enqueued

    def all_enqueued(self, task: object = None, **wanted: object) -> list[Job]:
        """Returns the unfinished jobs that fit, the oldest first. Takes the arguments of ``assert_enqueued``, except ``count``."""
        return self._fitting(Wanted.of(task, **wanted), self._read, self._now())

    async def aall_enqueued(self, task: object = None, **wanted: object) -> list[Job]:
        """``all_enqueued`` for async connections."""
        jobs, now = await self._aread(Wanted.of(task, **wanted)), await self._anow()
        return self._fitting(Wanted.of(task, **wanted), lambda _: jobs, now)

    def assert_enqueued(self, task: object = None, *, count: int | None = None, **wanted: object) -> Job:
        """Returns the oldest unfinished job that fits. If there is none, raises AssertionError, which lists the jobs that there are.

        ``task``: the task or its name. ``args``: a part of the arguments, at any depth. ``queue``, ``priority``, ``tags``, ``state``.
        ``run_at``: a datetime, or a duration from now such as "1h"; a second of difference is allowed. ``count``: exactly so many fit.
        ``state`` can be a final one, such as "completed".
        """
        wanted_ = Wanted.of(task, **wanted)
        jobs, now = self._read(wanted_), self._now()
        return self._asserted(wanted_, count, jobs, now, self._shown)

    async def aassert_enqueued(
        self, task: object = None, *, count: int | None = None, **wanted: object
    ) -> Job:
        """``assert_enqueued`` for async connections."""
        wanted_ = Wanted.of(task, **wanted)
        jobs, now = await self._aread(wanted_), await self._anow()
        there = await self._transaction.arun(_list(wanted_.state, reveal=False))
        return self._asserted(wanted_, count, jobs, now, lambda _: there)

    def refute_enqueued(self, task: object = None, **wanted: object) -> None:
        """Raises AssertionError if an unfinished job fits. Takes the arguments of ``assert_enqueued``, except ``count``."""
        wanted_ = Wanted.of(task, **wanted)
        _refute(wanted_, self.all_enqueued(task, **wanted), self._now())

    async def arefute_enqueued(self, task: object = None, **wanted: object) -> None:
        """``refute_enqueued`` for async connections."""
        _refute(Wanted.of(task, **wanted), await self.aall_enqueued(task, **wanted), await self._anow())

    def _read(self, wanted: Wanted) -> list[Job]:
        return self._transaction.run(_list(wanted.state))

    async def _aread(self, wanted: Wanted) -> list[Job]:
        return await self._transaction.arun(_list(wanted.state))

    def _shown(self, wanted: Wanted) -> list[Job]:
        return self._transaction.run(_list(wanted.state, reveal=False))

    @staticmethod
    def _fitting(wanted: Wanted, read: Callable[[Wanted], list[Job]], now: datetime) -> list[Job]:
        return [job for job in reversed(read(wanted)) if wanted.misfit(job, now) is None]

    def _asserted(
        self,
        wanted: Wanted,
        count: int | None,
        jobs: list[Job],
        now: datetime,
        there: Callable[[Wanted], list[Job]],
    ) -> Job:
        fitting = self._fitting(wanted, lambda _: jobs, now)
        if fitting and count in (None, len(fitting)):
            return fitting[0]
        if count == 0 and not fitting:
            msg = "count=0 asserts that there is no job: call refute_enqueued"
            raise TypeError(msg)
        expected = "a job" if count is None else counted(count, "job")
        lines = [
            f"Expected {expected}: {wanted}",
            f"Found {len(fitting)} that fit." if fitting else "No job fits.",
        ]
        if not fitting:
            lines += _nearly(wanted, jobs, now)
        raise AssertionError("\n".join([*lines, shown(list(reversed(there(wanted))), now)]))

    def _now(self) -> datetime:
        return _utc(self._transaction.run(statements.read_clock()))

    async def _anow(self) -> datetime:
        return _utc(await self._transaction.arun(statements.read_clock()))

    # ---------------------------------------------------------------- running jobs

    def drain(
        self,
        *,
        queue: str | Sequence[str] | None = None,
        task: object = None,
        with_scheduled: bool | float | str | timedelta = False,
        max_jobs: int = 1000,
        raise_errors: bool = False,
    ) -> Drained:
        """Runs all jobs that are due, also those that handlers enqueue, in this transaction. Returns what has happened.

        Real claims, leases and outcomes: retries, priorities, limits and keys hold as in a worker. A handler that is a ``def`` runs on the
        thread of this call, one that is an ``async def`` on an event loop of its own. A job that is due later is left, and so is one
        that another job or a pause keeps back.

        ``queue``, ``task``: run only these. ``with_scheduled``: also run what is due later (True), or within a duration: the time moves
        to each next job, as by ``travel``. ``max_jobs``: stop after so many attempts. ``raise_errors``: raise the first exception that
        makes an attempt fail; by default, ``drain().assert_no_failures()`` raises AssertionError.
        """
        self._refuse_async("drain")
        drained = self._on_a_loop(lambda: self._drain(queue, task, with_scheduled, max_jobs))
        raise_caught(drained, raise_errors=raise_errors)
        return drained

    async def adrain(
        self,
        *,
        queue: str | Sequence[str] | None = None,
        task: object = None,
        with_scheduled: bool | float | str | timedelta = False,
        max_jobs: int = 1000,
        raise_errors: bool = False,
    ) -> Drained:
        """``drain`` on the running event loop. A handler that is a ``def`` runs on a thread, as in a worker."""
        drain = await self._drain(queue, task, with_scheduled, max_jobs)
        drained = await drain.run()
        raise_caught(drained, raise_errors=raise_errors)
        return drained

    async def _drain(
        self, queue: Names, task: Names, with_scheduled: bool | float | str | timedelta, max_jobs: int
    ) -> Drain:
        await self._time.declare()
        choice = Choice(_names(queue), _names(task), max_jobs)
        return Drain(self.app, self._link, choice, self._time.fire, _mover(self._time, with_scheduled))

    def _on_a_loop(self, make: Callable[[], Awaitable[Drain]]) -> Drained:
        """Runs the drain on an event loop in another thread. Meanwhile, this thread runs the handlers that are a ``def``."""
        ready: Future[Drain] = Future()
        lent = threading.Event()
        ended: Future[Drained] = Future()

        async def play() -> Drained:
            try:
                drain = await make()
            except BaseException as error:
                ready.set_exception(error)
                raise
            ready.set_result(drain)
            await asyncio.to_thread(lent.wait)
            return await drain.run()

        thread = threading.Thread(target=_complete, args=(ended, play), name="pgqueue drain", daemon=True)
        with _shared(self.connection):
            thread.start()
            try:
                ready.result().runner.perform_here(lent.set)
                return ended.result()
            finally:
                lent.set()
                thread.join(10)

    # ---------------------------------------------------------------- the time

    def travel(self, duration: float | str | timedelta) -> None:
        """Moves the time of this transaction's jobs forward: ``travel("1h")``. What was due within that duration is due now.

        The clock of Python and of the database do not move. Schedules enqueue a job at each of their fire times on the way.
        """
        self._refuse_async("travel")
        self._wait(lambda: self._time.travel(duration))

    async def atravel(self, duration: float | str | timedelta) -> None:
        """``travel`` for async connections."""
        await self._time.travel(duration)

    def _wait(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Runs a coroutine that never waits, because its statements are sync, without an event loop."""
        coroutine = make()
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        coroutine.close()
        raise AssertionError

    # ---------------------------------------------------------------- the connection

    def _refuse_async(self, method: str) -> None:
        if self._transaction.is_async:
            raise WrongConnectionError(
                f"{method}() needs a sync connection, and the test's connection is async.",
                do=f"write: await pgqueue.a{method}(…)",
            )


@contextmanager
def joined_queue(app: App, connection: object) -> Iterator[QueueInTest]:
    """In this block, all that ``app`` does on its own connections joins the transaction of ``connection``.

    The caller begins that transaction and rolls it back. ``connection``: psycopg's, SQLAlchemy's (Connection, Session and their async
    twins), asyncpg's or Django's. Raises WrongConnectionError.
    """
    found = QueueInTest(app, connection)
    try:
        with routed(app, found._transaction):  # noqa: SLF001
            yield found
    finally:
        found._transaction.release()  # noqa: SLF001


@contextmanager
def _shared(connection: object) -> Iterator[None]:
    """Allows other threads to use Django's connection, which otherwise refuses them."""
    if kind_of(connection) != "django":
        yield
        return
    joined(connection)
    connection.inc_thread_sharing()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        connection.dec_thread_sharing()  # type: ignore[attr-defined]


def _complete(ended: Future[Drained], play: Callable[[], Coroutine[Any, Any, Drained]]) -> None:
    try:
        ended.set_result(asyncio.run(play()))
    except BaseException as error:  # noqa: BLE001 - the caller of drain() gets it
        ended.set_exception(error)


def _mover(time: Time, with_scheduled: bool | float | str | timedelta) -> Callable[[], Awaitable[bool]]:
    if isinstance(with_scheduled, bool):
        left = FOREVER if with_scheduled else -1.0
    else:
        left = seconds(with_scheduled, "with_scheduled", past=False)
    until = time.ahead + left

    async def move() -> bool:
        return left >= 0 and await time.travel_to_next(until - time.ahead)

    return move


def _names(names: Names) -> tuple[str, ...] | None:
    if names is None:
        return None
    some = names if isinstance(names, list | tuple | set) else [names]
    return tuple(name_of_task(name) for name in some)


def _list(state: str | None, *, reveal: bool = True) -> Statement[list[Job]]:
    states = list(OPEN) if state is None else [state]
    return statements.list_jobs(JobFilter(states=states), count=MOST_READ, reveal=reveal)


def _nearly(wanted: Wanted, jobs: list[Job], now: datetime) -> list[str]:
    """Returns a line for each job of the wanted task: the first thing that is not as expected."""
    same = [job for job in reversed(jobs) if wanted.task in (None, job.task)]
    return [f"Job {job.id} does not fit: {wanted.misfit(job, now)}" for job in same[:5]]


def _refute(wanted: Wanted, fitting: list[Job], now: datetime) -> None:
    if fitting:
        msg = f"Expected no job: {wanted}\n{shown(fitting, now)}"
        raise AssertionError(msg)


def _utc(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)
