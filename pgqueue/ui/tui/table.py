"""Writes a table as lines. A column that does not fit is left out: the page of the row has all values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from pgqueue.ui.reading.asked import filled
from pgqueue.ui.reading.page import Column, Kind, Row, Table
from pgqueue.ui.reading.text import RIGHT, WIDEST, fitted, width_of
from pgqueue.ui.tui.line import Line, cell_text, title, wrapped

CUT = frozenset({"text", "code", "list", "json"})  # kinds of values that may be shown in part
LEAST = 6  # columns of the terminal that a value needs at least, even if it is cut


def table_lines(block: Table, width: int, *, titled: bool = True) -> Iterator[Line]:
    """Yields the lines of a table. ``titled``: its title stands over it."""
    if titled:
        yield title(block.title)
    if not block.rows:
        yield from wrapped(block.empty, width, "dim")
    else:
        yield from _rows(block, width)
    if block.note:
        yield from wrapped(block.note, width, "dim")
    if block.newest:
        yield Line(Text("← First page"), (block.name, "newest"), block.newest)
    if block.older:
        yield Line(Text("→ More"), (block.name, "older"), block.older)


def _rows(block: Table, width: int) -> Iterator[Line]:
    columns = [
        column
        for column in block.columns
        if any(row.get(column.name) not in (None, "", []) for row in block.rows)
    ] or list(block.columns[:1])
    cells = [[cell_text(row.get(column.name), column.kind) for column in columns] for row in block.rows]
    wanted = [
        min(max(width_of(text) for text in (column.head, *(row[at].plain for row in cells))), WIDEST)
        for at, column in enumerate(columns)
    ]
    gap = 2 if sum(wanted) + 2 * len(wanted) <= width else 1
    sizes = fit(wanted, [column.kind for column in columns], width, gap)
    heads = [fitted(column.head, size, right=column.kind in RIGHT) for column, size in zip(columns, sizes, strict=False)]  # fmt: skip
    yield Line(Text((" " * gap).join(heads), "underline"))
    for number, (row, texts) in enumerate(zip(block.rows, cells, strict=True)):
        parts = [
            Text(fitted(text.plain, size, right=column.kind in RIGHT), text.style)
            for text, size, column in zip(texts, sizes, columns, strict=False)
        ]
        link = _link(block.columns, row)
        named = row.get("id") or row.get(columns[0].name) or number
        at = (block.name, named) if link or block.selects else None
        yield Line(Text(" " * gap).join(parts), at, link, block, row.get("id"))


def _link(columns: Sequence[Column], row: Row) -> str | None:
    """Returns the first link of a row, which is the link of what the row is about."""
    return next((path for column in columns if (path := filled(column.to, row))), None)


def fit(wanted: Sequence[int], kinds: Sequence[Kind], width: int, gap: int) -> list[int]:
    """Returns the widths of as many columns as fit. The widest text is cut first; numbers, times and states are never cut."""
    least = [min(size, LEAST) if kind in CUT else size for size, kind in zip(wanted, kinds, strict=True)]
    while len(least) > 1 and sum(least) + gap * (len(least) - 1) > width:
        least.pop()
    sizes = list(wanted[: len(least)])
    while (over := sum(sizes) + gap * (len(sizes) - 1) - width) > 0:
        spare = [size - low for size, low in zip(sizes, least, strict=True)]
        if not any(spare):
            return [min(size, width) for size in sizes]
        widest = max((at for at, room in enumerate(spare) if room), key=lambda at: sizes[at])
        sizes[widest] -= min(over, 1)
    return sizes
