"""``App`` has the tasks of an application, and connections to the database. Importing this module and making an App do no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
)
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, Unpack, overload

from psycopg import AsyncConnection, Connection

from pgqueue.app.batches import Batches
from pgqueue.app.crontab import Crontab
from pgqueue.app.enqueue import Task, bad_items
from pgqueue.app.handle import JobHandle, checked_id, handles
from pgqueue.app.storing import JobStore
from pgqueue.app.workflows import Workflows
from pgqueue.database.dsn import find_dsn
from pgqueue.database.joining import NOT_GIVEN, given
from pgqueue.errors import DuplicateTaskError, InvalidOptionError, UnknownTaskError
from pgqueue.model.chunk import ChunkSpec
from pgqueue.model.declaring import found, module_of, named, runnable, task_name
from pgqueue.model.hooks import EVENTS, CompletedHook, Event, Hook, Hooked, Layer, M, as_layer
from pgqueue.model.job import Job
from pgqueue.model.names import check_name
from pgqueue.model.new_job import NewJob, in_batches
from pgqueue.model.options import RULES, kept_level
from pgqueue.model.outcome import Keep
from pgqueue.model.retry import RetryPolicy
from pgqueue.model.task import TaskSpec
from pgqueue.model.unique import KeyRules, key_rules
from pgqueue.model.units import seconds
from pgqueue.model.versions import check_app_version, check_versions
from pgqueue.model.worker_events import Watched
from pgqueue.text.nearest import guess

P = ParamSpec("P")
R = TypeVar("R")
HOOKS = frozenset(f"on_{event}" for event in EVENTS)


class App(Crontab, Workflows, Batches, Hooked, Watched):
    """The tasks and schedules of an application, its database, and the hooks and middleware of all tasks.

    ``dsn``: the database of the jobs. Without a DSN, the app uses the first of these that is set: PGQUEUE_DSN, DATABASE_URL,
    ``[tool.pgqueue]``, libpq's PG*. ``pool_size``: the largest number of connections for calls that join no transaction of yours, and for
    ``job.transaction()``. The default is 10, and in a worker at least twice the number of its slots. Each event loop has a separate pool
    of the same size. ``name``: the service that owns the schedules; the default is the module that makes the App. If several services share
    a database, give each a different name. ``version``: the version of your code, a text such as "2026.11.30", which is stored with each
    worker.
    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        name: str | None = None,
        version: str | None = None,
        pool_size: int | None = None,
    ) -> None:
        Crontab.__init__(self)
        Hooked.__init__(self)
        Watched.__init__(self)
        self._dsn = dsn
        self.named = name is not None
        self.name = check_name("service", module_of(self) if name is None else name)
        self.version = check_app_version(version)
        self.layers: list[Layer] = []  # middleware, the outermost first
        self.tasks: dict[str, Task[..., object]] = {}
        self.store = JobStore(self, lambda: self.dsn, pool_size)

    @property
    def dsn(self) -> str:
        """Returns the DSN for libpq; raises NoDsnError if no setting contains one."""
        return find_dsn(self._dsn)

    def __reduce__(self) -> tuple[object, ...]:
        return found, named(self)

    # -------------------------------------------------------------- declaring

    @overload
    def task(self, function: Callable[Concatenate[Job, P], R], /) -> Task[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(self, /, **options: Unpack[_Options]) -> _Decorator: ...
    @overload
    def task(
        self, /, *, chunk: int, chunk_wait: float | str | timedelta = 0, **options: Unpack[_Options]
    ) -> _ChunkDecorator: ...

    def task(
        self,
        function: Callable[..., object] | None = None,
        /,
        *,
        name: str | None = None,
        queue: str = "default",
        priority: int = 0,
        retry: object = None,
        timeout: float | str | timedelta | None = None,
        keep: Keep = "all",
        store_result: bool = True,
        keep_logs: bool | str | None = None,
        executor: str | None = None,
        chunk: int | None = None,
        chunk_wait: float | str | timedelta = 0,
        version: int | None = None,
        accepts: Iterable[int] | None = None,
        **more: object,
    ) -> object:
        """Declares a task: ``@app.task`` or ``@app.task(queue="mail", retry=[1, 5, 30])`` on a def or async def.

        ``name``: stored with each job, default ``module.function``. ``retry``: the number of all attempts (1 or False: no
        retry), a list of delays in seconds, a tenacity wait, or a ``RetryPolicy``; the default delays are 1 s, 5 s, 30 s, 5 min, 30 min. ``timeout``: the time limit of
        one attempt.
        ``keep``: which finished rows stay until retention deletes them: "all", only "failures" (dead and cancelled), or "none".
        ``store_result``: if False, the value that the handler returns is dropped, so it can be anything. If True, a value that is not JSON
        makes the job dead. ``keep_logs``: whether the lines that the handler logs are stored with the job, from INFO on, or from the
        level of this name on. By default, the worker's setting decides.
        ``executor``: "async", "thread" or "process"; by default, the worker's setting decides (async def runs on the worker's loop, def on a thread).
        ``chunk``: the handler takes a list of at most this many jobs. The worker gathers them for ``chunk_wait`` at most.
        ``version``: the version of the handler, a whole number, which a job gets with its first checkpoint. A worker claims such a job again
        only if its task accepts that version. ``accepts``: the versions whose checkpoints the handler understands, its own among them; by
        default, its own alone.
        ``unique`` (True: a key made of all arguments; a list: a key made of the arguments with these names), ``unique_for``,
        ``on_conflict``, ``throttle``, ``debounce``, ``debounce_max``: as in ``using()``, for all jobs of the task.
        ``on_completed``, ``on_failed``, ``on_retry``, ``on_dead``, ``on_stalled``: a hook, as ``@task.on_dead`` declares it.
        A parameter annotated ``Job`` receives the job itself. Put it first, so that type checkers understand it.

        Raises DuplicateTaskError, UnnameableTaskError, InvalidNameError, InvalidOptionError, InvalidArgumentsError.
        """
        if function is not None:
            return self.task()(function)

        def declare(function: Callable[..., object]) -> Task[..., object]:
            if isinstance(function, Task):  # a task of another app, or a task that gets a second name
                function = function.spec.function
            function = runnable(function)
            given: dict[str, Any] = {
                "name": task_name(function) if name is None else name,
                "function": function,
                "queue": queue,
                "priority": RULES["priority"]("priority", priority),
                "retry": RetryPolicy.of(retry),
                "timeout": None if timeout is None else RULES["timeout"]("timeout", timeout),
                "keep": keep,
                "store_result": store_result,
                "keep_logs": kept_level(keep_logs),
                "executor": executor,
                "rules": key_rules({name: rule for name, rule in more.items() if name not in HOOKS}, OPTIONS),
            }
            given["version"], given["accepts"] = check_versions(version, accepts)
            wait = seconds(chunk_wait, "chunk_wait")
            if chunk is None and wait:
                raise InvalidOptionError(
                    "chunk_wait is given without chunk.", do="give the size of a chunk: chunk=100"
                )
            spec = TaskSpec(**given) if chunk is None else ChunkSpec(**given, chunk=chunk, chunk_wait=wait)
            former = self.tasks.get(spec.name)
            if former is not None and not self._runs.repeats(former.spec.function, function):
                known = former.spec.function
                raise DuplicateTaskError(
                    f"Two tasks are named {spec.name!r}.",
                    why=f"{known.__module__}.{known.__qualname__} has the name already",
                    do="give one of the tasks another name: name=…",
                )
            spec.adapter  # noqa: B018 - this raises an error if arguments of the signature cannot be stored
            task = Task[..., object](self.store, spec)
            for name_of_hook in HOOKS & more.keys():
                if more[name_of_hook] is not None:
                    getattr(task, name_of_hook)(more[name_of_hook])
            self.tasks[spec.name], self.store.specs[spec.name] = task, spec
            self._runs.note(function)
            return task

        return declare

    def middleware(self, function: M) -> M:
        """Declares middleware around each attempt of every task: a generator that takes one ``Call`` and yields once.

        The code before the yield runs before the handler, in the order of declaration. The code after the yield runs after
        the handler, in the opposite order. The handler's exception is raised at the yield. If middleware raises another
        exception, before or after the yield, that exception counts like an exception of the handler. An async generator can use ``await``,
        even if the handler is a ``def``. Instead of a generator, a callable is accepted that returns a (sync or async) context manager for
        a ``Call``.
        """
        self._runs.put(self.layers, as_layer(function))
        return function

    def events_of(self, task: str) -> list[Event]:
        """Returns the events for which the task or the app has hooks."""
        return [event for event in EVENTS if event in self.hooks or event in self.tasks[task].hooks]

    # -------------------------------------------------------------- enqueuing

    def enqueue_many(self, jobs: list[NewJob], connection: object = NOT_GIVEN) -> list[JobHandle]:
        """Stores jobs of any tasks, made by ``task.job(…)``. With ``connection``, joins its transaction.

        Takes only a few round trips, even for very many jobs. If an item is not such a job, raises InvalidBatchError and stores none.
        """
        return handles(self.store, self.store.insert(in_batches(_made(jobs)), given(connection)))

    async def aenqueue_many(self, jobs: list[NewJob], connection: object = NOT_GIVEN) -> list[JobHandle]:
        """``enqueue_many`` for async connections."""
        return handles(self.store, await self.store.ainsert(in_batches(_made(jobs)), given(connection)))

    # -------------------------------------------------------------- reading

    def handle(self, job_id: int) -> JobHandle:
        """Returns a handle of a job that was enqueued elsewhere; raises InvalidOptionError if ``job_id`` cannot be an id."""
        return JobHandle(checked_id(job_id, "a job"), created=False, store=self.store)

    def spec(self, name: str) -> TaskSpec:
        """Returns the task of that name. If there is none, raises UnknownTaskError, which suggests similar names."""
        if name in self.tasks:
            return self.tasks[name].spec
        raise UnknownTaskError(
            f"There is no task {name!r} in this app.",
            do=guess(name, self.tasks, "it has " + ", ".join(sorted(self.tasks)), most=3),
        )

    # -------------------------------------------------------------- connections

    def connection(self) -> AbstractContextManager[Connection]:
        """Opens a block with one of the app's own connections, in a transaction that commits at the end of the block."""
        return self.store.pools.connection()

    def aconnection(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """``connection`` for async callers."""
        return self.store.pools.aconnection()

    def make_room(self, handlers: int) -> None:
        """Makes the pools large enough for this many handlers that use them at the same time. A worker calls this."""
        self.store.pools.make_room(handlers)

    async def leave_loop(self) -> None:
        """Closes the pool of the running loop. A worker calls this before its loop ends."""
        await self.store.pools.leave_loop()

    def close(self) -> None:
        """Closes the app's own connections. The app stays usable: a later call opens new ones, which you must close again."""
        self.store.close()

    async def aclose(self) -> None:
        """``close`` for async callers; closes the running loop's pool, too."""
        await self.store.aclose()


class _Options(KeyRules, total=False):
    name: str | None
    queue: str
    priority: int
    retry: object
    timeout: float | str | timedelta | None
    keep: Keep
    store_result: bool
    keep_logs: bool | str | None
    executor: str | None
    version: int | None
    accepts: Iterable[int] | None
    on_completed: CompletedHook | None
    on_failed: Hook | None
    on_retry: Hook | None
    on_dead: Hook | None
    on_stalled: Hook | None


OPTIONS = (*_Options.__annotations__, "chunk", "chunk_wait")  # all options of a task


class _Decorator(Protocol):
    """The type of ``@app.task(…)``, for type checkers. It is the same as in the overloads of ``App.task``."""

    @overload
    def __call__(self, function: Callable[Concatenate[Job, P], R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


class _ChunkDecorator(Protocol):
    """The type of ``@app.task(chunk=…)``: a job is enqueued with the fields of an item as arguments, or with an item."""

    def __call__(self, function: Callable[..., R], /) -> Task[..., R]: ...


def _made(jobs: list[NewJob]) -> list[NewJob]:
    wrong = {
        index: f"it is a {type(job).__name__}, not a job made by task.job(…)"
        for index, job in enumerate(jobs)
        if not isinstance(job, NewJob)
    }
    if wrong:
        raise bad_items(wrong)
    return jobs
