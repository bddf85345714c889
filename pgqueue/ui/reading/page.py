"""A page as a value: blocks such as tables, numbers and charts. It says nothing about how a page looks.

Each way to show a page (HTML, text, JSON, the terminal) reads these values. So a page has the same content everywhere.
Values of cells are plain: numbers, texts, and datetimes with a time zone. The kind of a column says how people read its values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

# id: a number that only names a row. number: a number that is counted. duration: seconds. time: a datetime. share: a number from 0 to 1.
# size: bytes. json: a document. code: a text in which each character matters. count: a number, or a Count.
Kind = Literal[
    "text",
    "id",
    "state",
    "time",
    "duration",
    "number",
    "count",
    "share",
    "size",
    "code",
    "json",
    "flag",
    "list",
]
Level = Literal["info", "ok", "warn", "error"]
Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Count:
    """How many rows there are. ``is_exact``: otherwise the number is an estimate, which people see as ``≈ 12,000``."""

    number: int
    is_exact: bool = True

    def __str__(self) -> str:
        return f"{self.number:,}" if self.is_exact else f"≈ {self.number:,}"


@dataclass(frozen=True, slots=True)
class Query:
    """Where the values of a block come from: SQL for psql, and the command of ``pgq`` that answers the same."""

    sql: str
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """``name``: the key of the value in each row, which JSON uses, too. ``to``: the path that the value leads to, such as ``/jobs/{id}``."""

    name: str
    head: str
    kind: Kind = "text"
    to: str | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """Something that people can do: the word of the action (ui/acting/acts.py), and the fields that its form sends.

    ``label``: what its button says; None: what it says for this action everywhere.
    """

    word: str
    fields: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """``older``: the path of the next page of rows. ``selects``: the action words that ticked rows can get; empty: no row can be ticked."""

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    empty: str
    query: Query | None = None
    older: str | None = None
    newest: str | None = None
    note: str | None = None
    selects: Sequence[Action] = ()


@dataclass(frozen=True, slots=True)
class Fact:
    name: str
    head: str
    value: object
    kind: Kind = "text"
    to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    name: str
    title: str
    items: Sequence[Fact]
    query: Query | None = None


@dataclass(frozen=True, slots=True)
class Tile:
    """A number that people look at first. ``state``: the state of jobs that it counts, which gives the tile its mark."""

    name: str
    head: str
    value: object
    kind: Kind = "count"
    to: str | None = None
    state: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    name: str
    title: str
    items: Sequence[Tile]
    query: Query | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """The values of one line of a chart. ``state`` gives the line its colour."""

    name: str
    values: Sequence[float | None]
    state: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """``times``: seconds since 1970, one for each value of each series. ``unit``: what the values are, in words, such as ``per minute``."""

    name: str
    title: str
    unit: str
    times: Sequence[int]
    series: Sequence[Series]
    query: Query | None = None


@dataclass(frozen=True, slots=True)
class PlacedNode:
    """A node of a graph with its place. ``column`` and ``row`` count from 0. ``note``: a remark on the node."""

    id: str
    label: str
    state: str
    column: int
    row: float
    to: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """``edges``: pairs of ids, from a node to the one that waits for it."""

    name: str
    title: str
    nodes: Sequence[PlacedNode]
    edges: Sequence[tuple[str, str]]
    note: str | None = None
    query: Query | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence that stands out. ``do``: a command or a sentence that says what to do. ``to``: a path that helps."""

    level: Level
    text: str
    do: str | None = None
    to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A JSON value, or a text of many lines such as a traceback. ``text`` is shown as it is, if it is not None.

    ``whole``: the path of the whole document, for the case that people see only its beginning.
    """

    name: str
    title: str
    value: object = None
    text: str | None = None
    is_open: bool = True
    whole: str | None = None


@dataclass(frozen=True, slots=True)
class Tab:
    """One of several views of a page. ``state``: the state whose mark it gets."""

    head: str
    path: str
    is_current: bool
    state: str | None = None


Block = Table | Facts | Tiles | Chart | Graph | Notice | Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """``name``: the word of the page for programs. ``path``: its address, without the prefix under which the app is mounted.

    ``search``: the text of the search field; None: the page has no search field of its own. ``actions``: what can be done with the page's
    subject. ``state``: the state of the page's subject. ``is_unclear``: what was asked was not understood, so the page has no answer.
    """

    name: str
    title: str
    path: str
    blocks: Sequence[Block]
    above: tuple[str, str] | None = None  # the title and the path of the page above this one
    search: str | None = None
    actions: Sequence[Action] = ()
    state: str | None = None
    subtitle: str | None = None
    tabs: Sequence[Tab] = ()
    is_unclear: bool = False
