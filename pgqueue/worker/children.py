"""Handlers in child processes, which can truly be killed: by a timeout, a cancel, or their own crash, alone.

A child runs one attempt (or one chunk) at a time, decides the outcome (it has the exception, the parent has not) and sends it
back as one line of JSON for each attempt. Children are kept for the next one and grow to as many as run at once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

from pgqueue.clock import server_time
from pgqueue.errors import InvalidSettingError, ProcessDiedError
from pgqueue.outcome import Outcome
from pgqueue.progress import Report
from pgqueue.task import TaskSpec
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.endings import failed, missed

LONGEST_LINE = 4 * 1024 * 1024
ENDS = ("cancelled", "lost", "released", "timed_out")
PATIENCE = 1.0  # seconds that a child gets to end by itself

log = logging.getLogger("pgqueue")


class Children:
    """What it runs is an ``Attempt``; its kin for chunks (chunks.py) says what to do with a ``Chunk`` instead."""

    def __init__(self, app_path: str | None, crash_limit: int, finish: Callable[[Any, Any], None]) -> None:
        self._app_path, self._crash_limit, self._finish = app_path, crash_limit, finish
        self._idle: list[asyncio.subprocess.Process] = []
        self._tasks: dict[Any, asyncio.Task[None]] = {}

    failed: Callable[..., Any] = staticmethod(failed)

    def start(self, spec: TaskSpec, attempt: Any) -> None:
        """Runs the attempt in a child."""
        if self._app_path is None:
            raise InvalidSettingError(
                f"Task {spec.name} runs in a child process, which must be able to import the app.",
                do="start the worker with pgq work -A module:app",
            )
        self._tasks[attempt] = asyncio.create_task(self._perform(spec, attempt))
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
        child: asyncio.subprocess.Process | None = None
        try:
            child = self._idle.pop() if self._idle else await self._spawn()
            outcome = await self.hand_over(child, spec, attempt)
            self._idle.append(child)
        except BaseException as error:  # noqa: BLE001 - the end of a child is the end of one attempt only
            attempt.timed_out = isinstance(error, TimeoutError)
            died = await _kill(child)
            crashed = not isinstance(error, TimeoutError | asyncio.CancelledError)
            if crashed:
                error = ProcessDiedError(f"The process that ran it died: {died}.")
            outcome = self.failed(spec, attempt, error, crashed=crashed, crash_limit=self._crash_limit)
        self._finish(attempt, outcome)

    async def hand_over(self, child: asyncio.subprocess.Process, spec: TaskSpec, attempt: Any) -> Any:
        """Has the child perform it, unless it came too late while the child was started; returns the outcome."""
        late = missed(spec, attempt)
        if late is not None:
            return late
        async with asyncio.timeout(attempt.limit()):
            [outcome] = await self.ask(child, [attempt])
        return outcome

    async def _spawn(self) -> asyncio.subprocess.Process:
        assert self._app_path is not None
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pgqueue.worker.child", self._app_path,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LONGEST_LINE,
            start_new_session=True,  # a Ctrl-C is the worker's to handle
        )  # fmt: skip
        assert child.stdout is not None
        try:
            ready = await child.stdout.readline()  # it says when it has imported the app; timeouts begin then
        except asyncio.CancelledError:
            child.kill()
            raise
        if not ready:
            raise EOFError
        return child

    async def ask(self, child: asyncio.subprocess.Process, attempts: list[Attempt]) -> list[Outcome | None]:
        """Has the child perform attempts of one task, in one call; what it says before its answers is how far they have come."""
        assert child.stdin is not None
        assert child.stdout is not None
        rows = [attempt.row() for attempt in attempts]
        request = {"worker_id": attempts[0].worker_id, "now": server_time.now(), "rows": rows}
        child.stdin.write(json.dumps(request).encode() + b"\n")
        await child.stdin.drain()
        asked = {attempt.id: attempt for attempt in attempts}
        outcomes: dict[int, Outcome | None] = {}
        while len(outcomes) < len(asked):
            line = await child.stdout.readline()
            if not line:
                raise EOFError
            said = json.loads(line)
            attempt = asked[said["id"]]
            if said["report"] is not None:
                attempt.note(Report(*said["report"]))
            if "settled" in said:
                attempt.settled = said["settled"]
                outcomes[attempt.id] = Outcome(**said["outcome"]) if said["outcome"] else None
        return [outcomes[attempt.id] for attempt in attempts]

    def close(self) -> None:
        for child in self._idle:
            if child.stdin is not None:
                child.stdin.close()


async def _kill(child: asyncio.subprocess.Process | None) -> str:
    """Ends a child for good and says how it ended."""
    if child is None:
        return "it could not be started"
    try:
        async with asyncio.timeout(0 if child.returncode is None else PATIENCE):
            await child.wait()
    except TimeoutError:
        if child.returncode is None:
            child.kill()
    code = await child.wait()
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"it exited with {code}"


def encode(attempt: Attempt, outcome: Outcome | None) -> bytes:
    """A child's answer."""
    answer = {"settled": attempt.settled, "outcome": None if outcome is None else asdict(outcome)}
    return json.dumps({"id": attempt.id, **answer, "report": attempt.report}).encode() + b"\n"


def encode_report(attempt: Attempt) -> bytes:
    """What a child says in between."""
    return json.dumps({"id": attempt.id, "report": attempt.report}).encode() + b"\n"


def encode_end(attempt: Attempt) -> bytes:
    """What a child is told of an attempt that has ended while the call goes on for others."""
    how = [name for name in ENDS if getattr(attempt, name)]
    return json.dumps({"id": attempt.id, "ended": how}).encode() + b"\n"
