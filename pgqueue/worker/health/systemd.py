"""Tells systemd how the worker is, by the protocol of ``sd_notify(3)``: lines in a datagram to the socket in NOTIFY_SOCKET."""

from __future__ import annotations

import os
import socket

from pgqueue.runtime.clock import monotonic
from pgqueue.worker.health.health import Health

DOING_EVERY = 5.0  # seconds between two lines STATUS= while the process works


class Notifier:
    """Sends nothing if systemd has not started this process. Removes systemd's variables, so that programs of handlers do not see them."""

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")
        micros, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address[:1] in ("/", "@") else None
        if self._socket is not None:
            self._socket.setblocking(False)
        is_ours = pid in ("", str(os.getpid()))
        # systemd asks for two signs of life in each interval.
        self._watchdog = int(micros) / 2e6 if micros.isdecimal() and is_ours else 0.0
        self._next_watchdog = self._next_doing = 0.0
        self._said: set[str] = set()

    @property
    def is_wanted(self) -> bool:
        return self._socket is not None

    def tick(self, health: Health) -> None:
        """Called several times a second, on the health thread."""
        now = monotonic()
        subject = health.subject
        if subject.started():
            self._say_once("READY=1")
        if subject.draining():
            self._say_once("STOPPING=1")
        if now >= self._next_doing:
            self._next_doing = now + DOING_EVERY
            self._say(f"STATUS={subject.doing()}")
        if self._watchdog and now >= self._next_watchdog and health.live().is_good:
            self._next_watchdog = now + self._watchdog
            self._say("WATCHDOG=1")

    def _say_once(self, line: str) -> None:
        if line not in self._said and self._say(line):
            self._said.add(line)
            self._next_doing = 0.0

    def _say(self, line: str) -> bool:
        """Returns whether the line was sent. It is not if systemd has not yet read earlier lines, or is gone."""
        if self._socket is None:
            return False
        try:
            self._socket.sendto(line.encode(), self._address)
        except OSError:
            return False
        return True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
