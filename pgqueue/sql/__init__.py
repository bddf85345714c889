"""Everything pgqueue does in the database: one statement a file, in a folder for each part.

The folders ``functions/`` and ``views/`` of the parts are the SQL API.
``fragments/`` of the parts hold what several files share, such as lists of columns and the conditions of partial indexes. If a line ends
with ``--+ NAME j``, the fragment NAME replaces these words; j is the name of its row (see ``whole``). ``python -m pgqueue.sql NAME``
prints a file as the server gets it.

``Statement`` is a statement as a value: building one does no I/O, so it can be tested, explained and run on any
connection (the idea of sans-I/O protocols, for single statements).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Generic, LiteralString, TypeVar

T_co = TypeVar("T_co", covariant=True)

Row = Sequence[Any]
JsonObject = dict[str, Any]  # decoded JSON; its reader knows the keys
COMMENT = re.compile(r"^\s*--.*\n?", re.MULTILINE)
# A line that is sent only if the name at its end is chosen.
OPTIONAL = re.compile(r"^(.*\S) +--\? (\w+)$\n?", re.MULTILINE)
# A line with a fragment: the text before it, the fragment's name, the name of its row, and the text after it.
FRAGMENT = re.compile(r"^( *)(.*)--\+ (\w+)(?: (\w+))?([,)]*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Statement(Generic[T_co]):
    """SQL text with named parameters, their values, and what its rows mean."""

    name: str
    text: LiteralString
    parameters: Mapping[str, object]
    decode: Callable[[Sequence[Row]], T_co]


PARTS = (
    "enqueuing",
    "claiming",
    "settling",
    "leases",
    "jobs",
    "queues",
    "limits",
    "schedules",
    "alerts",
    "upkeep",
    "server",
)


def _files(*folders: str) -> dict[str, str]:
    """The files of these folders as they are, name to text, in the order of their names."""
    found: dict[str, str] = {}
    for folder in folders:
        place = files(__package__) / folder
        for file in place.iterdir() if place.is_dir() else ():
            if file.name.endswith(".sql"):
                name = file.name.removesuffix(".sql")
                assert name not in found, f"two files are named {file.name}"
                found[name] = file.read_text(encoding="utf-8").strip()
    return dict(sorted(found.items()))


FRAGMENTS = _files(*(f"{part}/fragments" for part in PARTS))


def _put_in(line: re.Match[str]) -> str:
    indent, before, name, row, after = line.groups(default="")
    text = COMMENT.sub("", whole(FRAGMENTS[name]))
    text = re.sub(r"\bj\.", f"{row}." if row else "", text)
    return indent + before + text.replace("\n", f"\n{indent}") + after


def whole(text: str) -> str:
    """The text with its fragments in their places.

    A fragment calls its row ``j``. In the text, the name of the row follows the fragment's name. If no row name follows the
    fragment's name, the columns stand without one. So one list names the columns of an INSERT and of the SELECT that feeds it.
    """
    text = FRAGMENT.sub(_put_in, text)
    assert "--+" not in text, f"a fragment stands in the wrong form: {text}"
    return text


def _read(*folders: str) -> dict[str, str]:
    """The files of these folders with their fragments, name to text."""
    return {name: whole(text) for name, text in _files(*folders).items()}


def _texts() -> dict[str, LiteralString]:
    return {name: COMMENT.sub("", text).strip() for name, text in _read(*PARTS).items()}


# The import reads all files. A running process must not depend on the files later: another version may be installed
# over them, or a handler may have used up all file descriptors.
TEXTS: dict[str, LiteralString] = _texts()


def load(name: str) -> LiteralString:
    """The text of ``<name>.sql`` without its comments, which would be sent at every parse."""
    return TEXTS[name]


@cache
def load_chosen(name: str, chosen: frozenset[str]) -> LiteralString:
    """The text of ``<name>.sql`` with those optional lines whose names are chosen."""
    return OPTIONAL.sub(lambda line: f"{line[1]}\n" if line[2] in chosen else "", load(name))


@cache
def functions() -> dict[str, str]:
    """The SQL API: function name to the statement that creates or replaces it."""
    return _read(*(f"{part}/functions" for part in PARTS))


@cache
def views() -> dict[str, str]:
    """What people read: view name to the statement that creates or replaces it."""
    return _read(*(f"{part}/views" for part in PARTS))


@cache
def grants(kind: str) -> str:
    """The SQL that grants a role what it needs; it calls the role ROLE. Kinds: enqueuer, worker, operator, reader."""
    return _read("grants")[kind]


def names() -> list[str]:
    """The names of all statement files."""
    return sorted(TEXTS)
