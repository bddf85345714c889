"""Writes a page as JSON for programs. The keys are the names of blocks and columns; ids are texts, because JavaScript has no large integers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

from pgqueue.ui.reading.asked import BRACES
from pgqueue.ui.reading.page import (
    Chart,
    Column,
    Count,
    Document,
    Facts,
    Graph,
    Kind,
    Notice,
    Page,
    Row,
    Table,
    Tiles,
)


def as_json(page: Page) -> str:
    """Returns the page as one JSON object."""
    found: dict[str, object] = {
        "page": page.name,
        "title": page.title,
        "path": page.path,
        "state": page.state,
        "notices": [_notice(block) for block in page.blocks if isinstance(block, Notice)],
    }
    for block in page.blocks:
        if not isinstance(block, Notice):
            found[block.name] = DOCUMENTS[type(block)](block)
    return json.dumps(found, default=str)  # in ASCII, so that no text controls a terminal


def plain(value: object, kind: Kind = "text") -> object:
    """Returns a value for JSON: times are RFC 3339 text in UTC, and an estimate is an object."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Count):
        return value.number if value.is_exact else {"estimate": value.number}
    if kind == "id" and isinstance(value, int):
        return str(value)
    return value


def row(columns: tuple[Column, ...] | list[Column], values: object) -> dict[str, object]:
    assert isinstance(values, dict)
    return {column.name: plain(values.get(column.name), column.kind) for column in columns}


def _notice(block: Notice) -> dict[str, object]:
    return {"level": block.level, "text": block.text, "do": block.do}


def _table(block: Table) -> object:
    return {
        "items": [{**_keys(block, values), **row(list(block.columns), values)} for values in block.rows],
        "next": block.older,
        "note": block.note,
    }


def _keys(block: Table, values: Row) -> dict[str, object]:
    """Returns the values that lead to other pages and have no column, such as the fingerprint of an error."""
    names = {name for column in block.columns for name in BRACES.findall(column.to or "")}
    return {name: plain(values.get(name)) for name in sorted(names)}


def _facts(block: Facts) -> object:
    return {fact.name: plain(fact.value, fact.kind) for fact in block.items}


def _tiles(block: Tiles) -> object:
    return {tile.name: plain(tile.value, tile.kind) for tile in block.items}


def _chart(block: Chart) -> object:
    return {
        "unit": block.unit,
        "times": list(block.times),
        "series": {line.name: list(line.values) for line in block.series},
    }


def _graph(block: Graph) -> object:
    return {
        "nodes": [{"id": node.id, "name": node.label, "state": node.state} for node in block.nodes],
        "edges": [list(edge) for edge in block.edges],
        "note": block.note,
    }


def _document(block: Document) -> object:
    return block.value if block.text is None else block.text


DOCUMENTS: dict[type, Callable[..., object]] = {
    Table: _table, Facts: _facts, Tiles: _tiles, Chart: _chart, Graph: _graph, Document: _document,
}  # fmt: skip
