"""Prints the answers and errors of commands: as text for people, or as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import textwrap
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from pgqueue.errors import PgQueueError
from pgqueue.text.shown import visible

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from rich.console import Console


def wants_json() -> bool:
    return "--json" in sys.argv


def fail(error: PgQueueError) -> int:
    """Prints an error on stderr, as text with labelled parts or as one JSON object. Returns the error's exit code."""
    if wants_json():
        print(json.dumps({"error": error.as_dict()}), file=sys.stderr)
        return error.exit_code
    print(paragraph(f"{error.code}  ", error.what, sys.stderr), file=sys.stderr)
    for label, value in {**error.facts, "why": error.why, "do": error.do}.items():
        if value:
            print(paragraph(f"  {label:<9} ", value, sys.stderr), file=sys.stderr)
    return error.exit_code


def paragraph(head: str, value: object, stream: TextIO) -> str:
    """Returns ``head``, followed by ``value`` as text that is safe to show.

    If the text has further lines, they are indented, so that none of them looks like a line of pgqueue. On a terminal, lines are wrapped at
    the terminal's width, but no word is split.
    """
    lines = visible(str(value), lines=True).split("\n")
    if stream.isatty():
        room = max(width() - len(head), 20)
        lines = [part for line in lines for part in _wrapped(line, room)]
    return head + ("\n" + " " * len(head)).join(lines)


def _wrapped(line: str, room: int) -> list[str]:
    return textwrap.wrap(line, room, break_long_words=False, break_on_hyphens=False) or [""]


def width() -> int:
    """Returns the terminal's width in columns."""
    return shutil.get_terminal_size().columns


def console(*, stderr: bool = False) -> Console:
    """Makes a console of Rich. It uses colours only on a terminal, and never if NO_COLOR is set."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=not sys.stdout.isatty())


def emit(value: object) -> None:
    """Prints one JSON value on stdout. Dataclasses become objects, and times become RFC 3339 text in UTC."""
    print(json.dumps(value, default=_plain))


def emit_items(items: Iterable[object], cursor: int | None = None) -> None:
    emit({"items": list(items), "next": cursor})


def shown_json(value: object) -> str:
    """Returns a value as JSON for people: letters of all scripts are written without escapes."""
    return json.dumps(value, default=_plain, ensure_ascii=False)


def as_dict(item: DataclassInstance) -> dict[str, object]:
    return {
        f.name: getattr(item, f.name) for f in dataclasses.fields(item) if f.name not in ("lease", "store")
    }


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return as_dict(value)
    return str(value)


def say(label: str, text: object) -> None:
    """Prints on stderr a line about what a command has done."""
    print(paragraph(f"  {label:<10} ", text, sys.stderr), file=sys.stderr)


def tell(text: object, head: str = "") -> None:
    """Prints on stdout a part of a command's answer."""
    print(paragraph(head, text, sys.stdout))
