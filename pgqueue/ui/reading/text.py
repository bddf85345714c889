"""Writes a page as text for a terminal, such as that of a person who calls curl."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence

from pgqueue.text.shown import visible
from pgqueue.ui.reading.page import Chart, Document, Facts, Graph, Notice, Page, Table, Tiles
from pgqueue.ui.reading.written import beginning, cell

WIDEST = 48  # characters of a column
RIGHT = frozenset({"number", "count", "duration", "share", "size", "id"})
GAP = "  "


def as_text(page: Page) -> str:
    """Returns the page as lines of text."""
    lines = [
        " ".join(
            filter(
                None, (page.title, page.subtitle and f"({page.subtitle})", page.state and f"[{page.state}]")
            )
        ),
        "",
    ]
    for block in page.blocks:
        lines += [*TEXTS[type(block)](block), ""]
    return visible("\n".join(lines).rstrip("\n"), lines=True) + "\n"


def width_of(text: str) -> int:
    """Returns how many columns of a terminal the text takes."""
    return sum(
        2 if unicodedata.east_asian_width(letter) in "WF" else 0 if unicodedata.combining(letter) else 1
        for letter in text
    )


def fitted(text: str, size: int, *, right: bool = False) -> str:
    """Returns the text in exactly this many columns of a terminal: cut with ``…``, or with spaces."""
    while width_of(text) > size:
        text = text[:-2] + "…"
    space = " " * (size - width_of(text))
    return space + text if right else text + space


def _notice(block: Notice) -> Iterator[str]:
    yield f"! {block.text}"
    if block.do:
        yield f"  do: {block.do}"


def _table(block: Table) -> Iterator[str]:
    yield block.title.upper()
    if not block.rows:
        yield block.empty
        return
    columns = [
        column for column in block.columns if any(row.get(column.name) is not None for row in block.rows)
    ]
    cells = [[cell(row.get(column.name), column.kind) for column in columns] for row in block.rows]
    sizes = [
        min(max(width_of(text) for text in (column.head, *(row[at] for row in cells))), WIDEST)
        for at, column in enumerate(columns)
    ]
    sides = [column.kind in RIGHT for column in columns]
    yield _line([column.head for column in columns], sizes, sides)
    for row in cells:
        yield _line(row, sizes, sides)
    if block.note:
        yield block.note
    if block.older:
        yield f"more: {block.older}"


def _line(texts: Sequence[str], sizes: Sequence[int], sides: Sequence[bool]) -> str:
    return GAP.join(
        fitted(text, size, right=right) for text, size, right in zip(texts, sizes, sides, strict=True)
    ).rstrip()


def _facts(block: Facts) -> Iterator[str]:
    yield block.title.upper()
    size = max((width_of(fact.head) for fact in block.items), default=0)
    for fact in block.items:
        if fact.value is not None:
            yield fitted(fact.head, size) + GAP + cell(fact.value, fact.kind)


def _tiles(block: Tiles) -> Iterator[str]:
    yield block.title.upper()
    size = max((width_of(tile.head) for tile in block.items), default=0)
    values = [cell(tile.value, tile.kind) for tile in block.items]
    room = max(map(width_of, values), default=0)
    for tile, value in zip(block.items, values, strict=True):
        yield (
            fitted(tile.head, size) + GAP + fitted(value, room, right=True) + GAP + (tile.hint or "")
        ).rstrip()


def _chart(block: Chart) -> Iterator[str]:
    yield f"{block.title.upper()} ({block.unit})"
    for line in block.series:
        known = [value for value in line.values if value is not None]
        if known:
            yield f"{line.name}: now {known[-1]:,.4g}, at most {max(known):,.4g}, at least {min(known):,.4g}"


def _graph(block: Graph) -> Iterator[str]:
    yield block.title.upper()
    names = {node.id: node.label for node in block.nodes}
    for node in block.nodes:
        befores = [names[before] for before, after in block.edges if after == node.id]
        yield f"{node.label} [{node.state}]" + (f" after {', '.join(befores)}" if befores else "")


def _document(block: Document) -> Iterator[str]:
    yield block.title.upper()
    text, has_more = beginning(block)
    yield text
    if has_more:
        yield f"… the whole document: {block.whole}" if block.whole else "…"


TEXTS: dict[type, Callable[..., Iterator[str]]] = {
    Notice: _notice, Table: _table, Facts: _facts, Tiles: _tiles, Chart: _chart, Graph: _graph, Document: _document,
}  # fmt: skip
