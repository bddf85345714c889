"""Starts processes: the workers of a supervisor, and the child processes in which a worker runs handlers.

asyncio's subprocesses cannot be used. They wait until the process's pipes are closed, but a process that it has forked can keep a pipe open
for long. ``Popen.send_signal`` cannot be used, either. If the process has ended, that method collects the exit code, but the thread that
waits for the process needs that code. Each process leads a process group of its own. So one signal to the group also ends every process
that this process has started.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from pgqueue.runtime import origin
from pgqueue.worker.forked import STOPS


class Spawned:
    """A process that runs a module of pgqueue, with the same Python and folder as this process. If it cannot be started, raises OSError."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        fds: Sequence[int],
        environment: Mapping[str, str] | None = None,
        *,
        deaf: bool = False,
    ) -> None:
        """The process inherits ``fds``, stdout and stderr; its stdin is empty. If ``deaf``, it starts with the signals of STOPS blocked."""
        loop = asyncio.get_running_loop()
        dsn = origin.handed.pipe()
        if dsn is not None:
            fds = [*fds, dsn]
            environment = {**(os.environ if environment is None else environment), origin.PIPE: str(dsn)}
        self._ended: asyncio.Future[int | None] = loop.create_future()
        former = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS if deaf else ())
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own Python, which runs this process
                [origin.EXECUTABLE, "-m", module, *arguments],
                cwd=origin.FOLDER,
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=fds,
                start_new_session=True,  # so a Ctrl-C reaches only the parent, and the parent asks the process to stop
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)
            if dsn is not None:
                os.close(dsn)
        self.pid = self._process.pid
        threading.Thread(target=self._wait, args=(loop,), name="pgqueue waits", daemon=True).start()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            _, status = os.waitpid(self.pid, 0)
            code: int | None = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            code = None  # a handler called os.wait(), which collected the exit code
        self._process.returncode = 0 if code is None else code
        with suppress(RuntimeError):  # the loop is already closed
            loop.call_soon_threadsafe(self._end, code)

    def _end(self, code: int | None) -> None:
        if not self._ended.done():
            self._ended.set_result(code)

    @property
    def has_ended(self) -> bool:
        return self._process.returncode is not None

    def when_ended(self, tell: Callable[[], None]) -> None:
        self._ended.add_done_callback(lambda _: tell())

    async def wait(self) -> int | None:
        """Waits for the end of the process. Returns the exit code, or the negative number of the signal that killed the process.

        Returns None if a handler has collected the exit code.
        """
        return await asyncio.shield(self._ended)

    def send(self, number: int) -> None:
        if not self.has_ended:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills all processes of the group, even those that still run after the first process of the group has ended."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def how_it_ended(code: int | None) -> str:
    """Returns words that describe how a process ended."""
    if code is None:
        return "its exit code is unknown"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"it exited with {code}"
