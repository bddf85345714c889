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
from pgqueue.progress import Report
from pgqueue.task import TaskSpec
from pgqueue.worker.attempt import Attempt, failed, missed

LONGEST_LINE = 4 * 1024 * 1024
PATIENCE = 1.0  # seconds that a child gets to end by itself

log = logging.getLogger("pgqueue")


class Children:
    def __init__(
        self, app_path: str | None, crash_limit: int, finish: Callable[[Attempt, Outcome | None], None]
    ) -> None:
        self._app_path, self._crash_limit, self._finish = app_path, crash_limit, finish
        self._idle: list[asyncio.subprocess.Process] = []
        self._tasks: dict[Attempt, asyncio.Task[None]] = {}

    def start(self, spec: TaskSpec, attempt: Attempt) -> None:
        """Runs the attempt in a child."""
        if self._app_path is None:
            raise InvalidSettingError(
                f"Task {spec.name} runs in a child process, which must be able to import the app.",
                do="start the worker with pgq work -A module:app",
            )
        self._tasks[attempt] = asyncio.create_task(self._perform(spec, attempt))
        self._tasks[attempt].add_done_callback(partial(self._end_unbegun, spec, attempt))

    def stop(self, attempt: Attempt) -> None:
        """Kills the child that runs it."""
        if attempt in self._tasks:
            self._tasks[attempt].cancel()

    def _end_unbegun(self, spec: TaskSpec, attempt: Attempt, task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step never takes one: its attempt ends here."""
        del self._tasks[attempt]
        if task.cancelled():
            self._finish(attempt, failed(spec, attempt, asyncio.CancelledError()))

    async def _perform(self, spec: TaskSpec, attempt: Attempt) -> None:
        child: asyncio.subprocess.Process | None = None
        outcome: Outcome | None
        try:
            child = self._idle.pop() if self._idle else await self._spawn()
            outcome = missed(spec, attempt)  # while the child was started
            if outcome is None:
                async with asyncio.timeout(attempt.limit()):
                    answer = await self._ask(child, attempt)
                attempt.settled = answer["settled"]
                outcome = Outcome(**answer["outcome"]) if answer["outcome"] else None
            self._idle.append(child)
        except BaseException as error:  # noqa: BLE001 - the end of a child is the end of one attempt only
            attempt.timed_out = isinstance(error, TimeoutError)
            died = await _kill(child)
            crashed = not isinstance(error, TimeoutError | asyncio.CancelledError)
            if crashed:
                error = ProcessDiedError(f"The process that ran it died: {died}.")
            outcome = failed(spec, attempt, error, crashed=crashed, crash_limit=self._crash_limit)
        self._finish(attempt, outcome)

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

    async def _ask(self, child: asyncio.subprocess.Process, attempt: Attempt) -> dict[str, Any]:
        """The child's answer; what it says before is how far it has come."""
        assert child.stdin is not None
        assert child.stdout is not None
        request = {"worker_id": attempt.worker_id, "row": attempt.row()}
        child.stdin.write(json.dumps(request).encode() + b"\n")
        await child.stdin.drain()
        while line := await child.stdout.readline():
            said: dict[str, Any] = json.loads(line)
            if said["report"] is not None:
                attempt.note(Report(*said["report"]))
            if "settled" in said:
                return said
        raise EOFError

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
    return json.dumps({**answer, "report": attempt.report}).encode() + b"\n"


def encode_report(report: Report) -> bytes:
    """What a child says in between."""
    return json.dumps({"report": report}).encode() + b"\n"
