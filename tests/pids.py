"""Functions for processes that a test knows only by their pid. Such a process can end by itself before the function is called."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def send(pid: int, number: signal.Signals) -> None:
    """Sends a signal to a process, if the process has not ended yet."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def is_gone(pid: int) -> bool:
    """Returns whether the process has ended, even if its parent has not collected the exit code yet."""
    return _stat(pid)[0] == "Z"


def parent(pid: int) -> int | None:
    return int(_stat(pid)[1]) or None


def descendants(pid: int) -> list[int]:
    """Returns the pids of all living processes that this process or its descendants have started."""
    children: dict[int | None, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            children.setdefault(parent(int(entry.name)), []).append(int(entry.name))
    found = list(children.get(pid, []))
    for child in found:
        found += children.get(child, [])
    return found


def _stat(pid: int) -> list[str]:
    """Returns the fields of /proc/PID/stat that follow the name: the state, the pid of the parent, and so on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["Z", "0"]
