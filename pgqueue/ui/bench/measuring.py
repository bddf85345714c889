"""Measures. A benchmark has a queue of its own, a task and a worker in this process, which serves only this queue.

While it runs, it has the lease of the leader, if no worker had it. So its worker fires no schedule, raises no alert and purges nothing.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from psycopg import Connection

from pgqueue.app.app import App
from pgqueue.config import WorkerSettings
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import CheckFailedError, WaitTimeoutError
from pgqueue.maintenance.alerting.settings import AlertSettings
from pgqueue.runtime.clock import monotonic
from pgqueue.ui.bench.figures import Figures, quantile
from pgqueue.worker.worker import Worker

# How the time is shared by what is measured.
TRIPS, SINGLE, MANY, WORK, PICKUP = 0.15, 0.15, 0.15, 0.35, 0.2
AT_ONCE = 1000  # jobs of one call, which writes them by COPY
MOST = 200_000  # jobs in the queue, so that they are soon removed
REMOVED_AT_ONCE = 5000
SLOTS = 100
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NOBODY = -1  # the id under which the benchmark has the leader's lease; no worker has it
PATIENCE = 10.0  # seconds until a single job must have started
BETWEEN = 0.03  # seconds between two single jobs: wake-ups that follow each other within 10 ms become one (wake.sql)
WARM_UP = 5  # single jobs that are not counted, if there are enough others


class Bench:
    """``name``: the name of the queue, of the task and of the app. ``first``: the id of its first job."""

    def __init__(self, dsn: str, connection: Connection, seconds: float) -> None:
        self.name = f"pgq-bench-{secrets.token_hex(4)}"
        self._dsn, self._connection, self._seconds = dsn, connection, seconds
        self._stop = Stop()
        self._app = App(dsn, name=self.name)
        self._task = self._app.task(name=self.name, queue=self.name, store_result=False)(self._noop)
        self._first = 0
        self._jobs = 0
        self._called: Callable[[int], None] = lambda _number: None

    async def _noop(self, number: int) -> None:
        self._called(number)

    # ---------------------------------------------------------------- before and after

    def check_idle(self) -> None:
        """Raises CheckFailedError if workers are alive or jobs are due, because the benchmark would slow them down."""
        alive = run(self._connection, statements.list_living_workers())
        due = sum(queue.due for queue in run(self._connection, statements.count_queues()))
        if alive or due:
            raise CheckFailedError(
                "The queue is in use, so nothing was measured.",
                why=f"workers alive: {len(alive)}, jobs due: {due:,}; the benchmark would slow them down, and they the benchmark",
                do="run it at a quiet time, or all the same with --anyway",
            )

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Removes all rows of the benchmark at the end of the block, whatever happens in it."""
        self._stop.listen()
        self._remove()  # if the role may not do this, nothing has been stored yet
        leads = run(self._connection, statements.elect(NOBODY, 3 * self._seconds + 60)).leads
        try:
            yield
        finally:
            with _undisturbed():
                self._app.close()
                if leads:
                    run(self._connection, statements.stop_worker(NOBODY))
                self._remove()

    def _remove(self) -> None:
        while (
            run(self._connection, statements.remove_bench(self.name, self._first, REMOVED_AT_ONCE))
            == REMOVED_AT_ONCE
        ):
            pass

    # ---------------------------------------------------------------- measuring

    def measure(self, tell: Callable[[str], None]) -> Figures:
        """Returns the figures. ``tell``: is told what is measured next."""
        began = monotonic()
        tell("the way to the server and its disk")
        trip, commit = self._trips()
        tell("enqueuing")
        self._first = self._task.enqueue(0).id
        single = self._rate(SINGLE, lambda: self._task.enqueue(0), 1)
        many = [{"number": number} for number in range(AT_ONCE)]
        many_rate = self._rate(MANY, lambda: self._task.enqueue_many(many), AT_ONCE)
        tell("a worker")
        rate, share = self._work()
        tell("single jobs")
        waits = self._pickups()
        return Figures(
            round_trip_ms=trip, commit_ms=commit, enqueue_per_second=single, enqueue_many_per_second=many_rate, worker_per_second=rate,
            cpu_share=share, pickup_p50_ms=quantile(waits, 0.5), pickup_p99_ms=quantile(waits, 0.99), jobs=self._jobs,
            seconds=monotonic() - began,
        )  # fmt: skip

    def _trips(self) -> tuple[float, float]:
        """Returns the median times of a statement that only reads, and of a small commit, in milliseconds.

        The two take turns, so that the noise of the machine disturbs both.
        """
        took: tuple[list[float], list[float]] = ([], [])
        end = monotonic() + TRIPS * self._seconds
        while monotonic() < end or len(took[0]) < 5:
            self._stop.check()
            for statement, times in zip(
                (statements.read_clock(), statements.write_little()), took, strict=True
            ):
                before = monotonic()
                run(self._connection, statement)
                times.append(1000 * (monotonic() - before))
        return quantile(took[0], 0.5), quantile(took[1], 0.5)

    def _rate(self, share: float, call: Callable[[], object], jobs: int) -> float:
        """Returns how many jobs a second the calls store, each of which stores ``jobs``."""
        call()  # opens the connection, and prepares the statement
        began, stored = monotonic(), 0
        while (took := monotonic() - began) < share * self._seconds and stored < MOST:
            self._stop.check()
            call()
            stored += jobs
        self._jobs += stored + jobs
        return stored / took if stored else jobs / max(took, 1e-9)

    def _worker(self, *, drain: bool) -> _Worker:
        settings = WorkerSettings(queues={self.name: None}, concurrency=SLOTS, drain=drain)
        return _Worker(self._app, settings, self._stop)

    def _run(self, worker: _Worker) -> None:
        worker.run()
        self._stop.check()

    def _work(self) -> tuple[float, float]:
        """Lets a worker run the jobs that are there, for a limited time. Returns jobs per second, and the share of a CPU that it used."""
        worker, done = self._worker(drain=True), Done()
        limit = WORK * self._seconds

        def called(_number: int) -> None:
            if not done.count:
                done.began, done.cpu = monotonic(), time.process_time()
            done.count += 1
            done.ended, done.cpu_ended = monotonic(), time.process_time()
            if done.ended - done.began > limit and not done.is_over:
                done.is_over = True
                worker.stop()

        self._called = called
        self._run(worker)
        took = max(done.ended - done.began, 1e-9)
        return done.count / took, min((done.cpu_ended - done.cpu) / took, 1.0)

    def _pickups(self) -> list[float]:
        """Enqueues single jobs, each when the one before has started. Returns how many milliseconds passed until each started."""
        self._remove()
        worker = self._worker(drain=False)
        pickups = Pickups(self._task.enqueue, PICKUP * self._seconds)

        def called(number: int) -> None:
            if number == 0:  # the worker has started
                pickups.begin(worker.stop)
            else:
                pickups.started(number)

        self._called = called
        self._task.enqueue(0)
        try:
            self._run(worker)
        finally:
            pickups.end()
        if not pickups.is_over:
            raise KeyboardInterrupt  # a person has asked the worker to stop, by pgq workers stop
        self._jobs += len(pickups.waits)
        return pickups.waits[WARM_UP:] if len(pickups.waits) > 4 * WARM_UP else pickups.waits


class _Worker(Worker):
    """A worker that tells ``asked`` of the signals that come while it works, and leaves later ones to it.

    The benchmark itself calls ``stop`` without a number.
    """

    def __init__(self, app: App, settings: WorkerSettings, asked: Stop) -> None:
        super().__init__(app, settings, alerts=AlertSettings())
        self._asked = asked

    def stop(self, number: int | None = None) -> None:
        if number is not None:
            self._asked.note()
        super().stop(signal.SIGTERM if number is None else number)

    async def _work(self, *, ends_process: bool) -> int:
        try:
            return await super()._work(ends_process=ends_process)
        finally:
            await asyncio.sleep(0.01)  # the loop handles the signals that it has received
            for number in STOPS:
                asyncio.get_running_loop().remove_signal_handler(number)
            self._asked.listen()


class Done:
    """What the handler has counted, and when. ``is_over``: the time is over, so the worker was stopped."""

    def __init__(self) -> None:
        self.count = 0
        self.began = self.ended = self.cpu = self.cpu_ended = 0.0
        self.is_over = False


class Pickups:
    """Enqueues single jobs on a thread of its own, because the worker has the main thread. ``is_over``: the time is over."""

    def __init__(self, enqueue: Callable[[int], object], seconds: float) -> None:
        self._enqueue, self._seconds = enqueue, seconds
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._drive, name="pgq bench")
        self._number, self._at = 0, 0.0
        self._is_abandoned = False
        self._error: Exception | None = None
        self.waits: list[float] = []
        self.is_over = False

    def begin(self, stop: Callable[[], None]) -> None:
        """Begins to enqueue. ``stop`` stops the worker. Called on the worker's loop."""
        self._loop, self._stop = asyncio.get_running_loop(), stop
        self._thread.start()

    def started(self, number: int) -> None:
        """Called by the handler of a job."""
        if number == self._number:
            self._at = monotonic()
            self._started.set()

    def end(self) -> None:
        """Waits for the end of the thread. Raises the error that has ended it."""
        self._is_abandoned = True
        self._started.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _drive(self) -> None:
        try:
            end = monotonic() + self._seconds
            while monotonic() < end and not self._is_abandoned:
                self._one()
                time.sleep(BETWEEN)
            self.is_over = not self._is_abandoned
        except Exception as error:  # noqa: BLE001 - ``end`` raises it in the main thread
            if not self._is_abandoned:
                self._error = error
        with suppress(RuntimeError):  # the loop is closed, because a signal has stopped the worker
            self._loop.call_soon_threadsafe(self._stop)

    def _one(self) -> None:
        self._number += 1
        self._started.clear()
        before = monotonic()
        self._enqueue(self._number)
        if not self._started.wait(PATIENCE):
            raise WaitTimeoutError(f"A job did not start within {PATIENCE:g} s.", do="run: pgq doctor")
        if not self._is_abandoned:
            self.waits.append(1000 * (self._at - before))


class Stop:
    """Notes a signal that stops a program. The benchmark asks for it between statements, so that it can still remove its jobs.

    A second signal raises KeyboardInterrupt at once, because a statement can wait for long.
    """

    def __init__(self) -> None:
        self._is_asked = False

    def listen(self) -> None:
        for number in STOPS:
            signal.signal(number, self._came)

    def _came(self, _number: int, _frame: object) -> None:
        self.check()
        self.note()

    def note(self) -> None:
        self._is_asked = True

    def check(self) -> None:
        """Raises KeyboardInterrupt if a signal has come."""
        if self._is_asked:
            raise KeyboardInterrupt


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignores signals in the block, which removes what the benchmark has stored."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
