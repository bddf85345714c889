"""Writes a page as lines for a terminal of a given width. Does no I/O, and knows nothing of textual. No line is longer than the terminal is wide."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence

from rich.text import Text

from pgqueue.text.shown import visible
from pgqueue.ui.reading.page import Chart, Document, Facts, Graph, Notice, Page, Table, Tiles
from pgqueue.ui.reading.text import fitted, width_of
from pgqueue.ui.reading.written import cell, document, duration, mark
from pgqueue.ui.tui.line import MARKS, Line, cell_text, chopped, marked, title, wrapped
from pgqueue.ui.tui.table import table_lines

BARS = "▁▂▃▄▅▆▇█"
MOST_LINES = 2000  # lines of one document


def lines_of(page: Page, width: int, folded: Collection[str] = ()) -> list[Line]:
    """Returns the lines of a page. ``folded``: names of documents whose Enter turned them from open to closed, or the other way round."""
    found: list[Line] = []
    for block in page.blocks:
        if isinstance(block, Document):
            found += _document(block, width, (block.name in folded) != block.is_open)
        elif isinstance(block, Table):
            found += table_lines(block, width, titled=block.title != page.title)
        else:
            found += WRITERS[type(block)](block, width)
        found.append(Line(Text()))
    for line in found:
        line.text.truncate(width, overflow="ellipsis")
    return found[:-1]


def head_of(page: Page) -> Text:
    """Returns the first line of the screen."""
    parts = [Text(visible(page.title), "bold")]
    parts += [marked(page.state)] if page.state else []
    parts += [Text(visible(page.subtitle), "dim")] if page.subtitle else []
    return Text("  ").join(parts)


def tabs_of(page: Page) -> Text:
    """Returns the line with the views of the page."""
    return Text(" ").join(
        Text(f"[{tab.head}]", "bold") if tab.is_current else Text(f" {tab.head} ", "dim") for tab in page.tabs
    )


def sparkline(values: Sequence[float | None], room: int) -> str:
    """Returns a chart of one line with at most ``room`` characters. Each stands for the largest of its values; a space for none."""
    size = min(room, len(values))
    parts = [
        [value for value in values[at * len(values) // size : (at + 1) * len(values) // size] if value is not None]
        for at in range(size)
    ]  # fmt: skip
    top = max((max(part) for part in parts if part), default=0) or 1
    return "".join(BARS[min(max(math.ceil(max(part) / top * 7), 0), 7)] if part else " " for part in parts)


def _notice(block: Notice, width: int) -> Iterator[Line]:
    sign, colour = MARKS[mark(block.level)]
    for number, line in enumerate(wrapped(block.text.replace("\n", " "), width - 2)):
        text = Text(f"{'  ' if number else sign + ' '}{line.text.plain}", colour)
        is_link = number == 0 and block.to is not None
        yield Line(text, ("notice", block.text) if is_link else None, block.to if is_link else None)
    if block.do:
        for line in wrapped(f"do: {block.do}", width - 2):
            yield Line(Text(f"  {line.text.plain}"))


# ---------------------------------------------------------------- numbers


def _tiles(block: Tiles, width: int) -> Iterator[Line]:
    yield title(block.title)
    size = max((width_of(tile.head) for tile in block.items), default=0)
    values = [cell(tile.value, tile.kind) or "-" for tile in block.items]
    room = max(map(width_of, values), default=0)
    for tile, value in zip(block.items, values, strict=True):
        sign, colour = MARKS[mark(tile.state)] if tile.state else (" ", "")
        hint = fitted(visible(tile.hint or ""), max(width - size - room - 6, 0))
        text = Text.assemble(
            (f"{sign} ", colour), fitted(tile.head, size), "  ", (fitted(value, room, right=True), "bold"), ("  " + hint, "dim")
        )  # fmt: skip
        yield Line(text, (block.name, tile.name) if tile.to else None, tile.to)


def _facts(block: Facts, width: int) -> Iterator[Line]:
    yield title(block.title)
    known = [fact for fact in block.items if fact.value is not None]
    size = max((width_of(fact.head) for fact in known), default=0)
    for fact in known:
        text = cell_text(fact.value, fact.kind)
        value = Text(fitted(text.plain, max(width - size - 2, 1)).rstrip(), text.style)
        yield Line(
            Text.assemble((fitted(fact.head, size), "dim"), "  ", value),
            (block.name, fact.name) if fact.to else None,
            fact.to,
        )


def _chart(block: Chart, width: int) -> Iterator[Line]:
    yield title(block.title, block.unit)
    written = duration if block.unit.startswith("s") else lambda value: f"{value:,.4g}"
    size = max((width_of(line.name) for line in block.series), default=0)
    for line in block.series:
        known = [value for value in line.values if value is not None]
        if not known:
            yield Line(Text(f"{fitted(line.name, size)}  no values", "dim"))
            continue
        said = f"now {written(known[-1])}, most {written(max(known))}"
        sign, colour = MARKS[mark(line.state)] if line.state else (" ", "")
        drawing = sparkline(line.values, max(width - size - width_of(said) - 6, 8))
        text = Text.assemble((f"{sign} ", colour), fitted(line.name, size), "  ", (drawing, colour), "  ", (said, "dim"))  # fmt: skip
        yield Line(text)


# ---------------------------------------------------------------- graphs and documents


def _graph(block: Graph, width: int) -> Iterator[Line]:
    """Yields a line for each node, further right the more nodes it has to wait for, one after the other."""
    yield title(block.title)
    names = {node.id: node.label for node in block.nodes}
    befores: dict[str, list[str]] = {}
    for before, after in block.edges:
        befores.setdefault(after, []).append(names.get(before, before))
    for node in sorted(block.nodes, key=lambda one: (one.column, one.row)):
        sign, colour = MARKS[mark(node.state)]
        waits = befores.get(node.id, [])
        after = f"after {', '.join(waits[:3])}{' …' if len(waits) > 3 else ''}" if waits else ""
        text = Text.assemble(
            "  " * min(node.column, 12), (f"{sign} ", colour), visible(node.label), (f"  {visible(node.state)}", colour), (f"  {visible(after)}", "dim")
        )  # fmt: skip
        yield Line(text, (block.name, node.id) if node.to else None, node.to)
    if block.note:
        yield from wrapped(block.note, width, "dim")


def _document(block: Document, width: int, is_open: bool) -> Iterator[Line]:
    sign = "▾" if is_open else "▸"
    yield Line(Text(f"{sign} {visible(block.title)}", "bold"), (block.name, "document"), folds=block.name)
    if is_open:
        text = visible(block.text, lines=True) if block.text is not None else document(block.value)
        for number, line in enumerate(text.split("\n")):
            if number == MOST_LINES:
                yield Line(Text("… and more lines", "dim"))
                return
            yield from chopped(line, width)


WRITERS: dict[type, Callable[..., Iterator[Line]]] = {
    Notice: _notice, Facts: _facts, Tiles: _tiles, Chart: _chart, Graph: _graph,
}  # fmt: skip
