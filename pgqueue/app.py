"""``App``: the tasks of an application and its own connections. Importing and making one does no I/O."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, Unpack, overload

from psycopg import AsyncConnection, Connection

from pgqueue.config import find_dsn, seconds
from pgqueue.connections import Pools
from pgqueue.crontab import Crontab
from pgqueue.database import ORDINARY, connect, connect_async, is_async, warn_if_autocommit
from pgqueue.enqueue import Task, insert, insert_async
from pgqueue.errors import (
    AppImportError,
    DuplicateJobError,
    DuplicateTaskError,
    IdempotencyConflictError,
    NoTasksError,
    PgQueueError,
    UnknownTaskError,
    WrongConnectionError,
)
from pgqueue.handle import JobHandle
from pgqueue.job import Batch, Job, NewJob, in_batches
from pgqueue.keys import KeyRules, key_rules
from pgqueue.outcome import Keep
from pgqueue.retry import RetryPolicy
from pgqueue.rows import Stored
from pgqueue.task import TaskSpec, task_name
from pgqueue.telemetry import carrier, enqueue_span, is_traced

P = ParamSpec("P")
R = TypeVar("R")
REFUSED = ("idempotency_mismatch", "duplicate")


class App(Crontab):
    """A registry of tasks and schedules with a database.

    ``dsn``: where its jobs live; without one, PGQUEUE_DSN, DATABASE_URL, ``[tool.pgqueue]`` or libpq's PG* decide, when
    it is first needed. ``pool_size``: connections held at most for enqueues that join no transaction of yours.
    """

    def __init__(self, dsn: str | None = None, *, pool_size: int = 10) -> None:
        super().__init__()
        self._dsn = dsn
        self.tasks: dict[str, Task[..., Any]] = {}
        self._pools = Pools(lambda: self.dsn, pool_size)

    @property
    def dsn(self) -> str:
        """The DSN for libpq; raises NoDsnError if there is none anywhere."""
        return find_dsn(self._dsn)

    # -------------------------------------------------------------- declaring

    @overload
    def task(self, function: Callable[Concatenate[Job, P], R], /) -> Task[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        self,
        /,
        *,
        name: str | None = None,
        queue: str = "default",
        priority: int = 0,
        retry: object = None,
        timeout: float | str | timedelta | None = None,
        keep: Keep = "all",
        executor: str | None = None,
        **keys: Unpack[KeyRules],
    ) -> _Decorator: ...

    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        queue: str = "default",
        priority: int = 0,
        retry: object = None,
        timeout: float | str | timedelta | None = None,
        keep: Keep = "all",
        executor: str | None = None,
        **keys: Unpack[KeyRules],
    ) -> Any:
        """Declares a task: ``@app.task`` or ``@app.task(queue="mail", retry=[1, 5, 30])`` on a def or async def.

        ``name``: stored with each job, default ``module.function``. ``retry``: a number of attempts, a list of delays in
        seconds, a tenacity wait, or a ``RetryPolicy``; default 1 s, 5 s, 30 s, 5 min, 30 min. ``timeout``: of one attempt.
        ``keep``: which finished rows stay until retention: "all", only "failures" (dead and cancelled), or "none".
        ``executor``: "async", "thread" or "process"; default is the worker's (async def on its loop, def on a thread).
        ``unique`` (True: by all arguments, or by those named), ``unique_for``, ``on_conflict``, ``throttle``, ``debounce``,
        ``debounce_max``: as in ``using()``, for all jobs of the task.
        A parameter annotated ``Job`` receives the job itself; it is best the first one, so that type checkers know.

        Raises DuplicateTaskError, UnnameableTaskError, InvalidNameError, InvalidOptionError, InvalidArgumentsError.
        """
        if function is not None:
            return self.task()(function)

        def declare(function: Callable[..., Any]) -> Task[..., Any]:
            spec = TaskSpec(
                name=task_name(function) if name is None else name,
                function=function,
                queue=queue,
                priority=priority,
                retry=RetryPolicy.of(retry),
                timeout=None if timeout is None else seconds(timeout, "timeout"),
                keep=keep,
                executor=executor,
                rules=key_rules(keys),
            )
            if spec.name in self.tasks:
                known = self.tasks[spec.name].spec.function
                raise DuplicateTaskError(
                    f"Two tasks are named {spec.name!r}.",
                    why=f"{known.__module__}.{known.__qualname__} has the name already",
                    do="give one of them another name=",
                )
            spec.arguments  # noqa: B018 - a signature that cannot be stored is refused here
            self.tasks[spec.name] = task = Task[..., Any](self, spec)
            return task

        return declare

    # -------------------------------------------------------------- enqueuing

    def enqueue_many(self, jobs: list[NewJob], connection: Any = None) -> list[JobHandle]:
        """Stores jobs of any tasks, made by ``task.job(…)``, in one round trip and, if given, in ``connection``'s transaction."""
        return self.store(in_batches(jobs), connection)

    async def aenqueue_many(self, jobs: list[NewJob], connection: Any = None) -> list[JobHandle]:
        """``enqueue_many`` for async connections."""
        return await self.store_async(in_batches(jobs), connection)

    def store(self, batches: list[Batch], connection: Any) -> list[JobHandle]:
        if connection is None:
            with self.connection() as own:
                return self.store(batches, own)
        if is_async(connection):
            raise WrongConnectionError(
                "enqueue() was given an async connection.", do="use `await task.using(conn).aenqueue(…)`"
            )
        warn_if_autocommit(connection)
        if not any(batch.args for batch in batches):
            return []
        with _span(batches) if is_traced() else nullcontext():
            return self._handles(batches, insert(connection, _traced(batches)))

    async def store_async(self, batches: list[Batch], connection: Any) -> list[JobHandle]:
        if connection is None:
            async with self.connection_async() as own:
                return await self.store_async(batches, own)
        if not is_async(connection):
            raise WrongConnectionError(
                "aenqueue() was given a sync connection.", do="use `task.using(conn).enqueue(…)`"
            )
        warn_if_autocommit(connection)
        if not any(batch.args for batch in batches):
            return []
        with _span(batches) if is_traced() else nullcontext():
            return self._handles(batches, await insert_async(connection, _traced(batches)))

    def _handles(self, batches: list[Batch], rows: Iterable[Stored]) -> list[JobHandle]:
        handles = [JobHandle(*row, self) for row in rows]
        for index, handle in enumerate(handles):
            if handle.conflict in REFUSED:
                batch = next(islice((batch for batch in batches for _ in batch.args), index, None))
                if handle.conflict == "duplicate":
                    raise DuplicateJobError(batch.task, handle.id, handle.state)
                raise IdempotencyConflictError(
                    f"The idempotency key {batch.options.get('idempotency_key')!r} of task {batch.task} belongs to job"
                    f" {handle.id}, which was enqueued with other arguments.",
                    job_id=handle.id,
                    do="use another key for another request; nothing of this call was stored",
                )
        return handles

    # -------------------------------------------------------------- reading

    def handle(self, job_id: int) -> JobHandle:
        """A handle on a job that was enqueued elsewhere."""
        return JobHandle(job_id, created=False, app=self)

    def spec(self, name: str) -> TaskSpec:
        """The task of that name; raises UnknownTaskError with near names."""
        if name in self.tasks:
            return self.tasks[name].spec
        near = difflib.get_close_matches(name, self.tasks, n=3, cutoff=0.5)
        raise UnknownTaskError(
            f"There is no task {name!r} in this app.",
            do="did you mean " + " or ".join(near) + "?"
            if near
            else "it has " + ", ".join(sorted(self.tasks)),
        )

    # -------------------------------------------------------------- connections

    def connection(self) -> AbstractContextManager[Connection[Any]]:
        """One of the app's own connections, in a transaction that commits at the end of the block."""
        return self._pools.connection()

    def connection_async(self) -> AbstractAsyncContextManager[AsyncConnection[Any]]:
        """``connection`` for async callers."""
        return self._pools.connection_async()

    @contextmanager
    def listening(self, channel: str) -> Iterator[Connection[Any]]:
        with connect(self.dsn, name="pgqueue wait") as connection:
            connection.execute(f"listen {channel}".encode())
            yield connection

    @asynccontextmanager
    async def listening_async(self, channel: str) -> AsyncIterator[AsyncConnection[Any]]:
        async with await connect_async(self.dsn, name="pgqueue wait", session=ORDINARY) as connection:
            await connection.execute(f"listen {channel}".encode())
            yield connection

    def close(self) -> None:
        """Closes the app's own connections; it opens new ones when it needs them."""
        self._pools.close()

    async def aclose(self) -> None:
        """``close`` for async callers, also of the running loop's pool."""
        await self._pools.aclose()


class _Decorator(Protocol):
    """The type of ``@app.task(…)``, for type checkers: what the overloads of ``App.task`` say."""

    @overload
    def __call__(self, function: Callable[Concatenate[Job, P], R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


def _span(batches: list[Batch]) -> AbstractContextManager[None]:
    return enqueue_span(batches[0].task, sum(len(batch.args) for batch in batches))


def _traced(batches: list[Batch]) -> list[Batch]:
    headers = carrier()
    if not headers:
        return batches
    return [batch._replace(options={**batch.options, "trace_context": headers}) for batch in batches]


def load_app(path: str) -> App:
    """The App that ``module:attribute`` names (``module`` alone: its only App); the current directory is importable.

    Raises AppImportError, showing the user's own frame, or NoTasksError.
    """
    module_name, _, attribute = path.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except PgQueueError:
        raise
    except Exception as error:
        raise _import_error(path, module_name, error) from error
    if attribute:
        found: Any = module
        for part in attribute.split("."):
            found = getattr(found, part, None)
        apps = [found] if isinstance(found, App) else []
    else:
        apps = list({id(value): value for value in vars(module).values() if isinstance(value, App)}.values())
    if len(apps) != 1:
        names = [name for name, value in vars(module).items() if isinstance(value, App)]
        raise AppImportError(
            f"{path!r} names no App." if not apps else f"{module_name} holds {len(apps)} Apps.",
            do=f"use -A {module_name}:{names[0]}"
            if names
            else f"make one in {module_name}: app = pgqueue.App()",
        )
    if not apps[0].tasks:
        raise NoTasksError(
            f"The App of {path!r} has no tasks.",
            do="declare one with @app.task, in a module that this one imports",
        )
    return apps[0]


def _import_error(path: str, module_name: str, error: Exception) -> AppImportError:
    if isinstance(error, ModuleNotFoundError) and error.name and module_name.startswith(error.name):
        near = [entry.stem for entry in Path.cwd().glob("*.py")]
        near += [entry.parent.name for entry in Path.cwd().glob("*/__init__.py")]
        close = difflib.get_close_matches(module_name.split(".", maxsplit=1)[0], near, n=1, cutoff=0.5)
        return AppImportError(
            f"There is no module {error.name!r} (of -A {path}).",
            why=f"looked in {Path.cwd()} and in the installed packages",
            do=f"did you mean {close[0]}?" if close else "run this where the module lies, or install it",
        )
    frame = error.__traceback__
    shown = ""
    while frame is not None:
        file = frame.tb_frame.f_code.co_filename
        if "importlib" not in file and file != __file__:
            shown = f"{file}:{frame.tb_lineno}"
        frame = frame.tb_next
    return AppImportError(
        f"Importing {module_name!r} failed: {type(error).__name__}: {error}",
        why=f"at {shown}" if shown else "",
    )
