"""The methods that enqueue jobs.

``@app.task`` returns a ``Task``. ``using`` returns an ``Enqueuer``, which is a task with chosen options. Each sync method has a
short async twin; both call ``JobStore``. A test checks that their signatures are equal.
"""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, ParamSpec, TypeVar

from pgqueue.app.handle import JobHandle, handles
from pgqueue.app.storing import JobStore
from pgqueue.database.joining import NOT_GIVEN, given
from pgqueue.errors import InvalidArgumentsError, InvalidBatchError, InvalidJobError, InvalidOptionError
from pgqueue.model import options as rules
from pgqueue.model import unique
from pgqueue.model.declaring import importable, task_of
from pgqueue.model.hooks import Hooked
from pgqueue.model.new_job import Batch, NewJob, in_batches
from pgqueue.model.nodes import NodeResult
from pgqueue.model.options import RULES
from pgqueue.model.task import TaskSpec
from pgqueue.text.counted import count

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


def bad_items(reasons: dict[int, str]) -> InvalidBatchError:
    """Returns the error for a batch of which nothing is stored; ``reasons`` maps the index of each bad item to its reason."""
    shown = "; ".join(f"[{index}] {reason}" for index, reason in list(reasons.items())[:3])
    return InvalidBatchError(
        f"{len(reasons)} of the items are bad: {shown}", reasons=dict(list(reasons.items())[:20])
    )


class Enqueuer(Generic[P, R_co]):
    """A task with chosen options and a connection to join. It is immutable, so you can keep it and use it again.

    ``shared`` is given if this enqueuer was made from another one by choosing only a unique_key. It returns the options that all
    enqueuers made in this way have in common, so that these options are checked only once.
    """

    def __init__(
        self, store: JobStore, spec: TaskSpec, connection: object = None, options: Mapping[str, object] = {},
        shared: Callable[[], Mapping[str, object]] | None = None,
    ) -> None:  # fmt: skip
        self.spec = spec
        self._store, self._connection, self._options = store, connection, options
        self._shared_with = shared
        self._all: Mapping[str, object] | None = None
        self._all_beside_keys: Mapping[str, object] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        if self._connection is not None:
            raise pickle.PicklingError("A task that joins a connection cannot be pickled.")
        return _bound, (
            self._store,
            importable(self.spec.function.__module__),
            self.spec.name,
            dict(self._options),
        )

    def using(self, connection: object = NOT_GIVEN, **options: object) -> Enqueuer[P, R_co]:
        """Returns the same task with more options. With ``connection``, its jobs join that transaction.

        ``connection``: psycopg's Connection or AsyncConnection; SQLAlchemy's Connection, Session, AsyncConnection or
        AsyncSession, with any driver; Django's ``connection``. Durations are seconds, a timedelta, or a text such as "5m".
        Options: ``queue``, ``priority`` (smaller first), ``run_at`` (aware datetime) or ``delay``, ``max_attempts``,
        ``timeout``, ``tags``, ``meta``. ``expires``: a job that has not started by then is cancelled. ``deadline``: a job that
        has not ended by then is dead. Both are durations or aware datetimes. ``concurrency_key``: jobs of different keys
        take turns, and limits count by key. ``weight``: how much of each limit the job uses, default 1. ``ordering``: the
        key's jobs run one after the other, in the order of their ids; a dead job blocks the later jobs ("block") or is skipped ("skip").
        The next options say when a job is a duplicate. ``unique_key``: at most one unfinished job of this task has it. ``unique``: a key
        made of all arguments (True) or of the arguments in a list; False: the options about duplicates that the task declares do not apply.
        ``unique_for``: the key counts only within a window of this length. ``on_conflict``: "skip", "replace" or "raise". ``throttle``: for
        that long, no other job with the key is stored. ``debounce`` with ``debounce_max``: each further enqueue with the key postpones the
        job and replaces its arguments.
        ``idempotency_key``: the key of a request that can be sent more than once. The key is kept for ``idempotency_ttl`` (default 7 days).
        ``wake=False``: no NOTIFY is sent, because a two-phase commit forbids it. The next poll finds the job.

        Raises InvalidOptionError, InvalidNameError or InvalidArgumentsError, and WrongConnectionError if ``connection`` is None. The warning PGQ-502 is given later, by the enqueue.
        """
        chosen_connection = given(connection)
        if not RULES.keys() >= options.keys():
            raise InvalidArgumentsError(
                f"using() has no option {rules.unknown(options)}.", do="it takes " + ", ".join(sorted(RULES))
            )
        chosen = rules.options(**options)
        if self._options and (
            ("run_at" in chosen and "delay" in self._options)
            or ("delay" in chosen and "run_at" in self._options)
        ):
            raise InvalidOptionError("run_at and delay are both given.", do="give one of them")
        if "unique" in chosen:
            self.spec.check_unique(chosen["unique"])
        if "ordering" in chosen and not {"concurrency_key"} & {*chosen, *self._options}:
            raise InvalidOptionError(
                "ordering is given without a concurrency_key.", do="give the key whose jobs keep their order"
            )
        return Enqueuer(
            self._store,
            self.spec,
            self._connection if chosen_connection is None else chosen_connection,
            unique.merged(self._options, chosen),
            self._beside_keys if len(chosen) == 1 and "unique_key" in chosen else None,
        )

    def job(self, *args: P.args, **kwargs: P.kwargs) -> NewJob:
        """Returns the job that ``enqueue`` would store: an item for ``enqueue_many``, or a node of a workflow. Checks it, but does not store it.

        In a workflow, an argument can be the ``result`` of an earlier node.
        """
        if NodeResult in map(type, args) or NodeResult in map(type, kwargs.values()):
            text, results = self.spec.encode_with_results(args, kwargs)
            return NewJob(self.spec.name, text, self._shared(), self._key(), results)
        return self._job(args, kwargs)

    def job_of(self, args: Mapping[str, object]) -> NewJob:
        """``job`` for arguments in a mapping, of which one can have any name, such as ``self``."""
        return self._job((), args)

    def _job(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> NewJob:
        return NewJob(self.spec.name, self.spec.encode(args, kwargs), self._shared(), self._key())

    def _key(self) -> str | None:
        key = self._options.get("unique_key")
        return key if isinstance(key, str) else None

    def _shared(self) -> Mapping[str, object]:
        """Returns the chosen options and the task's defaults, without the unique_key. All jobs of a batch share this object."""
        # A cached_property would be slower, because it takes a lock for each job with a key of its own.
        if self._all is None:
            self._all = (
                self._made_together(self._options) if self._shared_with is None else self._shared_with()
            )
        return self._all

    def _beside_keys(self) -> Mapping[str, object]:
        """Returns the options that jobs share if each has a unique_key of its own."""
        if self._all_beside_keys is None:
            self._all_beside_keys = self._made_together(
                unique.merged(self._options, {"unique_key": "one for each"})
            )
        return self._all_beside_keys

    def _beside_requests(self, has_keys: bool) -> Mapping[str, object]:
        """Returns the options that jobs share if each has an idempotency_key of its own, and perhaps a unique_key."""
        chosen = {"idempotency_key": "one for each", **({"unique_key": "one for each"} if has_keys else {})}
        shared = self._made_together(unique.merged(self._options, chosen))
        return {name: value for name, value in shared.items() if name != "idempotency_key"}

    def _made_together(self, chosen: Mapping[str, object]) -> Mapping[str, object]:
        together = unique.checked_together(unique.merged(self.spec.options, chosen))
        return {name: value for name, value in together.items() if name != "unique_key"}

    def _around(
        self,
        items: int,
        arguments: int,
        unique_keys: Iterable[str] | None,
        idempotency_keys: Iterable[str] | None,
    ) -> tuple[Mapping[str, object], list[str] | None]:
        """Returns (the options that the dicts of a batch share, the unique_key of each item; None: the items have no unique_key)."""
        names: list[str] | None = None
        if unique_keys is not None:
            names = _checked_keys("unique_key", unique_keys, items, arguments)
        elif arguments and (key := self._key()) is not None:
            names = [key] * items
        if idempotency_keys is not None:
            requests = _checked_keys("idempotency_key", idempotency_keys, items, arguments)
            return {**self._beside_requests(names is not None), "idempotency_keys": requests}, names
        if unique_keys is not None:
            return self._beside_keys(), names
        return self._shared() if arguments else {}, names

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """Stores one job and returns its handle; ``created`` is False if another job has its key already.

        Before anything is written, raises InvalidArgumentsError, InvalidOptionError, InvalidPayloadError or
        PayloadTooLargeError. If the idempotency key was used with other arguments, raises IdempotencyConflictError. With
        ``on_conflict="raise"``, a duplicate raises DuplicateJobError. None of these aborts the caller's transaction.
        """
        batches = in_batches([self._job(args, kwargs)])
        return handles(self._store, self._store.insert(batches, self._connection))[0]

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """``enqueue`` for async connections."""
        batches = in_batches([self._job(args, kwargs)])
        return handles(self._store, await self._store.ainsert(batches, self._connection))[0]

    def enqueue_many(
        self,
        items: Iterable[Mapping[str, object] | NewJob],
        unique_keys: Iterable[str] | None = None,
        idempotency_keys: Iterable[str] | None = None,
    ) -> list[JobHandle]:
        """Stores many jobs in a few round trips. Returns their handles in the order of ``items``; each says whether its job is new.

        An item is a dict of arguments, or a job made by ``task.using(unique_key=…).job(…)`` with options of its own.
        ``unique_keys``, ``idempotency_keys``: one key for each dict. Dicts with such keys are cheaper than jobs made by ``job(…)``.
        If an item is bad, raises InvalidBatchError with the first 20 reasons and stores none.
        """
        batches = self._batches(items, unique_keys, idempotency_keys)
        return handles(self._store, self._store.insert(batches, self._connection))

    async def aenqueue_many(
        self,
        items: Iterable[Mapping[str, object] | NewJob],
        unique_keys: Iterable[str] | None = None,
        idempotency_keys: Iterable[str] | None = None,
    ) -> list[JobHandle]:
        """``enqueue_many`` for async connections."""
        batches = self._batches(items, unique_keys, idempotency_keys)
        return handles(self._store, await self._store.ainsert(batches, self._connection))

    def _batches(
        self,
        items: Iterable[Mapping[str, object] | NewJob],
        unique_keys: Iterable[str] | None = None,
        idempotency_keys: Iterable[str] | None = None,
    ) -> list[Batch]:
        listed = list(items)
        arguments = [item for item in listed if not isinstance(item, NewJob)]
        options, names = self._around(len(listed), len(arguments), unique_keys, idempotency_keys)
        if len(arguments) == len(listed):
            try:
                return [Batch(self.spec.name, self.spec.encode_many(arguments), options, names)]
            except InvalidJobError:
                pass  # the loop below finds which items are bad, and why
        jobs: list[NewJob] = []
        reasons: dict[int, str] = {}
        for index, item in enumerate(listed):
            try:
                if isinstance(item, NewJob):
                    jobs.append(item)
                elif isinstance(item, Mapping):
                    args = self.spec.encode((), item)
                    jobs.append(
                        NewJob(self.spec.name, args, options, None if names is None else names[index])
                    )
                else:
                    raise InvalidArgumentsError(f"it is a {type(item).__name__}, not a dict of arguments.")
            except InvalidJobError as error:
                reasons[index] = error.what
        if reasons:
            raise bad_items(reasons)
        return in_batches(jobs)


def _checked_keys(kind: str, given: Iterable[str], items: int, arguments: int) -> list[str]:
    if isinstance(given, str):
        raise InvalidOptionError(f"{kind}s is one text.", do="give a list with one key for each item")
    listed = list(given)
    if not len(listed) == items == arguments:
        raise InvalidOptionError(
            f"{count(len(listed), kind)} for {count(items, 'item')}, {items - arguments} of them made by job(…).",
            why="each dict of arguments needs one key of the list, and a job made by job(…) takes none",
            do=f"give one key for each dict, or make each job by task.using({kind}=…).job(…)",
        )
    for key in listed:
        RULES[kind](kind, key)
    return listed


def _bound(store: JobStore, module: str, name: str, options: Mapping[str, object]) -> Enqueuer[..., object]:
    """Imports the module of a task's function, which declares the task, and returns an enqueuer of the task."""
    importlib.import_module(module)
    return Enqueuer(store, store.specs[name], None, options)


class Task(Enqueuer[P, R_co], Hooked):
    """A registered task. A call of the task runs its function in the caller's process; ``enqueue`` stores a job for a worker."""

    def __init__(self, store: JobStore, spec: TaskSpec) -> None:
        Enqueuer.__init__(self, store, spec)
        Hooked.__init__(self)
        self.__doc__ = spec.function.__doc__
        self.__name__ = getattr(spec.function, "__name__", spec.name)
        self.__wrapped__ = spec.function

    @property
    def name(self) -> str:
        return self.spec.name

    def __reduce__(self) -> tuple[object, ...]:
        return task_of, (self._store.app, importable(self.spec.function.__module__), self.name)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        result: R_co = self.spec.function(*args, **kwargs)
        return result

    def __repr__(self) -> str:
        return f"<Task {self.name} ({self.spec.describe()})>"
