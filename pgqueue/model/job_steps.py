"""``StepMethods``: the methods of ``Job`` for work that survives a crash. They store what a handler has done, sleep and wait."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from pgqueue.errors import InvalidOptionError
from pgqueue.model.lease import Async, Lease
from pgqueue.model.new_job import NewJob
from pgqueue.model.nodes import NodeEnd
from pgqueue.model.steps import StepCall, StepName
from pgqueue.model.suspension import Signal, Wait
from pgqueue.model.units import seconds
from pgqueue.text.nearest import rather
from pgqueue.text.values import shown

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D")
FAILURES = ("raise", "return")


class StepMethods:
    """The base class of ``Job`` with these methods. Only a job that was handed to its handler has a lease, which they need."""

    __slots__ = ()

    def _own_lease(self) -> Lease:
        raise NotImplementedError

    def step(self, name: StepName, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls ``function(*args, **kwargs)``, stores the value that it returns, and returns that value.

        If an earlier attempt has stored a value under this name, returns the stored value instead, and does not call the function.

        ``name``: a text of at most 255 bytes, or a name and a key, as in ``job.step(("page", n), fetch, n)``. Two steps of one attempt must
        not have the same name and key. The value is written as JSON, and read back as the type with which the function's return value is
        annotated. This is done in every attempt, also the first. A value can have at most 256 KiB, and a job at most 10,000 steps. If the
        function raises an error, nothing is stored. If an attempt fails after it has stored a new step, the attempts of the job are counted
        from 1 again.

        Raises CheckpointMismatchError, DuplicateStepError, StepTooLargeError or StepRefusedError, each of which makes the job dead. Raises
        LeaseLostError if the lease is lost, and Cancel if someone asked the job to stop. DBOS and absurd also store steps as rows beside
        the job.
        """
        return self._own_lease().step(name, StepCall(function, args, kwargs))

    @overload
    def astep(
        self, name: StepName, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Async[T]: ...
    @overload
    def astep(
        self, name: StepName, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Async[T]: ...

    def astep(
        self, name: StepName, function: Callable[..., object], /, *args: object, **kwargs: object
    ) -> Async[object]:
        """``step`` for ``async def`` handlers: ``await job.astep("charge", charge, order_id)``. ``function`` can be sync or async."""
        return self._own_lease().astep(name, StepCall(function, args, kwargs))

    def step_transaction(
        self,
        name: StepName,
        function: Callable[Concatenate[Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Does a step that writes rows of this database: ``function(conn, *args)`` writes them, and they are committed with the checkpoint.

        ``conn`` is a psycopg connection of the app's pool, in a transaction that pgqueue commits. If the attempt has lost its lease, or
        another attempt has done the step, nothing is committed. So the rows are written exactly once.

        Raises the same errors as ``step``. If the connection breaks during the COMMIT, raises the error of the connection. In this case,
        the next attempt finds out whether the step was committed.
        """
        return self._own_lease().step_transaction(name, StepCall(function, args, kwargs))

    def astep_transaction(
        self,
        name: StepName,
        function: Callable[Concatenate[AsyncConnection, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Async[T]:
        """``step_transaction`` for ``async def`` handlers, with an AsyncConnection of psycopg."""
        return self._own_lease().astep_transaction(name, StepCall(function, args, kwargs))

    def sleep(self, name: StepName, delay: float | str | timedelta) -> None:
        """Suspends the job for ``delay``: ``job.sleep("cool-down", "1h")``. Meanwhile it occupies no slot, and the attempt does not count.

        ``delay``: seconds, a timedelta or a text such as ``30s``, ``2d``, at most a year. It counts from the first time that the job
        comes here. When it is over, the handler runs again from its beginning, and this call returns.

        ``name``: as in ``step``. The call raises ``Suspended``, which is no error: let it pass through the handler. It first waits until
        the steps that the handler does at the same time have ended. Raises StepRefusedError in the handler of a chunk, in a hook, in a
        block of ``transaction`` and in the function of a step. If the deadline of the job comes first, the job is dead at once.
        """
        self._own_lease().sleep(name, seconds(delay, "The delay of sleep()", past=False))

    def asleep(self, name: StepName, delay: float | str | timedelta) -> Async[None]:
        """``sleep`` for ``async def`` handlers: ``await job.asleep("cool-down", "1h")``."""
        return self._own_lease().asleep(name, seconds(delay, "The delay of asleep()", past=False))

    @overload
    def wait_for(
        self, *names: str, timeout: float | str | timedelta | None = None, key: str | int | None = None
    ) -> Signal: ...
    @overload
    def wait_for(
        self,
        *names: str,
        timeout: float | str | timedelta | None = None,
        default: D,
        key: str | int | None = None,
    ) -> Signal | D: ...

    def wait_for(
        self,
        *names: str,
        timeout: float | str | timedelta | None = None,
        default: object = ...,
        key: str | int | None = None,
    ) -> object:
        """Suspends the job until one of these signals was sent to it: ``said = job.wait_for("approved", "refused", timeout="7d")``.

        Returns the oldest ``Signal`` of these names that no other wait of the job has taken, also if it was sent before this call. After
        ``timeout`` (seconds, a timedelta or a text such as ``7d``, at most a year), returns ``default``, or raises SignalTimeoutError if
        there is no default. The time-out counts from the first time that the job comes here. Meanwhile the job occupies no slot.

        ``key`` tells waits of a job apart whose first name is the same. The end of a wait is stored, so a later attempt gets the same
        signal again. Suspends the job as ``sleep`` does, and is refused where ``sleep`` is refused.
        """
        return self._own_lease().wait_for(Wait.of(names, timeout, default, key))

    @overload
    def await_for(
        self, *names: str, timeout: float | str | timedelta | None = None, key: str | int | None = None
    ) -> Async[Signal]: ...
    @overload
    def await_for(
        self,
        *names: str,
        timeout: float | str | timedelta | None = None,
        default: D,
        key: str | int | None = None,
    ) -> Async[Signal | D]: ...

    def await_for(
        self,
        *names: str,
        timeout: float | str | timedelta | None = None,
        default: object = ...,
        key: str | int | None = None,
    ) -> Async[object]:
        """``wait_for`` for ``async def`` handlers: ``said = await job.await_for("approved")``. The name follows the rule of all twins."""
        return self._own_lease().await_for(Wait.of(names, timeout, default, key))

    @overload
    def gather(
        self, name: StepName, jobs: Iterable[NewJob], *, failures: Literal["raise"] = "raise"
    ) -> list[Any]: ...
    @overload
    def gather(
        self, name: StepName, jobs: Iterable[NewJob], *, failures: Literal["return"]
    ) -> list[NodeEnd]: ...

    def gather(
        self, name: StepName, jobs: Iterable[NewJob], *, failures: Literal["raise", "return"] = "raise"
    ) -> object:
        """Enqueues jobs and waits until all have ended: ``sizes = job.gather("thumbs", [resize.job(image, s) for s in SIZES])``.

        Returns the results of these children, in their order. Meanwhile this job occupies no slot. The children are stored once, whatever
        happens to this job, and are a workflow of their own (``pgq workflows``). If a child does not complete, raises ChildrenFailedError when
        all have ended. With ``failures="return"``, returns a ``NodeEnd`` for each child instead, with ``state``, ``result`` and ``error``.

        ``name``: as in ``step``, at most 248 bytes. ``jobs``: made by ``task.job(…)``. A later attempt must give the same tasks with the same
        arguments, or CheckpointMismatchError is raised. If this job ends before its children, they are cancelled. Suspends the job as ``sleep``
        does, and is refused where ``sleep`` is refused.
        """
        return self._own_lease().gather(name, jobs, returns_ends=_returns_ends(failures))

    @overload
    def agather(
        self, name: StepName, jobs: Iterable[NewJob], *, failures: Literal["raise"] = "raise"
    ) -> Async[list[Any]]: ...
    @overload
    def agather(
        self, name: StepName, jobs: Iterable[NewJob], *, failures: Literal["return"]
    ) -> Async[list[NodeEnd]]: ...

    def agather(
        self, name: StepName, jobs: Iterable[NewJob], *, failures: Literal["raise", "return"] = "raise"
    ) -> Async[object]:
        """``gather`` for ``async def`` handlers: ``await job.agather("thumbs", jobs)``."""
        return self._own_lease().agather(name, jobs, returns_ends=_returns_ends(failures))

    @property
    def saved(self) -> Any:
        """Returns the place that ``save`` stored last, in this attempt or a former attempt, as plain JSON. None: ``save`` stored no place.

        On an event loop, write ``await job.asaved()``.
        """
        return self._own_lease().saved()

    def asaved(self) -> Async[Any]:
        """``saved`` for ``async def`` handlers."""
        return self._own_lease().asaved()

    def save(self, value: object, *, using: object = None) -> None:
        """Stores the place that the handler has come to, and replaces the last stored place: ``job.save(page.last, using=conn)``.

        ``using``: any connection or session that ``task.using()`` takes. The place is committed together with the caller's rows. If the
        attempt has lost its lease, this COMMIT fails with SQLSTATE PQ601. Without ``using``, the place is committed alone. Call ``save``
        just before your commit, because after this call the server ends the session if its transaction stays idle for 10 s.

        ``value``: plain JSON, at most 256 KiB. Raises StepTooLargeError, StepRefusedError or LeaseLostError.
        """
        self._own_lease().save(value, using)

    def asave(self, value: object, *, using: object = None) -> Async[None]:
        """``save`` for ``async def`` handlers. ``using`` is an async connection or session."""
        return self._own_lease().asave(value, using)

    def results(self) -> Iterator[NodeEnd]:
        """Yields how each job ended for which this job has waited, if it is a node of a workflow. Otherwise yields nothing.

        Each has ``name``, ``state``, ``result`` and ``error``. They come in the order in which they were added to the workflow. In place of a
        group, its jobs come. Reads page by page, so even a group of 10,000 jobs takes little memory.
        """
        return self._own_lease().results()

    def aresults(self) -> AsyncIterator[NodeEnd]:
        """``results`` for ``async def`` handlers: ``async for end in job.aresults()``."""
        return self._own_lease().aresults()


def _returns_ends(failures: object) -> bool:
    if failures not in FAILURES:
        raise InvalidOptionError(f"failures is {shown(failures)}.", do=rather(failures, FAILURES))
    return failures == "return"
