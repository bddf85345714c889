"""Remembers how this process was started. It looks before the app is imported, because the app may change all of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

EXECUTABLE = sys.executable
ARGUMENTS = tuple(sys.argv[1:])
FOLDER: str | None = (
    None  # None if the folder was removed: then a process that we start gets the folder of this process
)

PIPE = "PGQUEUE_DSN_PIPE"  # the environment variable that holds the pipe's file descriptor


class Handed:
    """``dsn``: the database that the command line named: that of this process, or of the process that started this process.

    A pipe hands the DSN on. So processes that handlers start find the DSN neither in their environment nor among their files.
    """

    def __init__(self) -> None:
        self.dsn: str | None = None
        number = os.environ.pop(PIPE, None)
        with suppress(OSError, ValueError):
            if number is not None:
                with open(int(number), encoding="utf-8") as pipe:  # noqa: PTH123 - it has a number, no path
                    self.dsn = pipe.read() or None

    def pipe(self) -> int | None:
        """The end of a pipe that holds the DSN, which a process that we start inherits. None if there is no DSN to hand on."""
        if self.dsn is None:
            return None
        read, write = os.pipe()
        with open(write, "w", encoding="utf-8") as pipe:  # noqa: PTH123
            pipe.write(self.dsn)
        return read


handed = Handed()


def without_dsn(arguments: Sequence[str]) -> list[str]:
    """The arguments without the DSN, because every user may read the command line of a process; a pipe hands the DSN on."""
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
    FOLDER = os.getcwd()  # noqa: PTH109 - a text, for Popen
