"""What a process that a handler has forked is not: a worker, or a child process of one.

It would inherit their handling of signals, so that ``terminate()`` of multiprocessing had no effect on it, or one on its parent;
their sockets, which their ends would outlive; and the way back into their loops, where it would act as a second worker.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading

from pgqueue import forks

STOPS = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger("pgqueue")

astray = False  # this process was forked by a handler, and must not come back from it


class Signals:
    """A forked process ends by a signal as any other does, also by one that comes before it has forgotten its parent's ways."""

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
        global astray  # noqa: PLW0603 - of the process, as signals are
        if "former" in self._masks.__dict__:
            astray = True
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._unmask()


class Ends:
    """Sockets that a forked process has not."""

    def __init__(self, *ends: socket.socket) -> None:
        self._ends = ends
        forks.tell(self)

    def forked(self) -> None:
        for end in self._ends:
            end.close()


_signals = Signals()


def begin() -> None:
    """This process is a worker, or a child of one, from now on."""
    global astray  # noqa: PLW0603
    astray = False
    _signals.begin()


def leave() -> None:
    """The end of a process that is ``astray``, where its handler ends."""
    log.warning("a process (pid %d) that a handler forked came back from it, and ends here", os.getpid())
    os._exit(0)
