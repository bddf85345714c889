"""The attempt of a replay, and what the handler can call on its ``Job``: the same as in a worker, but nothing is stored.

Values of steps, and the place that ``job.save`` stores, are kept in memory. They are not written to the database, not even in a transaction
that is rolled back, because a worker that runs the job at the same time would wait for these rows.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

from pgqueue.app.app import App
from pgqueue.app.waiters import Waiters
from pgqueue.database.opened import unable_to_end
from pgqueue.errors import LeaseLostError
from pgqueue.model.job import Job
from pgqueue.model.lease import Lease
from pgqueue.model.step_values import ANY
from pgqueue.model.steps import CURSOR, Checkpoint, Kind, Load, StepCall, StepId, step_id
from pgqueue.model.suspension import Request
from pgqueue.sql import Row
from pgqueue.text.described import clean
from pgqueue.text.values import shown
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.attempt_lease import AttemptLease
from pgqueue.worker.ending import OwnCommit
from pgqueue.worker.replay.findings import Notes
from pgqueue.worker.replay.sessions import Sessions
from pgqueue.worker.step_commits import value_of_sync
from pgqueue.worker.steps import PAUSE, Asked, Effect, StepFlow, Steps
from pgqueue.worker.under_way import in_step

CALL_LIMIT = 300  # the middle of a longer call is cut out; in characters


class ReplayAttempt(Attempt):
    """An attempt that no worker has claimed. It has no timeout of its own, and it runs although its job has expired or is past its deadline."""

    __slots__ = ("_app", "_notes", "_run_steps", "_sessions", "_stored", "own_result")

    def __init__(
        self,
        app: App,
        worker_id: int | None,
        row: Row,
        checkpoints: list[Checkpoint],
        sessions: Sessions,
        notes: Notes,
        *,
        run_steps: bool,
    ) -> None:
        super().__init__(worker_id or 0, row)
        if self.rare is not None:
            self.rare.expires = self.rare.deadline = None
        self.own_result: str | None = None  # the result with which the handler has completed the job itself
        self._app, self._sessions, self._notes, self._run_steps = app, sessions, notes, run_steps
        self._stored = {one.step_id: one for one in checkpoints}

    def job(self, lease: Lease | None = None) -> Job:  # noqa: ARG002 - the lease that a worker would give it
        steps = ReplaySteps(self, self._app, self._stored, self._notes, run_steps=self._run_steps)
        return super().job(ReplayLease(self, self._app, steps, self._sessions, self._notes))


class ReplaySteps(Steps):
    def __init__(
        self, attempt: Attempt, app: App, stored: dict[StepId, Checkpoint], notes: Notes, *, run_steps: bool
    ) -> None:
        super().__init__(attempt, app)
        self._stored, self._notes, self._run_steps = stored, notes, run_steps
        self._known = dict(stored)

    def step(
        self,
        name: object,
        call: StepCall[object],
        kind: Kind = "step",
        same: Sequence[object] | None = None,
    ) -> StepFlow[Any]:
        self._notes.check()
        me = step_id(name)
        how: Literal["stored", "called"] = "stored" if me in self._stored else "called"
        value = yield from super().step(name, call, kind, same)
        self._notes.stepped(*me, how)
        return value

    @contextmanager
    def taking(self, me: StepId) -> Iterator[None]:
        """Also lists the sleeps and waits that are over. ``step`` lists the steps themselves."""
        with super().taking(me):
            yield
        stored = self._stored.get(me)
        if stored is not None and stored.kind in ("sleep", "wait"):
            self._notes.stepped(*me, "stored")

    def save(self, value: object) -> None:
        text = ANY.encode(CURSOR, value)
        made = Checkpoint(
            "cursor", CURSOR, "", None, text, lease_id=self._attempt.lease_id, at=datetime.now(UTC)
        )
        self._stored[made.step_id] = made
        self._notes.stepped("saved", clean(text, CALL_LIMIT), "saved")
        self.note_saved()

    def suspend(self, request: Request) -> StepFlow[None]:
        """Ends the replay where a worker would suspend the job."""
        yield PAUSE
        if request.kind == "sleep":
            self._notes.stop(f"would sleep for {request.delay or 0.0:.1f} s")
        self._notes.stop(f"would wait for the signal {' or '.join(map(ascii, request.names))}")

    def _perform(self, asked: Asked) -> object:
        if isinstance(asked, Effect):
            with in_step(), self._app.connection() as connection, unable_to_end(connection):
                made = asked.make(value_of_sync(asked.call.with_connection()(connection), "step_transaction"))
            return self._answer(made)[0]
        if isinstance(asked, StepCall):
            self._require_leave(asked)
            return super()._perform(asked)
        return self._answer(asked)

    async def _perform_async(self, asked: Asked) -> object:
        if isinstance(asked, Effect):
            with in_step():
                async with self._app.aconnection() as connection:
                    with unable_to_end(connection):
                        value = asked.call.with_connection()(connection)
                        made = asked.make(await value if inspect.isawaitable(value) else value)
            return self._answer(made)[0]
        if isinstance(asked, StepCall):
            self._require_leave(asked)
            return await super()._perform_async(asked)
        return self._answer(asked)

    def _answer(self, asked: Asked) -> list[Checkpoint]:
        """Answers as the database would: with all checkpoints, or with the one that is stored under this name. Takes no signal."""
        if isinstance(asked, Load):
            return list(self._stored.values())
        if not isinstance(asked, Checkpoint):
            return []
        made = asked._replace(lease_id=self._attempt.lease_id, at=datetime.now(UTC))
        return [self._stored.setdefault(made.step_id, made)]

    def _require_leave(self, call: StepCall[object]) -> None:
        if not self._run_steps:
            self._notes.stop(f"would call {called(call)}")


def called(call: StepCall[object]) -> str:
    """Returns a call as it is written in Python, such as ``charge(7, note='x')``."""
    inner = getattr(call.function, "func", call.function)  # the function inside a partial
    name = getattr(inner, "__name__", None)
    given = [
        *map(shown, call.args),
        *(f"{shown(key)[1:-1]}={shown(value)}" for key, value in call.kwargs.items()),
    ]
    return clean(f"{name if isinstance(name, str) else shown(inner)}({', '.join(given)})", CALL_LIMIT)


class ReplayLease(AttemptLease):
    def __init__(
        self, attempt: ReplayAttempt, app: App, steps: ReplaySteps, sessions: Sessions, notes: Notes
    ) -> None:
        super().__init__(attempt, app)
        self._own, self._own_steps, self._sessions, self._notes = attempt, steps, sessions, notes

    def check(self) -> None:
        self._notes.check()
        super().check()

    @property
    def steps(self) -> Steps:
        return self._own_steps

    def save(self, value: object, using: object) -> None:  # noqa: ARG002 - the place is not written anywhere
        self.check()
        self._own_steps.save(value)

    async def asave(self, value: object, using: object) -> None:
        self.save(value, using)

    @contextmanager
    def _transaction(self, result: object, using: object) -> Iterator[object]:
        self.check()
        with self._finishing(result), self._sessions.opened(self._app.store.pools, using) as opened:
            yield opened.given
            opened.flush()
            completed = self._completed()
            opened.commit()
        self._complete_own(completed)

    @asynccontextmanager
    async def _atransaction(self, result: object, using: object) -> AsyncIterator[object]:
        self.check()
        with self._finishing(result):
            async with self._sessions.aopened(self._app.store.pools, using) as opened:
                yield opened.given
                await opened.flush()
                completed = self._completed()
                await opened.commit()
            self._complete_own(completed)

    def _completed(self) -> str | None:
        """Returns the result with which a worker would complete the job now. A job can be completed only once."""
        if self._own.own_commit is OwnCommit.CONFIRMED:
            raise LeaseLostError(self._own.id, self._own.lease_id)
        return self._app.tasks[self._own.task].spec.encode_result(self._results[-1])

    def _complete_own(self, result: str | None) -> None:
        self._own.own_result, self._own.own_commit = result, OwnCommit.CONFIRMED


class NoWaits(Waiters):
    """Takes the place of the app's waits: the jobs that a replay enqueues are rolled back, so a wait for them would not end."""

    def __init__(self, notes: Notes) -> None:
        super().__init__(str)
        self._notes = notes

    def looks(
        self,
        job_id: int,
        timeout: float | None,  # noqa: ARG002
        *,
        watched: bool,  # noqa: ARG002
    ) -> Generator[Job | None, None, None]:
        yield self._notes.stop(f"would wait for the end of job {job_id}")

    async def alooks(
        self,
        job_id: int,
        timeout: float | None,  # noqa: ARG002
        *,
        watched: bool,  # noqa: ARG002
    ) -> AsyncGenerator[Job | None, None]:
        yield self._notes.stop(f"would wait for the end of job {job_id}")
