"""Handlers in child processes, which can truly be killed: by a timeout, a cancel, or their own crash, alone.

A child runs one attempt (or one chunk) at a time, decides the outcome (it has the exception, the parent has not) and sends it
back as one line of JSON for each attempt. Children are kept for the next one and grow to as many as run at once.

Parent and child talk over a socket that is theirs alone, not over stdin and stdout, which programs that a handler starts inherit.
A child ends when its process ends, even if a fork still holds its files; all that it has started ends with it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from pgqueue.errors import InvalidSettingError, ProcessDiedError
from pgqueue.model.outcome import Outcome
from pgqueue.model.progress import Progress
from pgqueue.model.task import TaskSpec
from pgqueue.runtime.clock import monotonic, server_time
from pgqueue.runtime.services import hidden_task
from pgqueue.telemetry import log_output
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.workers import ChildNotStarted
from pgqueue.text.described import describe
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.forked import Ends
from pgqueue.worker.running.endings import failed, too_late
from pgqueue.worker.spawning import Spawned, how_it_ended

LONGEST_LINE = 4 * 1024 * 1024  # bytes
ENDS = ("cancelled", "lost", "released", "timed_out")
PATIENCE = 1.0  # seconds that a child gets to end by itself
FIRST, LONGEST = 1.0, 60.0  # seconds until the next try to start a child, after one failure and after many


class NotStartedError(Exception):
    """No child could be started, which is no fault of the attempt."""


class Child:
    """A process and the socket to it. Raises OSError if there can be none."""

    def __init__(self, app_path: str, environment: Mapping[str, str]) -> None:
        self._mine, theirs = socket.socketpair()
        try:
            fd = theirs.fileno()
            self._process = Spawned(
                "pgqueue.worker.running.child",
                [app_path, str(fd), str(log_output.chosen())],
                [fd],
                environment,
                deaf=True,
            )
        except BaseException:
            self._mine.close()
            raise
        finally:
            theirs.close()
        self._ends = Ends(self._mine)
        self._requests: asyncio.StreamWriter | None = None

    async def begin(self) -> None:
        """Returns once the child has imported the app; timeouts begin then."""
        opened = await asyncio.open_connection(sock=self._mine, limit=LONGEST_LINE)
        self._answers, self._requests = opened
        self._process.when_ended(self._hang_up)
        said = await self._answers.readline()
        if said != b"ready\n":
            raise NotStartedError(said.decode().strip() or await self.end())

    def _hang_up(self) -> None:
        """Closes the socket in the next turn of the loop, after what the child said before its end was read."""
        if self._requests is not None:
            asyncio.get_running_loop().call_soon(_abort, self._requests)

    @property
    def has_ended(self) -> bool:
        return self._process.has_ended

    def tell(self, request: bytes) -> None:
        assert self._requests is not None
        self._requests.write(request)

    async def ask(self, request: bytes) -> None:
        self.tell(request)
        assert self._requests is not None
        await self._requests.drain()

    async def answer(self) -> Any:
        """Raises EOFError if it has died."""
        line = await self._answers.readline()
        if not line:
            raise EOFError
        return json.loads(line)

    async def end(self, patience: float = PATIENCE) -> str:
        """Ends it and what it has started, after so many seconds; returns how it ended."""
        try:
            async with asyncio.timeout(patience):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            self.kill()
        return how_it_ended(await self._process.wait())

    def kill(self) -> None:
        self._process.kill()
        self._hang_up()


def _abort(requests: asyncio.StreamWriter) -> None:
    """Holds the writer until then: one that goes before its transport is closed warns of that."""
    requests.transport.abort()


class Children:
    """What it runs is an ``Attempt``; its kin for chunks (chunks.py) says what to do with a ``Chunk`` instead."""

    def __init__(self, app_path: str | None, crash_limit: int, finish: Callable[[Any, Any], None]) -> None:
        self._app_path, self._crash_limit, self._finish = app_path, crash_limit, finish
        self._environment = dict(os.environ)  # handlers may change it
        self._idle: list[Child] = []
        self._tasks: dict[Any, asyncio.Task[None]] = {}
        self._failures = 0  # to start a child, since the last success
        self._not_before = 0.0
        self._why = ""

    failed: Callable[..., Any] = staticmethod(failed)

    def start(self, spec: TaskSpec, attempt: Any) -> None:
        """Runs the attempt in a child."""
        if self._app_path is None:
            raise InvalidSettingError(
                f"Task {spec.name} runs in a child process, which must be able to import the app.",
                do="start the worker with pgq work -A module:app",
            )
        self._tasks[attempt] = hidden_task(self._perform(spec, attempt))
        self._tasks[attempt].add_done_callback(partial(self._end_unbegun, spec, attempt))

    def stop(self, attempt: Any) -> None:
        """Kills the child that runs it."""
        if attempt in self._tasks:
            self._tasks[attempt].cancel()

    def _end_unbegun(self, spec: TaskSpec, attempt: Any, task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step never takes one: its attempt ends here."""
        del self._tasks[attempt]
        if task.cancelled():
            self._finish(attempt, self.failed(spec, attempt, asyncio.CancelledError()))

    async def _perform(self, spec: TaskSpec, attempt: Any) -> None:
        child: Child | None = None
        try:
            child = await self._child()
            outcome = await self.hand_over(child, spec, attempt)
            self._idle.append(child)
        except NotStartedError as error:
            outcome = self.postponed(attempt, self._not_before - monotonic(), error)
        except (asyncio.CancelledError, TimeoutError) as error:
            attempt.timed_out = isinstance(error, TimeoutError)
            if child is not None:
                await child.end(0)
            outcome = self.failed(spec, attempt, error)
        except BaseException as error:  # noqa: BLE001 - the end of a child is the end of one attempt only
            died = describe(error) if child is None else await child.end()
            died_error = ProcessDiedError(f"The process that ran it died: {died}.")
            outcome = self.failed(spec, attempt, died_error, crashed=True, crash_limit=self._crash_limit)
        self._finish(attempt, outcome)

    def postponed(self, _attempt: Any, delay: float, error: Exception) -> Any:
        return Outcome.postponed(delay, error)

    async def hand_over(self, child: Child, spec: TaskSpec, attempt: Any) -> Any:
        """Has the child perform it, unless it came too late while the child was started; returns the outcome."""
        late = too_late(spec, attempt)
        if late is not None:
            return late
        async with asyncio.timeout(attempt.seconds_left()):
            [outcome] = await self.ask(child, [attempt])
        return outcome

    async def _child(self) -> Child:
        """A child that waits for work, or a new one; raises NotStartedError if none can be started, or could not a moment ago."""
        while self._idle:
            child = self._idle.pop()
            if not child.has_ended:
                return child
        if monotonic() < self._not_before:
            raise NotStartedError(self._why)
        assert self._app_path is not None
        started: Child | None = None
        try:
            started = Child(self._app_path, self._environment)
            await started.begin()
        except (OSError, NotStartedError) as error:
            if started is not None:
                await started.end(0)
            if monotonic() >= self._not_before:  # of several that fail together, one says so
                self._note_failure(error)
            raise NotStartedError(self._why) from error
        except BaseException:
            if started is not None:
                started.kill()
            raise
        self._failures = 0
        return started

    def _note_failure(self, error: Exception) -> None:
        pause = min(FIRST * 2.0 ** min(self._failures, 10), LONGEST) * random.uniform(0.75, 1.0)  # noqa: S311 - jitter
        self._failures += 1
        self._not_before = monotonic() + pause
        self._why = f"No child process could be started: {error}"
        emit(ChildNotStarted(error, pause))

    async def ask(self, child: Child, attempts: list[Attempt]) -> list[Outcome | None]:
        """Has the child perform attempts of one task, in one call; what it says before its answers is how far they have come."""
        rows = [attempt.row() for attempt in attempts]
        request = {"worker_id": attempts[0].worker_id, "now": server_time.now(), "rows": rows}
        await child.ask(json.dumps(request).encode() + b"\n")
        asked = {attempt.id: attempt for attempt in attempts}
        outcomes: dict[int, Outcome | None] = {}
        while len(outcomes) < len(asked):
            said = await child.answer()
            attempt = asked[said["id"]]
            if said["progress"] is not None:
                attempt.note_progress(Progress(*said["progress"]))
            if "settled" in said:
                attempt.settled, attempt.unconfirmed = said["settled"], said["unconfirmed"]
                outcomes[attempt.id] = Outcome(**said["outcome"]) if said["outcome"] else None
        return [outcomes[attempt.id] for attempt in attempts]

    def close(self) -> None:
        """What handlers have left behind in the groups of their children ends with them."""
        for child in self._idle:
            child.kill()


def encode(attempt: Attempt, outcome: Outcome | None) -> bytes:
    """A child's answer."""
    answer = {
        "settled": attempt.settled,
        "unconfirmed": attempt.unconfirmed,
        "outcome": None if outcome is None else asdict(outcome),
    }
    return json.dumps({"id": attempt.id, **answer, "progress": attempt.progress}).encode() + b"\n"


def encode_progress(attempt: Attempt) -> bytes:
    """What a child says in between."""
    return json.dumps({"id": attempt.id, "progress": attempt.progress}).encode() + b"\n"


def encode_end(attempt: Attempt) -> bytes:
    """What a child is told of an attempt that has ended while the call goes on for others."""
    how = [name for name in ENDS if getattr(attempt, name)]
    return json.dumps({"id": attempt.id, "ended": how}).encode() + b"\n"
