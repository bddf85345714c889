"""The functions that a handler can call on its ``Job``, for the attempt that calls the handler.

They check for an ending, report progress, do steps, sleep and wait, gather children, read the results of other nodes, or open a transaction
that completes the job. For steps, sleeps and waits, each sync method drives the same flow as its async twin (worker/steps.py).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import TypeVar

from psycopg import AsyncConnection, Connection

from pgqueue.app.app import App
from pgqueue.app.batch_handle import BatchHandle
from pgqueue.database import statements
from pgqueue.database.flows import Flow, drive, drive_async
from pgqueue.database.opened import AsyncOpened, Opened, aopened, opened
from pgqueue.database.run import run, run_and_commit, run_and_commit_async, run_async
from pgqueue.errors import CommitUnconfirmedError, InvalidOptionError, LeaseLostError, StepRefusedError
from pgqueue.model.chunk import ChunkSpec
from pgqueue.model.hooks import hook_name
from pgqueue.model.new_job import NewJob
from pgqueue.model.nodes import NodeEnd
from pgqueue.model.outcome import Outcome
from pgqueue.model.progress import Progress
from pgqueue.model.steps import StepCall
from pgqueue.model.suspension import Wait
from pgqueue.sql import Statement
from pgqueue.worker.attempt import Attempt, required
from pgqueue.worker.awaited import awaited, in_order, pages, read_ends
from pgqueue.worker.ending import Ending, OwnCommit
from pgqueue.worker.gathers import Gathering
from pgqueue.worker.in_doubt import Fate, ask
from pgqueue.worker.step_commits import asave, known_errors, save
from pgqueue.worker.steps import Steps
from pgqueue.worker.under_way import is_in_step
from pgqueue.worker.waits import sleep, wait_for_signal

T = TypeVar("T")


class AttemptLease:
    """Has the methods of the protocol ``Lease`` (model/lease.py), for one attempt."""

    def __init__(self, attempt: Attempt, app: App) -> None:
        self._attempt, self._app = attempt, app
        self._results: list[object] = []  # the result of each open transaction; at most one can commit
        self._steps: Steps | None = None  # None: the handler has not done a step yet

    def check(self) -> None:
        self._attempt.check()

    def progress(self, progress: Progress) -> None:
        self._attempt.note_progress(progress)

    def finish(self, result: object) -> None:
        if not self._results:
            msg = "job.finish() sets the result of a job.transaction() block: call it in such a block, or return the result"
            raise RuntimeError(msg)
        self._results[-1] = result

    def batch(self) -> BatchHandle:
        self.check()
        rare = self._attempt.rare
        if rare is None or rare.workflow_id is None:
            raise InvalidOptionError(
                f"Job {self._attempt.id} belongs to no batch.", do="add it to one: app.batch(…)"
            )
        return BatchHandle(rare.workflow_id, created=False, member=self._attempt.id, store=self._app.store)

    @property
    def steps(self) -> Steps:
        required(self._attempt.keeper)
        if self._steps is None:
            self._steps = Steps(self._attempt, self._app)
        return self._steps

    def step(self, name: object, call: StepCall[T]) -> T:
        value: T = self.steps.drive(self.steps.step(name, call))
        return value

    async def astep(self, name: object, call: StepCall[object]) -> object:
        return await self.steps.drive_async(self.steps.step(name, call))

    def step_transaction(self, name: object, call: StepCall[T]) -> T:
        value: T = self.steps.drive(self.steps.step(name, call, "effect"))
        return value

    async def astep_transaction(self, name: object, call: StepCall[Awaitable[T]]) -> T:
        value: T = await self.steps.drive_async(self.steps.step(name, call, "effect"))
        return value

    def sleep(self, name: object, delay: float) -> None:
        self._require_suspendable("sleep")
        self.steps.drive(sleep(self.steps, name, delay))

    async def asleep(self, name: object, delay: float) -> None:
        self._require_suspendable("asleep")
        await self.steps.drive_async(sleep(self.steps, name, delay))

    def wait_for(self, wait: Wait) -> object:
        self._require_suspendable("wait_for")
        return wait.result(self.steps.drive(wait_for_signal(self.steps, wait.names, wait.timeout, wait.key)))

    async def await_for(self, wait: Wait) -> object:
        self._require_suspendable("await_for")
        flow = wait_for_signal(self.steps, wait.names, wait.timeout, wait.key)
        return wait.result(await self.steps.drive_async(flow))

    def gather(self, name: object, jobs: Iterable[NewJob], *, returns_ends: bool) -> list[object]:
        self._require_suspendable("gather")
        children = Gathering(self._app, self._attempt, name, jobs)
        workflow_id = self.steps.drive(children.store(self.steps, asynchronous=False))
        if workflow_id is None:
            return []
        for nth in itertools.count():
            self.steps.drive(children.wait(self.steps, workflow_id, nth))
            found = list(self._app.workflow_handle(workflow_id).results())
            if children.are_over(workflow_id, found):
                return children.results(workflow_id, found, returns_ends=returns_ends)
        raise AssertionError

    async def agather(self, name: object, jobs: Iterable[NewJob], *, returns_ends: bool) -> list[object]:
        self._require_suspendable("agather")
        children = Gathering(self._app, self._attempt, name, jobs)
        workflow_id = await self.steps.drive_async(children.store(self.steps, asynchronous=True))
        if workflow_id is None:
            return []
        for nth in itertools.count():
            await self.steps.drive_async(children.wait(self.steps, workflow_id, nth))
            found = [end async for end in self._app.workflow_handle(workflow_id).aresults()]
            if children.are_over(workflow_id, found):
                return children.results(workflow_id, found, returns_ends=returns_ends)
        raise AssertionError

    def _require_suspendable(self, method: str) -> None:
        """Raises StepRefusedError if the attempt cannot be suspended here."""
        if (reason := self._attempt.reason_to_stop()) is not None:
            raise reason
        task = self._app.tasks.get(self._attempt.task)
        if task is None:
            why, do = "it is the job of a hook", "enqueue another job that waits"
        elif isinstance(task.spec, ChunkSpec):
            why, do = "its handler takes a chunk of jobs", "declare its task without chunk="
        elif self._results:
            why, do = "a job.transaction() block is open", "leave the block first"
        elif self._attempt.own_commit is not OwnCommit.NONE:
            why, do = "a job.transaction() block has completed the job", "wait before that block"
        elif is_in_step():
            why, do = "the function of a step is running", "wait in the handler, outside of the step"
        else:
            return
        raise StepRefusedError(f"job.{method}() cannot suspend job {self._attempt.id}, because {why}.", do=do)

    def saved(self) -> object:
        return self.steps.drive(self.steps.saved())

    async def asaved(self) -> object:
        return await self.steps.drive_async(self.steps.saved())

    def results(self) -> Iterator[NodeEnd]:
        store = self._app.store
        for page in pages(store.ask(awaited(self._attempt.id)) if self._attempt.is_node else []):
            yield from in_order(page, store.ask(read_ends(page)))

    async def aresults(self) -> AsyncIterator[NodeEnd]:
        store = self._app.store
        for page in pages(await store.aask(awaited(self._attempt.id)) if self._attempt.is_node else []):
            for end in in_order(page, await store.aask(read_ends(page))):
                yield end

    def save(self, value: object, using: object) -> None:
        self.check()
        self.steps.begin_to_save()
        save(self._app, self._attempt, value, using)
        self.steps.note_saved()

    async def asave(self, value: object, using: object) -> None:
        self.check()
        self.steps.begin_to_save()
        await asave(self._app, self._attempt, value, using)
        self.steps.note_saved()

    def transaction(self, result: object, using: object) -> AbstractContextManager[object]:
        return self._transaction(result, using)

    def atransaction(self, result: object, using: object) -> AbstractAsyncContextManager[object]:
        return self._atransaction(result, using)

    @contextmanager
    def _transaction(self, result: object, using: object) -> Iterator[object]:
        self._require_completable("transaction")
        before = self._attempt.own_commit
        with self._finishing(result), known_errors(self._attempt):
            try:
                with opened(self._app.store.pools, using, self._complete) as given:
                    yield given
            except Exception as error:
                if not self._has_committed(before):
                    raise
                if self._attempt.own_commit is OwnCommit.UNCONFIRMED:
                    self._learn(ask(self._app.dsn, self._attempt), error)

    @asynccontextmanager
    async def _atransaction(self, result: object, using: object) -> AsyncIterator[object]:
        self._require_completable("atransaction")
        before = self._attempt.own_commit
        with self._finishing(result), known_errors(self._attempt):
            try:
                async with aopened(self._app.store.pools, using, self._acomplete) as given:
                    yield given
            except Exception as error:
                if not self._has_committed(before):
                    raise
                if self._attempt.own_commit is OwnCommit.UNCONFIRMED:
                    self._learn(await asyncio.to_thread(ask, self._app.dsn, self._attempt), error)

    def _require_completable(self, method: str) -> None:
        """Raises StepRefusedError in the function of a step: a step of a job that is completed could not be stored."""
        self.check()
        if is_in_step():
            raise StepRefusedError(
                f"job.{method}() cannot complete job {self._attempt.id}, because the function of a step is running.",
                do="open the block in the handler, outside of the step; job.step_transaction() commits rows with a step",
            )

    def _has_committed(self, before: OwnCommit) -> bool:
        """Returns whether a block that ended in an error has sent its COMMIT. ``before``: the state of the attempt before the block.

        If the COMMIT is confirmed, the error came when the connection was given back. It is no error of the handler, whose work is done.
        """
        own = self._attempt.own_commit
        return own is OwnCommit.UNCONFIRMED or own is not before

    @contextmanager
    def _finishing(self, result: object) -> Iterator[None]:
        self._results.append(result)
        try:
            yield
        finally:
            self._results.pop()

    # ---------------------------------------------------------------- the completion

    def _complete(self, transaction: Opened) -> None:
        connection = transaction.given
        last = drive(connection, self._completion())
        if last is None:
            transaction.commit()
        elif transaction.takes_commit:
            assert isinstance(connection, Connection)
            run_and_commit(connection, last)
        else:
            run(connection, last)
            transaction.commit()
        self._attempt.own_commit = OwnCommit.CONFIRMED

    async def _acomplete(self, transaction: AsyncOpened) -> None:
        connection = transaction.given
        last = await drive_async(connection, self._completion())
        if last is None:
            await transaction.commit()
        elif transaction.takes_commit:
            assert isinstance(connection, AsyncConnection)
            await run_and_commit_async(connection, last)
        else:
            await run_async(connection, last)
            await transaction.commit()
        self._attempt.own_commit = OwnCommit.CONFIRMED

    def _completion(self) -> Flow[Statement[list[int]] | None]:
        """Completes the job in the handler's transaction, except for its COMMIT.

        If the job can have seats or is a node of a workflow, returns the statement that settles the job, instead of running it. From this
        statement until COMMIT, the seats and the nodes behind the job are locked, so the caller sends it together with COMMIT, if the
        driver can send both in one message.
        """
        if self._steps is not None and self._steps.has_saved:
            yield statements.check_fence()
        if self._attempt.may_have_seats or self._attempt.is_node:
            self._fenced((yield self._lock()))
            self._attempt.own_commit = OwnCommit.UNCONFIRMED
            return self._settle()
        settle = self._settle()
        if settle.name != "complete":  # ``complete`` needs no search path, and locks only the row of this job
            yield statements.before_commit()
        self._fenced((yield settle))
        self._attempt.own_commit = OwnCommit.UNCONFIRMED
        return None

    def _lock(self) -> Statement[list[int]]:
        return statements.lock_running_job(self._attempt.worker_id, self._attempt.id, self._attempt.lease_id)

    def _settle(self) -> Statement[list[int]]:
        attempt = self._attempt
        spec = self._app.tasks[attempt.task].spec
        outcome = attempt.with_progress(Outcome.completed(spec.encode_result(self._results[-1]), spec.keep))
        has_hooks = "completed" in self._app.events_of(attempt.task)
        is_plain = outcome.progress is None and not has_hooks
        if is_plain and attempt.is_node:
            completed = (attempt.id, attempt.lease_id, outcome.kept, outcome.result)
            return statements.complete_nodes(attempt.worker_id, [completed])
        if is_plain and outcome.result is None:
            return statements.complete(attempt.worker_id, [(attempt.id, attempt.lease_id, outcome.kept)])
        hooks = [hook_name(attempt.task, "completed")] if has_hooks else []
        return statements.settle(attempt.worker_id, [(attempt.id, attempt.lease_id, outcome)], hooks)

    def _fenced(self, written: list[int]) -> None:
        if self._attempt.id not in written:
            self._attempt.end(Ending.LOST)
            raise LeaseLostError(self._attempt.id, self._attempt.lease_id)

    # ---------------------------------------------------------------- a COMMIT in doubt

    def _learn(self, fate: Fate, error: Exception) -> None:
        """Notes whether the COMMIT was made. If it was, the handler goes on. Otherwise raises the error with which the attempt ends."""
        attempt = self._attempt
        match fate:
            case Fate.MADE:
                attempt.own_commit = OwnCommit.CONFIRMED
            case Fate.NOT_MADE if attempt.ending is not Ending.LOST:
                attempt.own_commit = OwnCommit.NONE
                raise error
            case Fate.NOT_MADE | Fate.LOST:
                attempt.own_commit = OwnCommit.NONE
                attempt.end(Ending.LOST)
                raise LeaseLostError(attempt.id, attempt.lease_id) from error
            case Fate.UNKNOWN:  # the settler asks again, when it writes the outcome
                raise CommitUnconfirmedError((str(error).splitlines() or ["it broke"])[0]) from error
