"""Hides a password on the command line from the list of processes, which every user of the machine can read."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

from pgqueue.database.dsn import redact
from pgqueue.errors import InvalidSettingError
from pgqueue.text.shown import visible


def hide_passwords() -> None:
    """On Linux, overwrites each DSN with a password in the memory from which `ps` reads it. Before this call, `ps` shows the password."""
    for dsn in set(_given(sys.argv[1:])):
        if "pass" in dsn or "@" in dsn:
            _overwrite(dsn.encode(errors="surrogateescape"), redact(dsn).encode(errors="replace"))


def check_texts() -> None:
    """Raises an error if an argument is not valid text in the locale's encoding.

    Python has replaced the invalid bytes of such an argument by surrogates, and Postgres does not accept surrogates.
    """
    for argument in sys.argv[1:]:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise InvalidSettingError(
                f"{visible(argument)[:80]!r} is not valid text.",
                do="write it in the encoding of your locale, usually UTF-8",
            ) from None


def _given(arguments: list[str]) -> Iterator[str]:
    for place, argument in enumerate(arguments):
        if argument.startswith("--dsn="):
            yield argument.removeprefix("--dsn=")
        elif place and arguments[place - 1] == "--dsn":
            yield argument


def _overwrite(secret: bytes, shown: bytes) -> None:
    try:
        fields = (
            Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        )
        # The addresses between which the kernel has stored the arguments of this process.
        start, end = int(fields[45]), int(fields[46])
        held = ctypes.string_at(start, end - start) if end > start else b""
    except (OSError, ValueError, IndexError):  # not Linux
        return
    place = held.find(secret)
    while place >= 0:
        ctypes.memmove(start + place, shown[: len(secret)].ljust(len(secret)), len(secret))
        place = held.find(secret, place + len(secret))
