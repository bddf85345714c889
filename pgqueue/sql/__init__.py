"""All SQL of pgqueue: one statement in each file, and a folder for each part of pgqueue.

The comment at the head of a file says what the statement does, which rows it locks, and which indexes it uses. "Zero rows: …" says what it
means if the statement returns no row. ``python -m pgqueue.sql NAME`` prints a file as the server gets it.

The folders ``functions/`` and ``views/`` of a part are its SQL API. Its folder ``fragments/`` has texts that several files share, such as
lists of columns and the conditions of partial indexes. If a line ends with ``--+ NAME j``, the text of the fragment NAME replaces these
words. ``j`` is the alias, in the statement with this line, of the table whose columns the fragment uses (see ``whole``).

A ``Statement`` is a value. No I/O is needed to make one. So a statement can be tested without a server, and can be run on any connection,
also with EXPLAIN. (Sans-I/O protocols follow the same idea.)
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
JsonObject = dict[str, Any]  # decoded JSON; the code that reads it knows its keys
COMMENT = re.compile(r"^\s*--.*\n?", re.MULTILINE)
# A line that is sent only if the name at its end is one of the chosen names (see ``load_chosen``).
OPTIONAL = re.compile(r"^(.*\S) +--\? (\w+)$\n?", re.MULTILINE)
# A line that uses a fragment. Its groups: the indent, the text before the fragment, the fragment's name, the alias of its table, and the
# text after it.
FRAGMENT = re.compile(r"^( *)(.*)--\+ (\w+)(?: (\w+))?([,)]*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Statement(Generic[T_co]):
    """SQL text with named parameters, the values of the parameters, and ``decode``, which reads the rows."""

    name: str
    text: LiteralString
    parameters: Mapping[str, object]
    decode: Callable[[Sequence[Row]], T_co]


PARTS = (
    "enqueuing",
    "claiming",
    "settling",
    "leases",
    "requests",
    "steps",
    "replay",
    "signals",
    "workflows",
    "batches",
    "jobs",
    "actions",
    "adopting",
    "errors",
    "queues",
    "limits",
    "schedules",
    "alerts",
    "stats",
    "upkeep",
    "server",
)


def _files(*folders: str) -> dict[str, str]:
    """Returns the texts of the files in these folders as they are, by name, in the order of the names."""
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
    """Returns the text with each fragment in its place.

    In a fragment, the table has the alias ``j``. The line that uses the fragment says which alias replaces ``j``. If the line gives no
    alias, the columns are written without an alias. So one fragment can list both the columns of an INSERT and the columns of its SELECT.
    """
    text = FRAGMENT.sub(_put_in, text)
    assert "--+" not in text, f"a line uses a fragment in the wrong form: {text}"
    return text


def _read(*folders: str) -> dict[str, str]:
    """Returns the texts of the files in these folders, by name, with the fragments in their places."""
    return {name: whole(text) for name, text in _files(*folders).items()}


def _texts() -> dict[str, LiteralString]:
    return {name: COMMENT.sub("", text).strip() for name, text in _read(*PARTS).items()}


# The import reads all files, because later a process cannot rely on them: another version can be installed over them, and a handler can
# use up all file descriptors.
TEXTS: dict[str, LiteralString] = _texts()


def load(name: str) -> LiteralString:
    """Returns the text of ``<name>.sql`` without its comments, because these would be sent each time the server parses the text."""
    return TEXTS[name]


@cache
def load_chosen(name: str, chosen: frozenset[str]) -> LiteralString:
    """Returns the text of ``<name>.sql`` without the optional lines whose names are not in ``chosen``."""
    return OPTIONAL.sub(lambda line: f"{line[1]}\n" if line[2] in chosen else "", load(name))


@cache
def functions() -> dict[str, str]:
    """Returns the functions of the SQL API: for each name, the statement that creates or replaces the function."""
    return _read(*(f"{part}/functions" for part in PARTS))


@cache
def views() -> dict[str, str]:
    """Returns the views, which people read: for each name, the statement that creates or replaces the view."""
    return _read(*(f"{part}/views" for part in PARTS))


@cache
def grants(kind: str) -> str:
    """Returns SQL that grants a role the rights of an enqueuer, worker, operator or reader (``kind``). ROLE stands for the role's name."""
    return _read("grants")[kind]


def names() -> list[str]:
    """Returns the names of all statement files."""
    return sorted(TEXTS)
