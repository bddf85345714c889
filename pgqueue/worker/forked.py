"""Makes sure that a process which a handler has forked does not act as a worker.

Without this module, the forked process would inherit three things from its parent:

- the handling of signals: ``terminate()`` of multiprocessing would have no effect on the forked process, or would stop its parent;
- the sockets: they would stay open after the end of its parent;
- the code that called the handler: if the forked process returned from the handler, it would go on as a second worker.
"""

from __future__ import annotations

import os
import signal
import socket
import threading

from pgqueue.runtime import forks
from pgqueue.telemetry import log_output
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.users import ForkCameBack

STOPS = (signal.SIGTERM, signal.SIGINT)

astray = False  # whether a handler forked this process; such a process must end when the handler returns


class Signals:
    """Gives a forked process the usual handling of signals.

    A signal that comes during the fork is held back until the usual handling is set, and then ends the process.
    """

    def __init__(self) -> None:
        self._owner = 0
        self._masks = threading.local()
        os.register_at_fork(
            before=self._before, after_in_parent=self._unmask, after_in_child=self._after_in_child
        )

    def begin(self) -> None:
        self._owner = os.getpid()

    def _before(self) -> None:
        if self._owner == os.getpid():
            self._masks.former = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)

    def _unmask(self) -> None:
        former = self._masks.__dict__.pop("former", None)
        if former is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)

    def _after_in_child(self) -> None:
        global astray  # noqa: PLW0603 - it belongs to the whole process, as the handling of signals does
        if "former" in self._masks.__dict__:
            astray = True
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._unmask()


class Ends:
    """Sockets that are closed in a forked process."""

    def __init__(self, *ends: socket.socket) -> None:
        self._ends = ends
        forks.tell(self)

    def forked(self) -> None:
        for end in self._ends:
            end.close()


_signals = Signals()


def begin() -> None:
    """Called when this process begins to be a worker, or a child process of a worker."""
    global astray  # noqa: PLW0603
    astray = False
    _signals.begin()
    log_output.guard_others()


def leave() -> None:
    """Ends the process. Must be called when a handler returns in a process that is ``astray``."""
    emit(ForkCameBack(os.getpid()))
    os._exit(0)
