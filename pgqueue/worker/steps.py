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
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from pgqueue.app.app import App
from pgqueue.errors import (
    CheckpointMismatchError,
    DuplicateStepError,
    LeaseLostError,
    StepRefusedError,
    StepTooLargeError,
)
from pgqueue.model.step_values import Codec, codec_of, fingerprint
from pgqueue.model.steps import (
    CURSOR,
    LOAD,
    MOST_STEPS,
    Checkpoint,
    Kind,
    Question,
    StepCall,
    StepId,
    is_first,
    named,
    step_id,
)
from pgqueue.worker.attempt import Attempt, required
from pgqueue.worker.step_commits import Make, acommit_effect, commit_effect, value_of_sync, version_of

SLICE = (
    0.05  # a thread that waits for an answer checks every this many seconds whether its attempt was stopped
)

T = TypeVar("T")


class Effect(NamedTuple):
    """A call of the user's function with a connection. ``make`` makes a checkpoint from the value that the function returns.

    The rows that the function writes and this checkpoint are committed together.
    """

    call: StepCall
    make: Make


Asked = Question | StepCall | Effect
StepFlow = Generator[Asked, Any, T]


class Steps:
    """Does the steps of one attempt, and remembers them. Threads and asyncio tasks of the handler can use it at the same time."""

    def __init__(self, attempt: Attempt, app: App) -> None:
        self._attempt, self._app = attempt, app
        self._version = version_of(app, attempt)
        # The first attempt of a job has nothing to read.
        self._known: dict[StepId, Checkpoint] | None = {} if is_first(attempt.lease_id) else None
        self._taken: set[StepId] = set()  # steps that are being done, or that this attempt has done
        self._lock = threading.Lock()
        self.has_saved = False  # whether ``save`` was called
        self._is_stale = False  # whether ``save`` was called after the saved place was read

    def step(
        self,
        name: object,
        call: StepCall,
        kind: Kind = "step",
    ) -> StepFlow[Any]:
        self._attempt.check()
        me = step_id(name)
        codec, mark = codec_of(call.function), fingerprint(call.args, call.kwargs)

        def make(value: object) -> Checkpoint:
            return Checkpoint(kind, *me, mark, codec.encode(named(me), value), self._version)

        self._take(me)
        try:
            stored = yield from self._find(me)
            if stored is None:
                self._require_room()
                stored = yield from (
                    self._store(call, make) if kind == "step" else self._commit(me, call, make)
                )
            return self._value(stored, mark, codec)
        except BaseException:
            self._taken.discard(me)
            raise

    def saved(self) -> StepFlow[Any]:
        """Returns the place that ``save`` stored last, or None. If ``save`` was called in this attempt, reads the place again."""
        if self._is_stale:
            self._known, self._is_stale = None, False
        found = yield from self._find((CURSOR, ""))
        return None if found is None else json.loads(found.value)

    def note_saved(self) -> None:
        self.has_saved = self._is_stale = True

    def _find(self, me: StepId) -> StepFlow[Checkpoint | None]:
        if self._known is None:
            found = yield LOAD
            if self._known is None:  # another task of the handler can have read them meanwhile
                self._known = {one.step_id: one for one in found}
        return self._known.get(me)

    def _store(self, call: StepCall, make: Make) -> StepFlow[Checkpoint]:
        made = make((yield call))
        try:
            [stored] = yield made
        except BaseException:
            self._known = None  # it is not known whether the checkpoint was stored, so the next step reads all checkpoints again
            raise
        return self._noted(stored)

    def _commit(self, me: StepId, call: StepCall, make: Make) -> StepFlow[Checkpoint]:
        try:
            stored = yield Effect(call, make)
        except BaseException:
            self._known = None
            raise
        if stored is None:  # another attempt has committed this step
            self._known = None
            stored = yield from self._find(me)
            if stored is None:
                raise LeaseLostError(self._attempt.id, self._attempt.lease_id)
        return self._noted(stored)

    def _noted(self, stored: Checkpoint) -> Checkpoint:
        if stored.lease_id == self._attempt.lease_id:
            self._attempt.has_checkpoint = True
        if self._known is not None:
            self._known[stored.step_id] = stored
        return stored

    def _take(self, me: StepId) -> None:
        with self._lock:
            if me in self._taken:
                raise DuplicateStepError(
                    f"Step {named(me)} is taken twice in this attempt.",
                    why="the second one would get the value of the first one",
                    do=f'give each its own key, such as job.step(("{me[0]}", n), …)',
                )
            self._taken.add(me)

    def _require_room(self) -> None:
        if self._known is not None and len(self._known) >= MOST_STEPS:
            raise StepTooLargeError(
                f"Job {self._attempt.id} has {MOST_STEPS:,} checkpoints already.",
                do="do more in one step, or split the work into several jobs",
            )

    def _value(self, stored: Checkpoint, mark: int, codec: Codec) -> object:
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
        now = "" if self._version in (None, stored.version) else f", and this is version {self._version}"
        return CheckpointMismatchError(
            f"Step {named(stored.step_id)} of job {self._attempt.id} {what}; it was stored{at}{by}{now}.",
            job_id=self._attempt.id,
            name=stored.name,
            key=stored.key,
            why=why,
            stored_by=stored.version,
            version=self._version,
        )

    # ---------------------------------------------------------------- carrying a flow out

    def drive(self, flow: StepFlow[T]) -> T:
        """Carries a flow out on this thread. Raises StepRefusedError if an event loop runs here, because the wait would stop it."""
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 - the public function raises an error instead of returning None
            flow.close()
            raise StepRefusedError(
                "A step was taken on an event loop by a function that would block the loop.",
                do="write: await job.astep(…), await job.astep_transaction(…) or await job.asaved()",
            )
        go: Callable[[Any], Asked] = flow.send
        given: Any = None
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
        given: Any = None
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
        if isinstance(asked, Effect):
            return commit_effect(self._app, self._attempt, asked.call.with_connection(), asked.make)
        if not isinstance(asked, StepCall):
            return self._wait(required(self._attempt.keeper).ask(self._attempt, asked))
        return value_of_sync(asked.function(*asked.args, **asked.kwargs), "step")

    async def _perform_async(self, asked: Asked) -> object:
        if isinstance(asked, Effect):
            return await acommit_effect(self._app, self._attempt, asked.call.with_connection(), asked.make)
        if not isinstance(asked, StepCall):
            return await required(self._attempt.keeper).aask(self._attempt, asked)
        value = asked.function(*asked.args, **asked.kwargs)
        return await value if inspect.isawaitable(value) else value

    def _wait(self, answer: Future[T]) -> T:
        """Waits for an answer. In between, an interruption can come in, and a stopped attempt ends the wait."""
        while True:
            try:
                return answer.result(SLICE)
            except TimeoutError:
                if answer.done():
                    raise
                self._attempt.check()


CONFIRMATION = 5.0  # the time limit, in seconds, for the answer of the database whether a place was saved


def confirm(attempt: Attempt) -> None:
    """Finds out whether a failed attempt has saved its place on a connection of the user, and notes the answer. Raises no error."""
    try:
        found = required(attempt.keeper).ask(attempt, LOAD).result(CONFIRMATION)
    except BaseException:  # noqa: BLE001 - also an interruption: then the attempt counts as usual
        found = []
    attempt.has_checkpoint = any(one.lease_id == attempt.lease_id for one in found)


async def aconfirm(attempt: Attempt) -> None:
    """``confirm`` on an event loop."""
    try:
        async with asyncio.timeout(CONFIRMATION):
            found = await required(attempt.keeper).aask(attempt, LOAD)
    except BaseException:  # noqa: BLE001
        found = []
    attempt.has_checkpoint = any(one.lease_id == attempt.lease_id for one in found)
