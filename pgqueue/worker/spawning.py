"""Processes of our own: workers of a supervisor, and the child processes in which a worker runs handlers.

asyncio's processes will not do, because they wait for the end of pipes, which a fork may hold for long. Signals are not sent by
``Popen``, because it would take the exit code away from the thread that waits for the code. Each process leads a process group of its
own, so that all that it has started ends with it.
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
    """A process that runs a module of ours, with the same Python and folder as this process. If it cannot be started, raises OSError."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        fds: Sequence[int],
        environment: Mapping[str, str] | None = None,
        *,
        deaf: bool = False,
    ) -> None:
        """The process inherits ``fds``, stdout and stderr; its stdin is empty. If ``deaf``, it gets no signal of STOPS until it unblocks them."""
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
                start_new_session=True,  # a Ctrl-C reaches only the parent, which passes it on
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
            code = None  # a handler has waited for all children of this process
        self._process.returncode = 0 if code is None else code
        with suppress(RuntimeError):  # the loop has ended before
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
        """Its exit code, or the negative number of the signal that killed it. None: a handler took the code."""
        return await asyncio.shield(self._ended)

    def send(self, number: int) -> None:
        if not self.has_ended:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills it and all of its group, even what it has left behind."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def how_it_ended(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None:
        return "its exit code is unknown"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"it exited with {code}"
