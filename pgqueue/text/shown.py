"""Makes text safe to show on a terminal, in a log and in a mail.

Some invisible characters have an effect: for example, they move the cursor of a terminal. Each of them is replaced by an escape.
"""

from __future__ import annotations

import io
import logging
import traceback
import unicodedata
from typing import TextIO

# Invisible characters whose Unicode category is not in ACTING. Two texts that differ only by such characters look the same.
UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
ACTING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
NAMED = {"\n": r"\n", "\r": r"\r"}
PLAIN = (bool, int, float, type(None))


def visible(text: str, *, lines: bool = False) -> str:
    r"""Returns ``text``, in which an escape such as ``\x1b`` replaces every invisible character.

    Such a character can control a terminal or reverse the direction of writing. Tabs are kept. If ``lines`` is True, line ends are kept,
    too.
    """
    if text.isprintable() and (text.isascii() or UNSEEN.isdisjoint(text)):
        return text
    return "".join(_seen(character, lines) for character in text)


def _seen(character: str, lines: bool) -> str:
    if character == "\t" or (lines and character == "\n"):
        return character
    if unicodedata.category(character) in ACTING or character in UNSEEN:
        return NAMED.get(character) or character.encode("unicode_escape").decode()
    return character


class Block(str):
    """A text of several lines, in which all invisible characters are escaped already."""

    __slots__ = ()


def block(text: str, indent: str = "    ") -> Block:
    """Returns ``text`` with all its lines indented, so that none of them can look like a log line of pgqueue."""
    return Block("\n".join(indent + line for line in visible(text, lines=True).split("\n")))


def quoted(text: str) -> str:
    """Returns ``text`` as a literal of SQL. The literal has only visible characters, so a person can copy it from a terminal."""
    if text == visible(text) and "\\" not in text and "\t" not in text:
        return "'" + text.replace("'", "''") + "'"
    return "E'" + "".join(_written(character) for character in text) + "'"


def _written(character: str) -> str:
    if character in "'\\":
        return "\\" + character
    if character.isprintable() and character not in UNSEEN:
        return character
    number = ord(character)
    return (
        f"\\x{number:02x}"
        if number < 0x80
        else f"\\u{number:04x}"
        if number < 0x10000
        else f"\\U{number:08x}"
    )


def bear(stream: TextIO) -> None:
    """Makes ``stream`` write an escape for each character that its encoding lacks. Without this call, the stream would raise an error."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="backslashreplace")


class Cleaning(logging.Filter):
    """Makes each record of pgqueue's logger one line of visible text, for every handler and format of the user.

    Two parts keep their line ends, but all their lines are indented: the traceback of the record, and an argument that is a Block.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                argument if isinstance(argument, (*PLAIN, Block)) else _Cleaned(argument)
                for argument in record.args
            )
        if record.exc_info and record.exc_info[0] and not record.exc_text:
            try:
                said = "".join(traceback.format_exception(*record.exc_info))
            except BaseException as broken:  # noqa: BLE001 - a user's __str__ can raise any exception
                said = f"(the traceback cannot be shown: {type(broken).__name__})"
            record.exc_text = block(said.rstrip("\n"))
        return True


class _Cleaned:
    """An argument of a log line. Its text is escaped only when the line is written."""

    def __init__(self, argument: object) -> None:
        self._argument = argument

    def __str__(self) -> str:
        return visible(str(self._argument))

    def __repr__(self) -> str:
        return visible(repr(self._argument))
