"""What a job is: ``NewJob`` before it is stored, ``Job`` as it is stored."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

from pgqueue.model.progress import Progress, Track, length

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection

T = TypeVar("T")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
State = Literal["pending", "running", "retrying", "waiting", "completed", "cancelled", "dead"]
STATES: tuple[State, ...] = ("pending", "running", "retrying", "waiting", "completed", "cancelled", "dead")
FINAL: frozenset[str] = frozenset({"completed", "cancelled", "dead"})
NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


class Lease(Protocol):
    """What a running attempt lends to its ``Job``. The worker makes it."""

    def check(self) -> None: ...
    def progress(self, progress: Progress) -> None: ...
    def transaction(self, result: object) -> AbstractContextManager[Connection]: ...
    def atransaction(self, result: object) -> AbstractAsyncContextManager[AsyncConnection]: ...


class NewJob(NamedTuple):
    """A job that is not stored yet: a task's name, its arguments as JSON text, and the options of the SQL API.

    ``unique_key`` stands beside the options. So jobs share their options even if their keys differ.
    """

    task: str
    args: str
    options: Mapping[str, Any] = MappingProxyType({})
    unique_key: str | None = None

    def __repr__(self) -> str:
        """Without the arguments, which may be secret."""
        return f"<NewJob of {self.task}>"


class Batch(NamedTuple):
    """Jobs of one task that share their options. Each has its arguments as JSON text and, if there are ``keys``, a unique_key.

    A job is a text here, not an object, because even a hundred thousand texts cost the garbage collector nothing.
    """

    task: str
    args: list[str]
    options: Mapping[str, Any] = MappingProxyType({})
    keys: list[str] | None = None

    def in_ascii(self) -> Batch:
        """The same batch, with JSON escapes in the arguments for all characters outside ASCII."""
        return self._replace(args=[NOT_ASCII.sub(_escaped, args) for args in self.args])

    def item(self) -> str:
        """What ``pgqueue.enqueue_many`` takes for these jobs."""
        keys = {} if self.keys is None else {"keys": self.keys}
        return (
            json.dumps({"task": self.task, "declared": True, **self.options, **keys})[:-1]
            + f', "each": [{",".join(self.args)}]}}'
        )


def _escaped(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]


def in_batches(jobs: Iterable[NewJob]) -> list[Batch]:
    """The jobs as batches: each holds neighbours that share their task and options."""
    found: list[Batch] = []
    last = None
    for task, args, options, key in jobs:
        if (
            last is None
            or task != last.task
            or (options is not last.options and options != last.options)
            or (key is None) != (last.keys is None)
        ):
            last = Batch(task, [], options, None if key is None else [])
            found.append(last)
        last.args.append(args)
        if key is not None and last.keys is not None:
            last.keys.append(key)
    return found


@dataclass(frozen=True, slots=True)
class Job:
    """A stored job, as its row was when it was read. ``timeout`` is in seconds, times are aware datetimes.

    Its repr leaves out arguments, results and errors, so that a log line holds no secret.

    ``progressed`` is what ``progress`` said last, in this attempt or a former one: done, total, message, at.

    A handler that asks for its job (a parameter annotated ``Job``) gets one that also holds the lease: then
    ``check``, ``progress``, ``track`` and ``transaction`` work.
    """

    id: int
    queue: str
    task: str
    args: dict[str, object] = field(repr=False)
    state: State
    priority: int
    run_at: datetime
    attempt: int
    max_attempts: int
    lease_id: int
    created_at: datetime
    worker_id: int | None = None
    crash_count: int = 0
    unique_key: str | None = None
    concurrency_key: str | None = None
    tags: tuple[str, ...] = ()
    started_at: datetime | None = None
    finished_at: datetime | None = None
    timeout: float | None = None
    progressed: Any = field(default=None, repr=False)
    result: Any = field(default=None, repr=False)
    last_error: str | None = field(default=None, repr=False)
    last_traceback: str | None = field(default=None, repr=False)
    cancel_requested: bool = False
    meta: dict[str, object] = field(default_factory=dict, repr=False)
    expires_at: datetime | None = None
    deadline_at: datetime | None = None
    lease: Lease | None = field(default=None, repr=False, compare=False)

    @property
    def uid(self) -> str:
        """Names the job for ever, over all its attempts. Handlers give it to other services as an idempotency key.

        After a failover that loses commits, another job may get the same ``id``, but it gets another ``uid``.
        """
        return f"{self.id}-{(self.created_at - EPOCH) // timedelta(microseconds=1)}"

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    def check(self) -> None:
        """Raises LeaseLostError if the worker lost the job, and Cancel if the job was asked to end.

        A long handler on a thread should call this now and then. Otherwise, only a timeout or a deadline stops the handler.
        """
        if self.lease is not None:
            self.lease.check()

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Says how far this attempt has come: ``job.progress(120, 400, "resizing")``.

        Call it as often as you like: the worker writes the latest value once a second, and the last one with the outcome.
        Raises InvalidOptionError if a value is no number, or if the message is no text.
        """
        self._own_lease().progress(Progress.of(done, total, message))

    def track(
        self,
        items: Iterable[T] | AsyncIterable[T],
        total: float | None = None,
        message: str | None = None,
    ) -> Track[T]:
        """``for item in job.track(items)``, or ``async for``: says how many items are done. Give ``total`` if ``items`` has no length.

        A plain ``for`` also calls ``check`` before each item, so that a handler on a thread can be stopped.
        """
        known = length(items) if total is None else total
        return Track(items, lambda done: self.progress(done, known, message), self.check)

    def transaction(self, result: object = None) -> AbstractContextManager[Connection]:
        """A psycopg connection whose commit completes the job: ``with job.transaction() as conn: ...``.

        Business rows, follow-up jobs, ``result`` and the completion commit together. If the lease is lost,
        LeaseLostError is raised and all is rolled back. So the effect takes place exactly once.
        """
        return self._own_lease().transaction(result)

    def atransaction(self, result: object = None) -> AbstractAsyncContextManager[AsyncConnection]:
        """``transaction`` for ``async def`` handlers: ``async with job.atransaction() as conn: ...``."""
        return self._own_lease().atransaction(result)

    def _own_lease(self) -> Lease:
        if self.lease is None:
            msg = f"job {self.id} was read, not claimed: only the job handed to its handler has a lease"
            raise RuntimeError(msg)
        return self.lease
