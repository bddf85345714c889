"""Prints tables. On a terminal, a table fits into the terminal's width. Elsewhere the cells of a line are separated by tabs.

On a terminal, ids, states, numbers and times are never cut. Long names continue on the next line, and long texts are cut. If a table
still does not fit, and its last column is a text, this text is printed below each row. If even that does not fit, each row becomes a block
of lines.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from pgqueue.text.shown import visible
from pgqueue.ui.cli.output import console, width

STYLES = {
    "completed": "green", "running": "cyan", "retrying": "yellow", "dead": "red", "cancelled": "dim", "expired": "red",
}  # fmt: skip
GAP = 2
NAME, TEXT = 12, 24  # a column of names is at least 12 characters wide, a column of texts at least 24
LINES = 3  # a long text is cut after this many lines


@dataclass(frozen=True, slots=True)
class Column:
    """``least``: the least width, in characters; None if every cell of the column must stay on one line.

    ``cut``: whether long cells are cut. Otherwise they continue on the next line.
    """

    head: str
    least: int | None = None
    cut: bool = False


def name(head: str) -> Column:
    """Makes a column of names or lists of names. If they are too long, they continue on the next line."""
    return Column(head, NAME)


def text(head: str) -> Column:
    """Makes a column of errors or arguments. If they are too long, they are cut."""
    return Column(head, TEXT, cut=True)


def table(columns: Sequence[str | Column], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Prints the rows. If there is no row, prints ``empty`` on stderr. On a terminal, a column without any value is left out."""
    made = [Column(column) if isinstance(column, str) else column for column in columns]
    cells = [[cell(value) for value in row] for row in rows]
    if not cells:
        print(empty, file=sys.stderr)
    elif not sys.stdout.isatty():
        print("\t".join(column.head for column in made))
        for row in cells:
            print("\t".join(row))
    else:
        used = [number for number in range(len(made)) if any(row[number] for row in cells)]
        _show([made[number] for number in used], [[row[number] for number in used] for row in cells])


def cell(value: object) -> str:
    """Returns a value as text on one line."""
    return "" if value is None else visible(str(value)).replace("\t", " ")


def _show(columns: list[Column], rows: list[list[str]]) -> None:
    below = None
    widths = _widths(columns, rows, width())
    if widths is None and columns[-1].cut:
        below = columns[-1]
        columns = columns[:-1]
        widths = _widths(columns, rows, width())
    for line in _blocks(columns, rows, below) if widths is None else _lines(columns, rows, widths, below):
        console().print(line, soft_wrap=True)


def _widths(columns: list[Column], rows: list[list[str]], room: int) -> list[int] | None:
    """Returns the width of each column; None if there is no room for all columns.

    A column gets the width of its longest cell. If there is too little room, the columns that have a ``least`` width share the rest of the
    room equally.
    """
    from rich.cells import cell_len

    needs = [
        max(cell_len(column.head), *(cell_len(row[number]) for row in rows))
        for number, column in enumerate(columns)
    ]
    left = room - GAP * (len(columns) - 1)
    found = list(needs)
    for number, column in enumerate(columns):
        if column.least is None:
            left -= needs[number]
    flexible = [number for number, column in enumerate(columns) if column.least is not None]
    for done, number in enumerate(sorted(flexible, key=lambda number: needs[number])):
        found[number] = min(needs[number], left // (len(flexible) - done))
        if found[number] < min(needs[number], columns[number].least or 0):
            return None
        left -= found[number]
    return found if left >= 0 else None


def _lines(
    columns: list[Column], rows: list[list[str]], widths: list[int], below: Column | None
) -> Iterable[object]:
    from rich.text import Text

    heads = [column.head for column in columns]
    yield Text((" " * GAP).join(_padded(heads, widths)).rstrip(), style="bold")
    for row in rows:
        parts = [
            fold(value, size, LINES if column.cut else None)
            for column, value, size in zip(columns, row, widths, strict=False)
        ]
        for line in zip_longest(*parts, fillvalue=""):
            shown = Text()
            for padded, part in zip(_padded(line, widths), line, strict=True):
                shown.append(padded, style=STYLES.get(part, "")).append(" " * GAP)
            shown.rstrip()
            yield shown
        if below and row[-1]:
            for part in fold(row[-1], width() - 2 * GAP, LINES):
                yield Text(" " * 2 * GAP + part, style="dim")


def _blocks(columns: list[Column], rows: list[list[str]], below: Column | None) -> Iterable[object]:
    """Yields the lines of all rows. Each row is a block with one line for each column, for a terminal that is too narrow for a table."""
    from rich.text import Text

    heads = [column.head for column in columns] + ([below.head] if below else [])
    margin = max(map(len, heads)) + GAP
    for number, row in enumerate(rows):
        if number:
            yield Text()
        for head, value in zip(heads, row, strict=True):
            for place, part in enumerate(fold(value, max(width() - margin, NAME), None) if value else ()):
                yield (
                    Text("" if place else head, style="bold")
                    .append(" " * (margin - (0 if place else len(head))))
                    .append(part, style=STYLES.get(value, ""))
                )


def _padded(parts: Sequence[str], widths: Sequence[int]) -> list[str]:
    from rich.cells import cell_len

    return [part + " " * (size - cell_len(part)) for part, size in zip(parts, widths, strict=True)]


def fold(value: str, size: int, lines: int | None) -> list[str]:
    """Splits the value into lines of at most ``size`` characters. If there are more than ``lines`` lines, cuts off the rest."""
    from rich.cells import cell_len, chop_cells

    found: list[str] = []
    line = ""
    for word in _words(value if lines is None else value[: size * (lines + 1)]):
        if cell_len(line + word.rstrip()) <= size:
            line += word
            continue
        if line:
            found.append(line.rstrip())
        *whole, line = chop_cells(word, size) if cell_len(word.rstrip()) > size else [word]
        found += whole
    found.append(line.rstrip())
    if lines is None or len(found) <= lines:
        return found
    *kept, last = found[:lines]
    while cell_len(last) >= size:
        last = last[:-1]
    return [*kept, last + "…"]


def _words(value: str) -> Iterable[str]:
    """Splits a value after each space, comma, dot, slash and colon. A line can be broken between two of these pieces."""
    word = ""
    for letter in value:
        word += letter
        if letter in " ,./:":
            yield word
            word = ""
    if word:
        yield word
