"""The sockets between a supervisor and its worker processes.

The supervisor has one LISTEN connection for all its processes. It passes wake-ups on through a socket that all processes share.

::

    listener ─► WakeUpRelay ══ a byte for each wake-up ══► LineToSupervisor: a worker with a free slot reads it and looks for jobs
                  ▲                                   │  ║
                  └─────────────── more ──────────────┘  ║ LineToWorker, one for each process
                                                         ║ ─► stop; ids of workers with jobs to stop; the leader has resigned
                                                         ║ ◄─ ready, registered ID, alive [SILENT PARTS], replace, drained, metrics JSON

Each byte is read by exactly one process, so that one job wakes one process and not all of them. A process that hangs does not read, and
so it does not delay the other processes. If a process has no free slot, or if the jobs that it found fill its slots, it sends ``more``, so
that another process looks for jobs. Nothing waits until the other end of a socket is read. If the socket is full, a new wake-up is dropped,
because the socket has unread wake-ups already. If a wake-up gets lost, the next poll finds the job. If a worker finds the socket closed,
its supervisor has ended.

Each process also has a line of its own, for messages that concern only this process. Through this line, a worker reports that it has
drained. An exit code cannot report that, because any handler can end the process with any exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

from pgqueue.worker.forked import Ends

METRICS = "metrics"  # the first word of a message whose rest is JSON
ANY, VACANT, STOP = b"any", b"vacant", b"stop "
MOST_IDS = 100  # if more workers than this have jobs to stop, the message stands for all workers
AGAIN = 1.0  # a process without a free slot waits this many seconds between two checks whether its supervisor still lives


class WakeUpRelay:
    """The supervisor's end of the socket that all processes share."""

    def __init__(self) -> None:
        self._mine, self._theirs = socket.socketpair()
        self._mine.setblocking(False)
        self._theirs.setblocking(False)

    @property
    def fd(self) -> int:
        """Returns the file descriptor that the worker processes inherit."""
        return self._theirs.fileno()

    def open(self) -> None:
        """Begins to receive messages of the worker processes. It must be called on the running loop."""
        asyncio.get_running_loop().add_reader(self._mine, self._read)

    def wake_up(self) -> None:
        """Makes one process that has free slots look for jobs."""
        with contextlib.suppress(BlockingIOError):
            self._mine.send(b"\n")

    def _read(self) -> None:
        if self._mine.recv(65_536):  # one or several messages ``more``
            self.wake_up()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._mine)
        self._mine.close()
        self._theirs.close()


class LineToWorker:
    """A supervisor's end of the line to one process. ``said`` is called with the words of each message that the process sends."""

    def __init__(self, said: Callable[..., None]) -> None:
        self._said = said
        self._mine, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._mine.setblocking(False)
        self._theirs.setblocking(False)
        asyncio.get_running_loop().add_reader(self._mine, self.hear)

    @property
    def fd(self) -> int:
        """Returns the file descriptor that the worker process inherits."""
        return self._theirs.fileno()

    def tell(self, workers: set[int] | None) -> None:
        """Sends the ids of workers that have jobs to stop. None stands for all workers."""
        message = ANY if workers is None or len(workers) > MOST_IDS else b" ".join(b"%d" % n for n in workers)
        self._send(message)

    def tell_vacant(self) -> None:
        """Reports to the process that the leader has resigned."""
        self._send(VACANT)

    def tell_to_stop(self, number: int) -> None:
        """Asks the process to stop as if it had received the signal with this number. The supervisor itself has received that signal."""
        self._send(STOP + b"%d" % number)

    def hear(self) -> None:
        """Reads all messages that have arrived."""
        with contextlib.suppress(BlockingIOError):
            while True:
                verb, _, rest = self._mine.recv(262_144).decode().partition(" ")
                self._said(verb, *([rest] if verb == METRICS else rest.split()))

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(OSError):
            self._mine.send(message)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._mine)
        self._mine.close()
        self._theirs.close()


class LineToSupervisor:
    """A worker's end of both sockets. ``room`` returns how many jobs the worker can take now.

    ``wake_up``, ``cancelled`` and ``vacant`` are called as in ``Listener``. ``orphaned`` is called when the supervisor has ended. ``stop``
    is called with the signal that the supervisor received. If the worker itself receives a signal, too, this does not count as a second
    signal, because one signal can be sent to the whole process group.
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
        """Reports to the supervisor that this worker is ready, and receives wake-ups until the supervisor has ended."""
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
        """Waits for a wake-up, which only the quickest worker gets. Returns False if the supervisor has ended."""
        try:
            return bool(await asyncio.get_running_loop().sock_recv(self._socket, 4096))
        except ConnectionError:  # the supervisor died before it had read all messages of its workers
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
        """Called after jobs were claimed.

        If a wake-up led to the claim, and all slots are taken now, makes another worker look for jobs.
        """
        if self._woken and full:
            self._woken = False
            self._look_elsewhere()

    def made_room(self) -> None:
        self._has_room.set()

    def _look_elsewhere(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.send(b"more\n")

    def say(self, message: str) -> bool:
        """Sends a message to the supervisor: ``ready``, ``registered ID``, ``alive``, ``replace``, ``drained`` or ``metrics JSON``.

        ``replace`` asks the supervisor to stop this worker and to start another worker in its place. Returns whether the message was sent.
        """
        with contextlib.suppress(OSError):
            self._line.send(message.encode())
            return True
        return False
