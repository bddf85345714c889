"""The parent's side of a child process that runs handlers.

Parent and child exchange messages over a socket of their own. stdin and stdout cannot be used, because programs that a handler starts
inherit them. When the child's process has ended, the child counts as ended, even if a process that it forked still has the socket open.
Whenever a child is killed, all processes that it has started are killed, too.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence

from pgqueue.model.steps import Checkpoint
from pgqueue.runtime.services import Services
from pgqueue.sql import JsonObject
from pgqueue.telemetry import log_output
from pgqueue.worker.attempt import Attempt, required
from pgqueue.worker.ending import Conclusion
from pgqueue.worker.forked import Ends
from pgqueue.worker.running import child_messages
from pgqueue.worker.spawning import Spawned, how_it_ended

LONGEST_LINE = 4 * 1024 * 1024  # bytes
PATIENCE = 1.0  # a child is killed if it has not ended by itself after this many seconds


class NotStartedError(Exception):
    """No child could be started. The attempt is not the cause, so this does not count as a failure of the attempt."""


class ChildProcess:
    """A child process and the socket to it. Raises OSError if the process cannot be started."""

    def __init__(self, app_path: str, environment: Mapping[str, str], *, keep_logs: bool) -> None:
        self._mine, theirs = socket.socketpair()
        try:
            fd = theirs.fileno()
            self._process = Spawned(
                "pgqueue.worker.running.child",
                [
                    app_path,
                    str(fd),
                    str(log_output.chosen()),
                    log_output.chosen_format(),
                    str(int(keep_logs)),
                ],
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
        """Waits until the child has imported the app. The time limit of an attempt begins only after that."""
        opened = await asyncio.open_connection(sock=self._mine, limit=LONGEST_LINE)
        self._answers, self._requests = opened
        self._process.when_ended(self._hang_up)
        said = await self._answers.readline()
        if said != child_messages.READY:
            raise NotStartedError(said.decode().strip() or await self.end())

    def _hang_up(self) -> None:
        """Closes the socket in the next step of the loop. Until then, the last messages of the child can still be read."""
        if self._requests is not None:
            asyncio.get_running_loop().call_soon(_close_at_once, self._requests)

    @property
    def has_ended(self) -> bool:
        return self._process.has_ended

    def tell_ending(self, attempt: Attempt) -> None:
        """Reports to the child that an attempt of a chunk has ended. The call goes on for the other attempts."""
        assert self._requests is not None
        self._requests.write(child_messages.ending(attempt))

    async def perform(self, attempts: Sequence[Attempt]) -> list[Conclusion]:
        """Makes the child perform attempts of one task, in one call, and returns their conclusions. Notes their progress during the call.

        Raises EOFError if the child dies.
        """
        assert self._requests is not None
        self._requests.write(child_messages.request(attempts))
        await self._requests.drain()
        asked = {attempt.id: attempt for attempt in attempts}
        concluded: dict[int, Conclusion] = {}
        async with Services() as services:
            while len(concluded) < len(asked):
                said = await self._answer()
                attempt = asked[said["id"]]
                if "question" in said:
                    services.begin(self._reply(attempt, said))
                elif (conclusion := child_messages.noted(said, attempt)) is not None:
                    concluded[attempt.id] = conclusion
        return [concluded[attempt.id] for attempt in attempts]

    async def _reply(self, attempt: Attempt, said: JsonObject) -> None:
        """Answers a question of a step. Meanwhile the child's other messages are read."""
        assert self._requests is not None
        found: list[Checkpoint] | Exception
        try:
            found = await required(attempt.keeper).aask(attempt, child_messages.asked(said))
        except Exception as error:  # noqa: BLE001 - the child raises it in the handler
            found = error
        self._requests.write(child_messages.answer(said["number"], found))

    async def _answer(self) -> JsonObject:
        line = await self._answers.readline()
        if not line:
            raise EOFError
        return child_messages.decoded(line)

    async def end(self, patience: float = PATIENCE) -> str:
        """Waits up to ``patience`` seconds until the child ends. Then kills the child and all processes that it has started.

        Returns words that describe how the child ended.
        """
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


def _close_at_once(requests: asyncio.StreamWriter) -> None:
    """Closes the transport. The argument keeps the writer alive until then, because a writer that is deleted earlier logs a warning."""
    requests.transport.abort()
