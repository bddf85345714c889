"""Handlers in child processes, which can truly be killed: by a timeout, a cancel, or their own crash, alone.

A child runs one attempt at a time, decides its outcome (it has the exception, the parent has not) and sends it back as one
line of JSON. Children are kept for the next attempt and grow to as many as run at once.
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

from pgqueue.errors import InvalidSettingError, ProcessDiedError
from pgqueue.outcome import Outcome
from pgqueue.task import TaskSpec
from pgqueue.worker.attempt import Attempt, failed

LONGEST_LINE = 4 * 1024 * 1024
PATIENCE = 1.0  # seconds that a child gets to end by itself

log = logging.getLogger("pgqueue")


class Children:
    """What it runs is an ``Attempt``; its kin for chunks (chunks.py) says what to do with a ``Chunk`` instead."""

    def __init__(self, app_path: str | None, crash_limit: int, finish: Callable[[Any, Any], None]) -> None:
        self._app_path, self._crash_limit, self._finish = app_path, crash_limit, finish
        self._idle: list[asyncio.subprocess.Process] = []
        self._tasks: dict[Any, asyncio.Task[None]] = {}

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
            async with asyncio.timeout(attempt.timeout) as deadline:
                outcome = await self.hand_over(child, attempt)
            self._idle.append(child)
        except BaseException as error:  # noqa: BLE001 - the end of a child is the end of one attempt only
            if isinstance(error, TimeoutError):
                attempt.timed_out = deadline.expired()
            died = await _kill(child)
            crashed = not isinstance(error, TimeoutError | asyncio.CancelledError)
            if crashed:
                error = ProcessDiedError(f"The process that ran it died: {died}.")
            outcome = self.failed(spec, attempt, error, crashed=crashed, crash_limit=self._crash_limit)
        self._finish(attempt, outcome)

    async def hand_over(self, child: asyncio.subprocess.Process, attempt: Any) -> Any:
        """Has the child perform it; returns the outcome."""
        return (await self.ask(child, [attempt]))[0]

    failed: Callable[..., Any] = staticmethod(failed)

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
        """Has the child perform attempts of one task; it answers with a line for each."""
        assert child.stdin is not None
        assert child.stdout is not None
        request = {"worker_id": attempts[0].worker_id, "rows": [attempt.row() for attempt in attempts]}
        child.stdin.write(json.dumps(request).encode() + b"\n")
        await child.stdin.drain()
        outcomes: list[Outcome | None] = []
        for attempt in attempts:
            line = await child.stdout.readline()
            if not line:
                raise EOFError
            answer = json.loads(line)
            attempt.settled = answer["settled"]
            outcomes.append(Outcome(**answer["outcome"]) if answer["outcome"] else None)
        return outcomes

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
    return json.dumps(answer).encode() + b"\n"
