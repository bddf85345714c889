"""The steps of one attempt. If an earlier attempt has done a step, its stored value is returned, and the step is not done again.

Each attempt runs the handler from its beginning. The handler need not do the same steps in the same order as before, because a step is
recognised only by its name and key. If no checkpoint has this name and key, the step is done, and the worker's checkpointer stores its
value before the step returns.

Sync and async handlers share one algorithm. It is a generator that yields each call of the user's function, and each question to the keeper
of checkpoints. ``drive`` and ``drive_async`` carry out what the generator yields.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from pgqueue.app.app import App
from pgqueue.errors import (
    CheckpointMismatchError,
    LeaseLostError,
    StepRefusedError,
    StepTooLargeError,
)
from pgqueue.model.step_values import Codec, codec_of, fingerprint
from pgqueue.model.steps import (
    CURSOR,
    FIRST_LOAD,
    LOAD,
    MOST_STEPS,
    Checkpoint,
    Kind,
    Question,
    StepCall,
    StepId,
    TakeSignal,
    is_first,
    named,
    step_id,
)
from pgqueue.model.suspension import Request, Suspended
from pgqueue.worker.attempt import Attempt, required
from pgqueue.worker.ending import OwnCommit
from pgqueue.worker.step_commits import Make, acommit_effect, commit_effect, value_of_sync, version_of
from pgqueue.worker.under_way import CallsUnderWay, in_step

SLICE = (
    0.05  # a thread that waits for an answer checks every this many seconds whether its attempt was stopped
)

# Before an attempt is suspended, the tasks and threads of its handler get this many moments. So a task that has just been started, or that has
# just got the value of a step, can begin its next step.
MOMENTS = 4
MOMENT = 0.0005  # seconds

T = TypeVar("T")


class Effect(NamedTuple):
    """A call of the user's function with a connection. ``make`` makes a checkpoint from the value that the function returns.

    The rows that the function writes and this checkpoint are committed together.
    """

    call: StepCall[object]
    make: Make


class Pause(NamedTuple):
    """Lets other threads and asyncio tasks of the handler go on for a moment."""


class Idle(NamedTuple):
    """Waits until this future has ended: then no other call of the attempt is under way, or at least fewer are."""

    future: Future[None]


PAUSE = Pause()
Asked = Question | StepCall[object] | Effect | Pause | Idle
StepFlow = Generator[Asked, Any, T]


class Steps:
    """Does the steps of one attempt, and remembers them. Threads and asyncio tasks of the handler can use it at the same time."""

    def __init__(self, attempt: Attempt, app: App) -> None:
        self._attempt, self._app = attempt, app
        self.version = version_of(app, attempt)
        # The first attempt of a job has nothing to read.
        self._known: dict[StepId, Checkpoint] | None = {} if is_first(attempt.lease_id) else None
        self._under_way = CallsUnderWay()
        self._is_untouched = (
            True  # whether this attempt has not asked the checkpointer and has stored nothing yet
        )
        self.has_saved = False  # whether ``save`` was called
        self._is_stale = False  # whether ``save`` was called after the saved place was read

    def step(
        self,
        name: object,
        call: StepCall[object],
        kind: Kind = "step",
        same: Sequence[object] | None = None,
    ) -> StepFlow[Any]:
        """Returns the stored value of a step. If there is none, calls the function, and stores its value.

        ``same``: what must be the same in each attempt, or CheckpointMismatchError is raised. None: the arguments of the call.
        """
        self._attempt.check()
        me, codec = step_id(name), codec_of(call.function)
        mark = fingerprint(call.args, call.kwargs) if same is None else fingerprint(same, {})

        def make(value: object) -> Checkpoint:
            return Checkpoint(kind, *me, mark, codec.encode(named(me), value), self.version)

        with self.taking(me):
            if self._under_way.is_closed:
                raise Suspended
            stored = yield from self.find(me)
            if stored is None:
                self.require_room()
                stored = yield from (self._do(call, make) if kind == "step" else self._commit(me, call, make))
            return self._value(stored, mark, codec)

    def saved(self) -> StepFlow[object]:
        """Returns the place that ``save`` stored last, or None. If ``save`` was called in this attempt, reads the place again."""
        if self._is_stale:
            self._known, self._is_stale = None, False
        found = yield from self.find((CURSOR, ""))
        return None if found is None else json.loads(found.value)

    def begin_to_save(self) -> None:
        self._is_untouched = False

    def note_saved(self) -> None:
        self.has_saved = self._is_stale = True

    # ---------------------------------------------------------------- for steps, sleeps and waits

    @property
    def is_suspending(self) -> bool:
        """Whether a call of this attempt has suspended it already. Then its handler is about to end."""
        return self._attempt.is_suspending

    def taking(self, me: StepId) -> AbstractContextManager[None]:
        """The step is done during the block (``CallsUnderWay.taking``)."""
        return self._under_way.taking(me)

    def known(self, me: StepId) -> Checkpoint | None:
        """Returns the checkpoint of a step, if it is known without asking the checkpointer."""
        known = self._known  # another thread of the handler can set it to None meanwhile
        return None if known is None else known.get(me)

    def find(self, me: StepId) -> StepFlow[Checkpoint | None]:
        """Returns the checkpoint of a step; None if it has none. The first call of a later attempt reads all checkpoints of the job."""
        known = self._known
        if known is None:
            first, self._is_untouched = self._is_untouched, False
            found = yield FIRST_LOAD if first else LOAD
            known = self._known
            if known is None:  # otherwise another task of the handler has read them meanwhile
                known = {one.step_id: one for one in found}
                self._known = known
        return known.get(me)

    def take_signal(self, take: TakeSignal) -> StepFlow[Checkpoint | None]:
        """Returns how a wait has ended; None if it is not over. If no checkpoint was read before, reads all of them in the same statement."""
        if self._known is not None:
            return (yield from self.store(take))
        self._is_untouched = False
        found = yield take._replace(loads=True)
        known = self._known
        if known is None:
            known = dict[StepId, Checkpoint]()
            self._known = known
        known.update((one.step_id, one) for one in found)
        stored = known.get((take.name, take.key))
        return None if stored is None else self._noted(stored)

    def store(self, question: Question) -> StepFlow[Checkpoint | None]:
        """Asks the checkpointer, and returns the checkpoint that is stored now; None if there is none."""
        try:
            stored = yield question
        except BaseException:
            self._known = (
                None  # it is not known what was stored, so the next step reads all checkpoints again
            )
            raise
        return self._noted(stored[0]) if stored else None

    def suspend(self, request: Request) -> StepFlow[None]:
        """Suspends the attempt until this request, or another request of the attempt, is over: raises Suspended.

        Waits until the other steps of the attempt have ended, so that their values are stored. Meanwhile they can add requests.
        """
        self._attempt.ask_to_suspend(request)
        try:
            with self._under_way.set_aside():
                while not self.is_suspending:
                    for _ in range(MOMENTS):
                        yield PAUSE
                    if (future := self._under_way.idle()) is None:
                        break
                    yield Idle(future)
        except BaseException:
            self._attempt.withdraw(request)
            raise
        self._attempt.begin_to_suspend()
        raise Suspended

    def _do(self, call: StepCall[object], make: Make) -> StepFlow[Checkpoint]:
        stored = yield from self.store(make((yield call)))
        assert stored is not None
        return stored

    def _commit(self, me: StepId, call: StepCall[object], make: Make) -> StepFlow[Checkpoint]:
        try:
            stored = yield Effect(call, make)
        except BaseException:
            self._known = None
            raise
        if stored is None:  # another attempt has committed this step
            self._known = None
            stored = yield from self.find(me)
            if stored is None:
                raise LeaseLostError(self._attempt.id, self._attempt.lease_id)
        return self._noted(stored)

    def _noted(self, stored: Checkpoint) -> Checkpoint:
        if stored.lease_id == self._attempt.lease_id:
            self._attempt.has_checkpoint = True
        known = self._known
        if known is not None:
            known[stored.step_id] = stored
        return stored

    def require_room(self) -> None:
        if self._attempt.own_commit is not OwnCommit.NONE:
            why = "a job.transaction() block has completed the job"
            do = "take the step before that block, or inside of it"
            raise StepRefusedError(f"Job {self._attempt.id} can have no further step.", why=why, do=do)
        known = self._known
        if known is not None and len(known) >= MOST_STEPS:
            raise StepTooLargeError(
                f"Job {self._attempt.id} has {MOST_STEPS:,} checkpoints already.",
                do="do more in one step, or split the work into several jobs",
            )

    def require_kind(self, stored: Checkpoint, *kinds: Kind) -> None:
        """Raises CheckpointMismatchError if the checkpoint is none of these kinds."""
        if stored.kind not in kinds:
            what = f"was stored as a {stored.kind}, but is a {kinds[0]} now"
            raise self._mismatch(
                stored, what, "the code has changed since then, or two calls have the same name"
            )

    def _value(self, stored: Checkpoint, mark: int, codec: Codec) -> object:
        self.require_kind(stored, "step", "effect")
        if stored.fingerprint is not None and stored.fingerprint != mark:
            raise self._mismatch(
                stored, "was done with other arguments", "its code or its arguments have changed since then"
            )
        try:
            return codec.read(stored.value)
        except Exception as error:  # noqa: BLE001 - a validator of a user's type can raise any error
            why = "the annotation of its function has changed since then"
            said = "" if isinstance(error, ValidationError) else f" ({type(error).__name__})"
            raise self._mismatch(stored, f"has a value that no longer fits{said}", why) from None

    def _mismatch(self, stored: Checkpoint, what: str, why: str) -> CheckpointMismatchError:
        at = f" at {stored.at:%Y-%m-%d %H:%M:%S %Z}" if stored.at is not None else ""
        by = "" if stored.version is None else f" by version {stored.version} of task {self._attempt.task}"
        now = "" if self.version in (None, stored.version) else f", and this is version {self.version}"
        return CheckpointMismatchError(
            f"Step {named(stored.step_id)} of job {self._attempt.id} {what}; it was stored{at}{by}{now}.",
            job_id=self._attempt.id,
            name=stored.name,
            key=stored.key,
            why=why,
            stored_by=stored.version,
            version=self.version,
        )

    # ---------------------------------------------------------------- carrying a flow out

    def drive(self, flow: StepFlow[T]) -> T:
        """Carries a flow out on this thread. Raises StepRefusedError if an event loop runs here, because the wait would stop it."""
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 - the public function raises an error instead of returning None
            flow.close()
            raise StepRefusedError(
                "A step was taken on an event loop by a function that would block the loop.",
                do="write: await job.astep(…), await job.astep_transaction(…), await job.asaved(), await job.asleep(…)"
                " or await job.await_for(…)",
            )
        go: Callable[[Any], Asked] = flow.send
        given: object = None
        while True:
            try:
                asked = go(given)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            try:
                given, go = self._perform(asked), flow.send
            except BaseException as error:  # noqa: BLE001 - it is raised where the flow has asked
                given, go = error, flow.throw

    async def drive_async(self, flow: StepFlow[T]) -> T:
        """Carries a flow out on the running event loop."""
        go: Callable[[Any], Asked] = flow.send
        given: object = None
        while True:
            try:
                asked = go(given)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            try:
                given, go = await self._perform_async(asked), flow.send
            except BaseException as error:  # noqa: BLE001 - it is raised where the flow has asked
                given, go = error, flow.throw

    def _perform(self, asked: Asked) -> object:
        match asked:
            case Effect():
                with in_step():
                    return commit_effect(self._app, self._attempt, asked.call.with_connection(), asked.make)
            case StepCall():
                with in_step():
                    return value_of_sync(asked.function(*asked.args, **asked.kwargs), "step")
            case Pause():
                time.sleep(MOMENT)
                return None
            case Idle():
                return self._wait(asked.future)
            case _:
                return self._wait(required(self._attempt.keeper).ask(self._attempt, asked))

    async def _perform_async(self, asked: Asked) -> object:
        match asked:
            case Effect():
                with in_step():
                    return await acommit_effect(
                        self._app, self._attempt, asked.call.with_connection(), asked.make
                    )
            case StepCall():
                with in_step():
                    value = asked.function(*asked.args, **asked.kwargs)
                    return await value if inspect.isawaitable(value) else value
            case Pause():
                await asyncio.sleep(0)
                return None
            case Idle():
                await asyncio.wrap_future(asked.future)
                return None
            case _:
                return await required(self._attempt.keeper).aask(self._attempt, asked)

    def _wait(self, answer: Future[T]) -> T:
        """Waits for an answer. In between, an interruption can come in, and a stopped attempt ends the wait."""
        while True:
            try:
                return answer.result(SLICE)
            except TimeoutError:
                if answer.done():  # it came a moment later, or it is this error
                    return answer.result()
                self._attempt.check()
