"""``JobHandle``: an enqueue returns it for a stored job. It reads, changes and cancels the job, and waits for its end."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from pgqueue.app.storing import JobStore
from pgqueue.database import statements
from pgqueue.database.driver_errors import may_not_read
from pgqueue.database.flows import Flow, drive, drive_async
from pgqueue.database.joining import NOT_GIVEN, given
from pgqueue.database.statements.enqueuing import Stored
from pgqueue.database.statements.jobs import Why
from pgqueue.errors import (
    InvalidOptionError,
    JobFailedError,
    JobNotFoundError,
    JobUnchangedError,
    MissingPrivilegeError,
    WaitTimeoutError,
)
from pgqueue.model import options
from pgqueue.model.declaring import named
from pgqueue.model.job import FINAL, Job
from pgqueue.model.options import Duration
from pgqueue.model.payload import signal_text
from pgqueue.model.refusal import why_refused
from pgqueue.model.suspension import check_label, signal_name
from pgqueue.model.units import seconds
from pgqueue.text.values import shown

T = TypeVar("T")


class Asks:
    """A handle that sends statements: on a connection of the caller, or on a connection of the app that made it."""

    __slots__ = ()
    store: JobStore | None

    def _ask(self, flow: Flow[T], connection: object) -> T:
        """Runs the flow on ``connection`` if it is given, because then even a handle without an app can send statements."""
        callers = given(connection)
        return self._store().ask(flow) if callers is None else drive(callers, flow)

    async def _aask(self, flow: Flow[T], connection: object) -> T:
        callers = given(connection)
        return await (self._store().aask(flow) if callers is None else drive_async(callers, flow))

    def _store(self) -> JobStore:
        if self.store is None:
            msg = "this handle was made without an app: use app.handle(id) or app.workflow_handle(id)"
            raise RuntimeError(msg)
        return self.store

    def _pickled_store(self) -> JobStore | None:
        """Returns the store for a pickled copy of the handle. None: the app cannot be pickled, so the copy cannot ask the database."""
        try:
            if self.store is not None:
                named(self.store.app)
        except pickle.PicklingError:
            return None
        return self.store


# Handles are not frozen: an enqueue of many jobs would spend more time on making frozen handles than on all its other work in Python.
@dataclass(slots=True, unsafe_hash=True)
class JobHandle(Asks):
    """A job's id, and whether this enqueue stored the job.

    If ``created`` is False, the key named in ``conflict`` (unique_key, throttle, debounce or idempotency_key) belongs to the
    existing job ``id``, which was in ``state``. If that job was finished, ``stored_result`` or ``stored_error`` is its
    outcome, which the key keeps even when the job's row is gone. The job exists only after the enqueuing transaction has committed.
    """

    id: int
    created: bool = True
    state: str | None = None
    conflict: str | None = None
    stored_result: object = field(default=None, repr=False, compare=False)
    stored_error: str | None = field(default=None, repr=False, compare=False)
    store: JobStore | None = field(default=None, repr=False, compare=False)

    def __reduce__(self) -> tuple[object, ...]:
        values = (self.id, self.created, self.state, self.conflict, self.stored_result, self.stored_error)
        return JobHandle, (*values, self._pickled_store())

    def job(self) -> Job:
        """Reads the job's row. Raises JobNotFoundError, also if the enqueuing transaction is open or was rolled back."""
        with reading():
            return self._store().ask(self._read())

    async def ajob(self) -> Job:
        """``job`` for async callers."""
        with reading():
            return await self._store().aask(self._read())

    def _read(self) -> Flow[Job]:
        return _found(self.id, (yield statements.get_job(self.id, reveal=True)))

    def why(self) -> Why:
        """Returns why the job is not running, in one word and one sentence. If the job runs or is finished, the answer says so."""
        return self._store().ask(self._explain())

    async def awhy(self) -> Why:
        """``why`` for async callers."""
        return await self._store().aask(self._explain())

    def _explain(self) -> Flow[Why]:
        why: Why = yield statements.why(self.id)
        return why

    def cancel(self, connection: object = NOT_GIVEN) -> str:
        """Cancels the job. Returns ``cancelled``, ``requested`` if the job runs, or the state in which the job had ended before.

        The job's worker receives a request within a second. With ``connection``, joins its transaction. Raises JobNotFoundError.
        """
        return self._ask(self._cancel(), connection)

    async def acancel(self, connection: object = NOT_GIVEN) -> str:
        """``cancel`` for async callers."""
        return await self._aask(self._cancel(), connection)

    def _cancel(self) -> Flow[str]:
        return _known(self.id, (yield statements.cancel(self.id)))

    def signal(
        self,
        name: str,
        payload: object = None,
        *,
        key: str | None = None,
        sender: str | None = None,
        using: object = NOT_GIVEN,
    ) -> str:
        """Sends a signal to the job, which ``job.wait_for`` receives: ``app.handle(42).signal("approved", {"by": "ann"}, key="webhook-991")``.

        ``payload``: plain JSON, at most 256 KiB. ``key``: a second signal with the same name and key is not stored. ``sender``: a text that
        says who sent it. With ``using``, joins the transaction of this connection; the signal is delivered when it commits.

        Returns ``sent``, or the state in which the job had ended before. Raises JobNotFoundError, InvalidNameError, InvalidOptionError,
        InvalidPayloadError or PayloadTooLargeError.
        """
        return self._ask(self._signal(name, payload, key, sender), using)

    async def asignal(
        self,
        name: str,
        payload: object = None,
        *,
        key: str | None = None,
        sender: str | None = None,
        using: object = NOT_GIVEN,
    ) -> str:
        """``signal`` for async callers."""
        return await self._aask(self._signal(name, payload, key, sender), using)

    def _signal(self, name: str, payload: object, key: str | None, sender: str | None) -> Flow[str]:
        text = None if payload is None else signal_text(payload)
        for what, value in (("key", key), ("sender", sender)):
            check_label(what, value)
        return _known(self.id, (yield statements.signal(self.id, signal_name(name), text, key, sender)))

    def revive(self, connection: object = NOT_GIVEN) -> None:
        """Makes a dead or cancelled job pending again. The job is due now, and has all its attempts again.

        With ``connection``, joins its transaction. If the job is neither dead nor cancelled, if an unfinished job has its unique key, or if
        its workflow does not let it run again, raises JobUnchangedError. Raises JobNotFoundError.
        """
        with self._not_revived():
            self._ask(self._revive(), connection)

    async def arevive(self, connection: object = NOT_GIVEN) -> None:
        """``revive`` for async callers."""
        with self._not_revived():
            await self._aask(self._revive(), connection)

    @contextmanager
    def _not_revived(self) -> Iterator[None]:
        """Raises JobUnchangedError if the database refuses to revive the job. The reason is the sentence of the SQL function."""
        try:
            yield
        except InvalidOptionError as error:
            raise JobUnchangedError(
                f"Job {self.id} was not revived: {error.refusal}.", do=f"pgq jobs show {self.id}"
            ) from error

    def _revive(self) -> Flow[None]:
        said = _known(self.id, (yield statements.revive(self.id)))
        if said != "revived":
            raise JobUnchangedError(
                f"Job {self.id} was not revived: {why_refused(said)}.", do=f"pgq jobs show {self.id}"
            )

    def edit(self, connection: object = NOT_GIVEN, **changes: object) -> None:
        """Changes a job that does not run: ``handle.edit(priority=-5, delay=0)``. With ``connection``, joins its transaction.

        Takes ``args`` (a dict of all arguments), ``queue``, ``priority``, ``run_at`` or ``delay``, ``max_attempts``, ``timeout``, ``tags``,
        ``meta``, ``expires``, ``deadline``, as at enqueue. None removes a timeout, an expiry or a deadline.
        If the job runs or has ended, raises JobUnchangedError. Also raises JobNotFoundError, and for bad values the same errors
        as an enqueue.
        """
        self._ask(self._edit(changes), connection)

    async def aedit(self, connection: object = NOT_GIVEN, **changes: object) -> None:
        """``edit`` for async callers."""
        await self._aask(self._edit(changes), connection)

    def _edit(self, changes: dict[str, object]) -> Flow[None]:
        if "args" in changes:
            task = _known(self.id, (yield statements.get_task(self.id)))
            changes["args"] = self._args(task, changes["args"])
        said = _known(self.id, (yield statements.edit(self.id, options.changes(changes))))
        if said != "edited":
            raise JobUnchangedError(
                f"Job {self.id} was not edited: it is {said}.", do=f"pgq jobs show {self.id}"
            )

    def _args(self, task: str, args: object) -> object:
        """Returns the arguments, checked against the task's signature if the app knows the task."""
        if not isinstance(args, Mapping):
            raise InvalidOptionError(f"args is {shown(args)}.", do="give a dict of all arguments")
        spec = None if self.store is None else self.store.specs.get(task)
        return args if spec is None else json.loads(spec.encode((), args))

    def result(self, timeout: Duration | None = None, watch: Callable[[Job], object] | None = None) -> Any:
        """Waits until the job is finished and returns its result (what its handler returned).

        ``watch`` is called with the job as it is, about once a second. If the job ended dead or cancelled, raises
        JobFailedError. After ``timeout`` (seconds, a timedelta or a text such as ``5m``), raises WaitTimeoutError. If there is
        no such job, raises JobNotFoundError.
        """
        limit = limit_of(timeout)
        with closing(self._store().waiters.looks(self.id, limit, watched=watch is not None)) as looks:
            for job in looks:
                if job is not None and watch is not None:
                    watch(job)
                if job is None or job.is_final:
                    return self._result(job)
        raise self._too_late(limit)

    async def aresult(
        self, timeout: Duration | None = None, watch: Callable[[Job], object] | None = None
    ) -> Any:
        """``result`` for async callers."""
        limit = limit_of(timeout)
        async with aclosing(self._store().waiters.alooks(self.id, limit, watched=watch is not None)) as looks:
            async for job in looks:
                if job is not None and watch is not None:
                    watch(job)
                if job is None or job.is_final:
                    return self._result(job)
        raise self._too_late(limit)

    def _too_late(self, limit: float | None) -> WaitTimeoutError:
        return WaitTimeoutError(f"Job {self.id} is not finished after {limit:g} s.", do=f"pgq why {self.id}")

    def _result(self, job: Job | None) -> object:
        """Returns the job's result or, if its row is gone, the result that its key has kept."""
        if job is None and self.state in FINAL:
            state, result, error = self.state, self.stored_result, self.stored_error
        else:
            job = _found(self.id, job)
            state, result, error = job.state, job.result, job.last_error
        if state != "completed":
            raise JobFailedError(self.id, state, error)
        return result


def checked_id(given: object, what: str) -> int:
    """Returns the id. Raises InvalidOptionError if it cannot be one. ``what``: whose id it is."""
    if isinstance(given, bool) or not isinstance(given, int) or not -(2**63) <= given < 2**63:
        raise InvalidOptionError(
            f"{shown(given)} is no id of {what}.",
            do="give the whole number that a handle has as its id",
        )
    return given


def handles(store: JobStore, rows: Iterable[Stored]) -> list[JobHandle]:
    """Returns the handles of stored jobs, in order."""
    return [JobHandle(*row, store) for row in rows]


@contextmanager
def reading() -> Iterator[None]:
    try:
        yield
    except MissingPrivilegeError as error:
        raise may_not_read(error) from error


def limit_of(timeout: Duration | None) -> float | None:
    return seconds(timeout, "timeout") if isinstance(timeout, str | timedelta) else timeout


def _found(job_id: int, job: Job | None) -> Job:
    if job is None:
        raise JobNotFoundError(job_id)
    return job


def _known(job_id: int, said: str | None) -> str:
    if said is None:
        raise JobNotFoundError(job_id)
    return said
