"""Runs due jobs in the transaction of a test, with the parts of a real worker: its claims, its runner, its settler and its checkpointer.

A worker waits for jobs, and this drain does not: it ends as soon as no job can be claimed. What the elected worker does beside jobs is
done between the claims: overdue jobs, time-outs of waits, what is left of workflows, and schedules.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pgqueue import __version__
from pgqueue.app.app import App
from pgqueue.config import WorkerSettings
from pgqueue.database import statements
from pgqueue.errors import JobFailedError
from pgqueue.integrations.testing.drained import Attempted, Drained
from pgqueue.integrations.testing.link import TransactionLink
from pgqueue.maintenance.overdue import finish_overdue_once
from pgqueue.maintenance.waits import time_out_waits_once
from pgqueue.maintenance.workflows import Finisher
from pgqueue.model.hooks import QUEUE as HOOKS_QUEUE
from pgqueue.model.hooks import Call, as_layer
from pgqueue.model.outcome import COMPLETED, FORGOTTEN
from pgqueue.model.suspension import is_suspension
from pgqueue.model.tally import Tally
from pgqueue.model.task import TaskSpec
from pgqueue.model.versions import Versions
from pgqueue.runtime.clock import server_time
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.checkpointer import Checkpointer
from pgqueue.worker.claiming.claimer import Claimer
from pgqueue.worker.claiming.in_flight import InFlight
from pgqueue.worker.ending import Conclusion, NothingToSettle
from pgqueue.worker.job_facts import emit_committed
from pgqueue.worker.running.hook_tasks import handlers, hook_names
from pgqueue.worker.running.runner import Runner
from pgqueue.worker.running.threads import InterruptedByTimeout
from pgqueue.worker.settler import Settler

Beside = Callable[[], Awaitable[object]]
LEASE = 86_400.0  # seconds; longer than any test


@dataclass(frozen=True, slots=True)
class Choice:
    """Which jobs a drain runs. ``queues``, ``tasks``: their names; None: all. ``max_jobs``: of attempts."""

    queues: tuple[str, ...] | None = None
    tasks: tuple[str, ...] | None = None
    max_jobs: int = 1000


class Drain:
    """``beside`` is called whenever no job can be claimed: it enqueues what schedules ask for.

    ``move_on`` is called if still no job can be claimed. It moves the time, and returns whether it did.
    """

    def __init__(
        self,
        app: App,
        link: TransactionLink,
        choice: Choice,
        beside: Beside,
        move_on: Callable[[], Awaitable[bool]],
    ) -> None:
        self._app, self._link, self._choice = app, link, choice
        self._beside, self._move_on = beside, move_on
        queues = choice.queues or ("*",)
        if hook_names(app) and choice.queues is not None:
            queues = (*queues, HOOKS_QUEUE)
        settings = WorkerSettings(queues=dict.fromkeys(queues), concurrency=1, listen=False)
        specs = {name: _in_this_process(spec) for name, spec in handlers(app).items()}
        versions = Versions.of(app.version, specs.values())
        served = [name for name in specs if choice.tasks is None or name.partition(":")[0] in choice.tasks]
        accepted = [name for name in versions.accepted if name.partition("@")[0] in served]
        self.runner = Runner(
            app,
            slots=1,
            executor="async",
            app_path=None,
            crash_limit=settings.crash_limit,
            done=self._done,
            specs=specs,
        )
        self._checkpointer = self.runner.keeper = Checkpointer(link, self.runner.cancel, self.runner.lose)
        self._in_flight = InFlight(1, settings.queues, self.runner.lose)
        self._settler = Settler(link, self._free, hook_names(app))
        self._claimer = Claimer(
            link, settings, [*sorted(served), *accepted], self._in_flight, self.runner.take, lambda: 0
        )
        self._registration = statements.register_worker(
            host=socket.gethostname(), pid=os.getpid(), version=__version__, executor="async", slots=1, queues=list(queues),
            tasks=sorted(served), lease_seconds=LEASE, queue_slots=[None] * len(queues), versions=versions,
        )  # fmt: skip
        self._settled = asyncio.Event()
        self._attempts: list[Attempted] = []
        self._exceptions: dict[int, BaseException] = {}
        self._is_over = False  # whether an exception of a handler must end the run of tests

    # ---------------------------------------------------------------- the loop

    async def run(self) -> Drained:
        """Runs jobs until none is due, or until ``max_jobs`` attempts have run."""
        worker_id = await self._link.once(self._registration) or 0
        server_time.tell(await self._link.once(statements.read_clock()))
        self._claimer.worker_id = self._settler.worker_id = worker_id
        services = [
            asyncio.ensure_future(service) for service in (self._settler.run(), self._checkpointer.run())
        ]
        await asyncio.sleep(0)  # the checkpointer refuses questions before it has begun
        try:
            with self._noting_exceptions():
                is_full = await self._drain()
        finally:
            for service in services:
                service.cancel()
            await asyncio.gather(*services, return_exceptions=True)
            self.runner.close()
            await self._link.once(statements.stop_worker(worker_id))
        return Drained(tuple(self._attempts), stopped_at_max_jobs=is_full)

    async def _drain(self) -> bool:
        is_maintained = False
        while len(self._attempts) < self._choice.max_jobs and not self._is_over:
            self._settled.clear()
            if await self._claimer.claim_now():
                await self._settled.wait()
                is_maintained = False
            elif not is_maintained:
                await maintain(self._link)
                await self._beside()
                is_maintained = True
            elif await self._move_on():
                is_maintained = False
            else:
                return False
        return not self._is_over

    # ---------------------------------------------------------------- one attempt

    def _done(self, attempt: Attempt, conclusion: Conclusion) -> None:
        """Does what a worker does at the end of an attempt, and notes the outcome."""
        exception = self._exceptions.pop(attempt.id, None)
        self._is_over |= exception is not None and _ends_the_run(exception)
        self._attempts.append(_attempted(attempt, conclusion, exception))
        if isinstance(conclusion, NothingToSettle):
            emit_committed(attempt, conclusion)
            self._free([attempt])
        elif conclusion is COMPLETED or conclusion is FORGOTTEN:
            self._settler.add(attempt, attempt.with_progress(conclusion))
        else:
            self._settler.add(attempt, attempt.with_notes(conclusion))

    def _free(self, attempts: list[Attempt]) -> None:
        self._in_flight.remove(attempts)
        if not self._in_flight:
            self._settled.set()

    @contextmanager
    def _noting_exceptions(self) -> Iterator[None]:
        """Keeps what each handler raises, because an outcome has only its text."""

        @contextmanager
        def note(call: Call) -> Iterator[None]:
            try:
                yield
            except BaseException as error:
                if not is_suspension(error):
                    self._exceptions[call.job.id] = error
                raise

        layer = as_layer(note)
        self._app.layers.insert(0, layer)
        try:
            yield
        finally:
            self._app.layers.remove(layer)


def _in_this_process(spec: TaskSpec) -> TaskSpec:
    """Returns the task with an executor of this process: another process would not see the test's transaction."""
    return replace(spec, executor="async" if inspect.iscoroutinefunction(spec.function) else "thread")


def _attempted(attempt: Attempt, conclusion: Conclusion, exception: BaseException | None) -> Attempted:
    who = (attempt.id, attempt.task, attempt.queue, attempt.attempt)
    if conclusion is NothingToSettle.COMMITTED:
        return Attempted(*who, "completed", "completed")
    if isinstance(conclusion, NothingToSettle):
        return Attempted(*who, "lost", "lease_lost", exception=exception)
    error = conclusion.error
    return Attempted(*who, conclusion.state, conclusion.reason, conclusion.delay, error, exception)


async def maintain(link: TransactionLink) -> None:
    """Does once what the elected worker does beside jobs, except for schedules."""
    await finish_overdue_once(link, Tally())
    await time_out_waits_once(link)
    await Finisher(link).once()


def raise_caught(drained: Drained, *, raise_errors: bool) -> None:
    """Raises what the test must see: an exception that ends a run of tests, or the first one that made an attempt fail if ``raise_errors``."""
    for one in drained:
        if one.exception is not None and _ends_the_run(one.exception):
            raise one.exception
        if raise_errors and one in drained.failures:
            raise one.exception or JobFailedError(one.job_id, one.state, one.error)


def _ends_the_run(error: BaseException) -> bool:
    """Returns whether this is Ctrl-C or an exception of the test runner, such as the one of ``pytest.fail``."""
    return not isinstance(error, Exception | asyncio.CancelledError | GeneratorExit | InterruptedByTimeout)
