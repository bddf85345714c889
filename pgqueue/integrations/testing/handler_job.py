"""A ``Job`` for the unit test of a handler, without a database: it keeps what the handler reports, and plays what a worker would answer."""

# ruff: noqa: ARG002  the methods have the parameters of the protocol Lease

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any, NoReturn, TypeVar

from pydantic_core import to_jsonable_python

from pgqueue.errors import DuplicateStepError, JobTimeoutError, LeaseLostError, StepRefusedError
from pgqueue.integrations.testing.drained import name_of_task
from pgqueue.model.job import Job
from pgqueue.model.lease import JobBatch
from pgqueue.model.new_job import NewJob
from pgqueue.model.nodes import NodeEnd
from pgqueue.model.outcome import Cancel
from pgqueue.model.progress import Progress
from pgqueue.model.step_values import ANY, codec_of
from pgqueue.model.steps import StepCall, StepId, named, step_id
from pgqueue.model.suspension import Signal, Suspended, Wait

T = TypeVar("T")
_ids = count(1)


@dataclass(slots=True)
class HandlerLease:
    """What a handler has reported, and how its calls are answered.

    ``progresses``: its progress, the last one at the end. ``steps``: the stored values by name, as JSON text. ``sleeps``: (name, seconds).
    ``signals``: the signals that are still to come. ``stop``: the error that ``check`` raises.
    """

    job_id: int
    progresses: list[Progress] = field(default_factory=list)
    steps: dict[StepId, str] = field(default_factory=dict)
    sleeps: list[tuple[str, float]] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    cursor: object = None
    stop: Exception | None = None
    taken: set[StepId] = field(default_factory=set)
    gathered: list[NewJob] = field(default_factory=list)
    answers: dict[str, list[object]] = field(default_factory=dict)

    def check(self) -> None:
        if self.stop is not None:
            raise self.stop

    def progress(self, progress: Progress) -> None:
        self.progresses.append(progress)

    # ---------------------------------------------------------------- steps

    def _take(self, name: object) -> StepId:
        self.check()
        me = step_id(name)
        if me in self.taken:
            raise DuplicateStepError(
                f"The handler has done step {named(me)} twice.", do="give each step a name and key of its own"
            )
        self.taken.add(me)
        return me

    def _stored(self, me: StepId, call: StepCall[T], value: object) -> Any:
        codec = codec_of(call.function)
        self.steps[me] = codec.encode(named(me), value)
        return codec.read(self.steps[me])

    def step(self, name: object, call: StepCall[T]) -> T:
        me = self._take(name)
        if me in self.steps:
            value: T = codec_of(call.function).read(self.steps[me])
            return value
        made: T = self._stored(me, call, call.function(*call.args, **call.kwargs))
        return made

    async def astep(self, name: object, call: StepCall[object]) -> object:
        me = self._take(name)
        if me in self.steps:
            return codec_of(call.function).read(self.steps[me])
        value = call.function(*call.args, **call.kwargs)
        return self._stored(me, call, await value if inspect.isawaitable(value) else value)

    def sleep(self, name: object, delay: float) -> None:
        me = self._take(name)
        self.sleeps.append((_shown(me), delay))

    async def asleep(self, name: object, delay: float) -> None:
        self.sleep(name, delay)

    def wait_for(self, wait: Wait) -> object:
        self.check()
        for signal in self.signals:
            if signal.name in wait.names:
                self.signals.remove(signal)
                return wait.result(signal)
        if wait.timeout is None:
            raise Suspended
        return wait.result(None)

    async def await_for(self, wait: Wait) -> object:
        return self.wait_for(wait)

    def gather(self, name: object, jobs: Iterable[NewJob], *, returns_ends: bool) -> list[object]:
        self._take(name)
        self.gathered += (some := list(jobs))
        answers = self.answers.get(str(name))
        if answers is None or returns_ends or len(answers) != len(some):
            _needs_database(
                "gather", f"give the results of the {len(some)} children: job(gathers={{{name!r}: […]}})"
            )
        return list(answers)

    async def agather(self, name: object, jobs: Iterable[NewJob], *, returns_ends: bool) -> list[object]:
        return self.gather(name, jobs, returns_ends=returns_ends)

    def saved(self) -> object:
        return self.cursor

    async def asaved(self) -> object:
        return self.cursor

    def save(self, value: object, using: object) -> None:
        self.check()
        self.cursor = ANY.read(ANY.encode("saved", value))

    async def asave(self, value: object, using: object) -> None:
        self.save(value, using)

    # ---------------------------------------------------------------- what needs a database

    def transaction(self, result: object, using: object) -> AbstractContextManager[object]:
        _needs_database("transaction")

    def atransaction(self, result: object, using: object) -> AbstractAsyncContextManager[object]:
        _needs_database("atransaction")

    def finish(self, result: object) -> None:
        _needs_database("finish")

    def batch(self) -> JobBatch:
        _needs_database("batch")

    def step_transaction(self, name: object, call: StepCall[T]) -> T:
        _needs_database("step_transaction")

    async def astep_transaction(self, name: object, call: StepCall[Awaitable[T]]) -> T:
        _needs_database("astep_transaction")

    def results(self) -> Iterator[NodeEnd]:
        _needs_database("results")

    def aresults(self) -> AsyncIterator[NodeEnd]:
        _needs_database("aresults")


def _shown(me: StepId) -> str:
    """Returns the name of a step as a test writes it. A step with a key has both, with a colon between them."""
    return ":".join(filter(None, me))


def _needs_database(method: str, do: str = "") -> NoReturn:
    raise StepRefusedError(
        f"job.{method}() needs a database, and this job is for a unit test.",
        do=do or "test this handler in a transaction, with the fixture pgqueue and drain()",
    )


class JobInTest(Job):
    """A ``Job`` that a test makes. Its handler can use it like the job of a worker, except for what needs a database."""

    __slots__ = ()

    @property
    def _its(self) -> HandlerLease:
        assert isinstance(self.lease, HandlerLease)
        return self.lease

    @property
    def progresses(self) -> list[Progress]:
        """What the handler has reported by ``progress`` and ``track``, in order."""
        return self._its.progresses

    @property
    def steps(self) -> dict[str, Any]:
        """The stored values of the steps, by name, as plain JSON."""
        return {_shown(me): ANY.read(text) for me, text in self._its.steps.items()}

    @property
    def sleeps(self) -> list[tuple[str, float]]:
        """(name, seconds) of each sleep. A unit test does not sleep: the call returns at once."""
        return self._its.sleeps

    @property
    def gathered(self) -> list[NewJob]:
        """The children that the handler has given to ``gather``."""
        return self._its.gathered

    def stop(self, why: str = "cancelled on request") -> None:
        """From now on, ``check`` and the calls that include it raise Cancel, as after a cancel of the job."""
        self._its.stop = Cancel(why)

    def time_out(self) -> None:
        """From now on, ``check`` raises JobTimeoutError."""
        self._its.stop = JobTimeoutError("It ran longer than its timeout.")

    def lose_lease(self) -> None:
        """From now on, ``check`` raises LeaseLostError."""
        self._its.stop = LeaseLostError(self.id, self.lease_id)

    def send(self, name: str, payload: object = None) -> None:
        """Sends a signal to the job, for ``wait_for``."""
        self._its.signals.append(Signal(name, to_jsonable_python(payload), datetime.now(UTC), None, None))

    def next_attempt(self) -> JobInTest:
        """Returns the job of the next attempt, which finds the stored steps."""
        self._its.taken, self._its.stop = set(), None
        return replace(self, attempt=self.attempt + 1)


def handler_job(
    task: object = "task",
    args: Mapping[str, object] | None = None,
    *,
    attempt: int = 1,
    max_attempts: int = 6,
    queue: str = "default",
    steps: Mapping[str, object] | None = None,
    signals: Mapping[str, object] | None = None,
    gathers: Mapping[str, list[object]] | None = None,
    saved: object = None,
    **facts: Any,
) -> JobInTest:
    """Returns a job for a call of a handler in a unit test: ``ship(handler_job(ship, attempt=3), order=7)``.

    ``task``: a task or its name. ``args``: what ``job.args`` shows. ``steps``: values that an earlier attempt has stored, by name.
    ``signals``: payloads by name, for ``wait_for``. ``gathers``: the results of the children, by name. ``saved``: the stored place.
    ``facts``: other fields of a ``Job``, such as ``tags`` or ``meta``.
    """
    job_id, now = next(_ids), datetime.now(UTC)
    lease = HandlerLease(
        job_id, cursor=saved, answers={name: list(some) for name, some in (gathers or {}).items()}
    )
    lease.steps = {step_id(name): ANY.encode(str(name), value) for name, value in (steps or {}).items()}
    job = JobInTest(
        **{
            "id": job_id, "queue": queue, "task": name_of_task(task), "args": to_jsonable_python(dict(args or {})), "state": "running",
            "priority": 0, "run_at": now, "attempt": attempt, "max_attempts": max_attempts, "lease_id": 1, "created_at": now,
            "started_at": now, "lease": lease, **facts,
        }
    )  # fmt: skip
    for name, payload in (signals or {}).items():
        job.send(name, payload)
    return job
