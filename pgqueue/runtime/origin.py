"""Remembers how this process was started: its program, arguments and folder.

Program, arguments and folder are read before the app is imported, because the import can change them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

EXECUTABLE = sys.executable
ARGUMENTS = tuple(sys.argv[1:])
# None if the folder had been removed. In that case, a process that this process starts begins in the folder that is current at that time.
FOLDER: str | None = None

PIPE = "PGQUEUE_DSN_PIPE"  # the environment variable that holds the pipe's file descriptor


class Handed:
    """``dsn``: the DSN from the command line of this process, or of the process that started this process.

    The starting process passes the DSN through a pipe, not through the environment. So other processes, which handlers start, do not get it.
    """

    def __init__(self) -> None:
        self.dsn: str | None = None
        number = os.environ.pop(PIPE, None)
        with suppress(OSError, ValueError):
            if number is not None:
                with open(int(number), encoding="utf-8") as pipe:  # noqa: PTH123 - a file descriptor has no path
                    self.dsn = pipe.read() or None

    def pipe(self) -> int | None:
        """Returns the end of a pipe from which a process that inherits it can read the DSN. None: there is no DSN to pass on."""
        if self.dsn is None:
            return None
        read, write = os.pipe()
        with open(write, "w", encoding="utf-8") as pipe:  # noqa: PTH123
            pipe.write(self.dsn)
        return read


handed = Handed()


def without_dsn(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments without the DSN, because every user of the host can read the command line of a process."""
    kept: list[str] = []
    for place, argument in enumerate(arguments):
        if (
            argument != "--dsn"
            and not argument.startswith("--dsn=")
            and arguments[max(place - 1, 0)] != "--dsn"
        ):
            kept.append(argument)
    return kept


with suppress(OSError):
    FOLDER = os.getcwd()  # noqa: PTH109 - Popen gets it as a text
