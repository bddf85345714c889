"""The functions that a handler can call on its ``Job``: check for an ending, report progress, open a transaction that completes the job."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)

import psycopg
from psycopg import AsyncConnection, Connection

from pgqueue.app.app import App
from pgqueue.database import statements
from pgqueue.database.flows import Flow, drive, drive_async
from pgqueue.database.outage import is_lost
from pgqueue.database.run import run_and_commit, run_and_commit_async
from pgqueue.errors import LeaseLostError
from pgqueue.model.hooks import hook_name
from pgqueue.model.outcome import Outcome
from pgqueue.model.progress import Progress
from pgqueue.sql import Statement
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Ending, OwnCommit


class AttemptLease:
    """Implements the protocol ``Lease`` of model/job.py for one attempt."""

    def __init__(self, attempt: Attempt, app: App) -> None:
        self._attempt, self._app = attempt, app

    def check(self) -> None:
        self._attempt.check()

    def progress(self, progress: Progress) -> None:
        self._attempt.note_progress(progress)

    def transaction(self, result: object) -> AbstractContextManager[Connection]:
        return self._transaction(result)

    def atransaction(self, result: object) -> AbstractAsyncContextManager[AsyncConnection]:
        return self._atransaction(result)

    @contextmanager
    def _transaction(self, result: object) -> Iterator[Connection]:
        self.check()
        with self._committing(), self._app.connection() as connection:
            yield connection
            if last := drive(connection, self._completion(result)):
                run_and_commit(connection, last)

    @asynccontextmanager
    async def _atransaction(self, result: object) -> AsyncIterator[AsyncConnection]:
        self.check()
        with self._committing():
            async with self._app.aconnection() as connection:
                yield connection
                if last := await drive_async(connection, self._completion(result)):
                    await run_and_commit_async(connection, last)

    def _completion(self, result: object) -> Flow[Statement[list[int]] | None]:
        """Completes the job in the handler's transaction, but does not commit the transaction.

        A statement that gives back a seat locks a row of ``seats`` until the commit, and claims of other jobs need this row. To keep that
        time short, such a statement is not run here. It is returned, and the caller sends it together with the COMMIT.
        """
        if self._attempt.may_have_seats:
            self._fenced((yield self._lock()))
            self._attempt.own_commit = OwnCommit.UNCONFIRMED
            return self._settle(result)
        settle = self._settle(result)
        if settle.name != "complete":  # only ``complete`` needs no search path
            yield statements.pin_search_path()
        self._fenced((yield settle))
        self._attempt.own_commit = OwnCommit.UNCONFIRMED
        return None

    @contextmanager
    def _committing(self) -> Iterator[None]:
        """Notes in ``own_commit`` whether the COMMIT succeeded.

        If the server answers with an error, the COMMIT failed. If no answer comes, ``own_commit`` stays UNCONFIRMED, and the settler
        (settler.py) later asks the database whether the COMMIT succeeded.
        """
        attempt = self._attempt
        try:
            yield
        except BaseException as error:
            was_answered = isinstance(error, psycopg.Error) and not is_lost(error)
            if was_answered and attempt.own_commit is OwnCommit.UNCONFIRMED:
                attempt.own_commit = OwnCommit.NONE
            raise
        attempt.own_commit = OwnCommit.CONFIRMED

    def _lock(self) -> Statement[list[int]]:
        return statements.lock_running_job(self._attempt.worker_id, self._attempt.id, self._attempt.lease_id)

    def _settle(self, result: object) -> Statement[list[int]]:
        attempt = self._attempt
        spec = self._app.tasks[attempt.task].spec
        outcome = attempt.with_progress(Outcome.completed(spec.encode_result(result), spec.keep))
        has_hooks = "completed" in self._app.events_of(attempt.task)
        if outcome.result is None and outcome.progress is None and not has_hooks:
            return statements.complete(attempt.worker_id, [(attempt.id, attempt.lease_id, outcome.kept)])
        hooks = [hook_name(attempt.task, "completed")] if has_hooks else []
        return statements.settle(attempt.worker_id, [(attempt.id, attempt.lease_id, outcome)], hooks)

    def _fenced(self, written: list[int]) -> None:
        if self._attempt.id not in written:
            self._attempt.end(Ending.LOST)
            raise LeaseLostError(self._attempt.id, self._attempt.lease_id)
