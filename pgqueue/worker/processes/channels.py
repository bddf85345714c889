"""A supervisor has one LISTEN connection for all its processes, and passes wake-ups on through a socket that the processes share.

::

    listener ─► WakeUpRelay ══ a byte for each wake-up ══► LineToSupervisor: a worker with a free slot reads it and looks for jobs
                  ▲                                   │  ║
                  └─────────────── more ──────────────┘  ║ LineToWorker, one for each process
                                                         ║ ─► stop; whose jobs were asked to stop; that no worker leads
                                                         ║ ◄─ ready, registered ID, alive, replace, drained

Exactly one process reads a byte, so that one job wakes one of them and not all. A process that hangs does not read, and holds up no
other. If a process has no free slot, or if the jobs that it found fill it, it says ``more``, and another one looks. Neither end
ever waits for the other: a full socket means that there is enough to read. If a wake-up gets lost, the next poll finds the job.
When the socket is closed, the supervisor has ended. Each process also has a line of its own, for messages to and from it alone. So a
supervisor learns by a word that a worker has drained, and not by an exit code, which any handler can choose.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

from pgqueue.worker.forked import Ends

ANY, VACANT, STOP = b"any", b"vacant", b"stop "
MOST_IDS = 100  # ids in one message; if there are more, every worker looks
AGAIN = 1.0  # seconds after which a process without a free slot looks whether its supervisor still lives


class WakeUpRelay:
    """The supervisor's end of the socket that all processes share."""

    def __init__(self) -> None:
        self._mine, self._theirs = socket.socketpair()
        self._mine.setblocking(False)
        self._theirs.setblocking(False)

    @property
    def fd(self) -> int:
        """What the children inherit."""
        return self._theirs.fileno()

    def open(self) -> None:
        """Begins to hear the children; call it on the running loop."""
        asyncio.get_running_loop().add_reader(self._mine, self._read)

    def wake_up(self) -> None:
        """Has one process that has free slots look for jobs."""
        with contextlib.suppress(BlockingIOError):
            self._mine.send(b"\n")

    def _read(self) -> None:
        if self._mine.recv(65_536):  # ``more``, once or many times
            self.wake_up()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._mine)
        self._mine.close()
        self._theirs.close()


class LineToWorker:
    """A supervisor's end of the line to one process; ``said`` is called with the words of each message that comes from it."""

    def __init__(self, said: Callable[..., None]) -> None:
        self._said = said
        self._mine, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._mine.setblocking(False)
        self._theirs.setblocking(False)
        asyncio.get_running_loop().add_reader(self._mine, self.hear)

    @property
    def fd(self) -> int:
        """What the child inherits."""
        return self._theirs.fileno()

    def tell(self, workers: set[int] | None) -> None:
        """If the process is one of these workers (None: any worker), has it look for jobs to stop."""
        message = ANY if workers is None or len(workers) > MOST_IDS else b" ".join(b"%d" % n for n in workers)
        self._send(message)

    def tell_vacant(self) -> None:
        """The leader has resigned."""
        self._send(VACANT)

    def tell_to_stop(self, number: int) -> None:
        """Stops the process as this signal would. The supervisor has got this signal."""
        self._send(STOP + b"%d" % number)

    def hear(self) -> None:
        """Takes all that has been said."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._said(*self._mine.recv(1024).decode().split())

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(OSError):
            self._mine.send(message)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._mine)
        self._mine.close()
        self._theirs.close()


class LineToSupervisor:
    """A worker's end. ``room`` tells how many jobs it could take now; ``cancelled`` and ``vacant`` are as in ``Listener``.

    ``stop`` is called with the signal that the supervisor got. A signal to this process does not count, because it may be the
    same signal, sent to the whole group.
    """

    def __init__(
        self,
        fds: tuple[int, int],
        *,
        room: Callable[[], int],
        wake_up: Callable[[], None],
        cancelled: Callable[[set[int] | None], None],
        vacant: Callable[[], None],
        stop: Callable[[int], None],
        orphaned: Callable[[], None],
    ) -> None:
        self._socket, self._line = (socket.socket(fileno=fd) for fd in fds)
        for end in (self._socket, self._line):
            end.set_inheritable(False)
            end.setblocking(False)
        self._ends = Ends(self._socket, self._line)
        self._room, self._wake_up, self._cancelled, self._orphaned = room, wake_up, cancelled, orphaned
        self._vacant, self._stop = vacant, stop
        self._parent = os.getppid()
        self._has_room = asyncio.Event()
        self._woken = False

    async def run(self) -> None:
        """Says that this worker is at work, and takes wake-ups until the supervisor is gone."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._line, self._hear)
        self.say("ready")
        while await self._woken_up():
            if self._room():
                self._woken = True
                self._wake_up()
            else:
                self._look_elsewhere()
                await self._until_room()
        self._orphaned()

    async def _woken_up(self) -> bool:
        """Waits for a byte. The quickest worker gets it, and the others go on waiting. Returns False if the supervisor is gone."""
        try:
            return bool(await asyncio.get_running_loop().sock_recv(self._socket, 4096))
        except ConnectionError:  # it died with messages of its workers unread
            return False

    def _hear(self) -> None:
        try:
            message = self._line.recv(65_536)
        except ConnectionError:
            asyncio.get_running_loop().remove_reader(self._line)
            return
        if message == VACANT:
            self._vacant()
        elif message.startswith(STOP):
            self._stop(int(message.removeprefix(STOP)))
        else:
            self._cancelled(None if message == ANY else {int(worker) for worker in message.split()})

    async def _until_room(self) -> None:
        while not self._room() and os.getppid() == self._parent:
            self._has_room.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN):
                    await self._has_room.wait()

    def taken(self, *, full: bool) -> None:
        """Jobs were claimed. If a wake-up led to that, and the jobs fill this worker, has another one look for more."""
        if self._woken and full:
            self._woken = False
            self._look_elsewhere()

    def made_room(self) -> None:
        self._has_room.set()

    def _look_elsewhere(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.send(b"more\n")

    def say(self, message: str) -> None:
        """Tells the supervisor ``ready``, ``registered ID``, ``alive``, ``replace`` (stop me when my turn comes, and start another) or ``drained``."""
        with contextlib.suppress(OSError):
            self._line.send(message.encode())
