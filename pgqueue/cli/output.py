"""Tables for people, JSON for programs, and errors for both."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from pgqueue.errors import PgQueueError
from pgqueue.shown import block, visible

STYLES = {
    "completed": "green", "running": "cyan", "retrying": "yellow", "dead": "red", "cancelled": "dim", "expired": "red",
}  # fmt: skip


def wants_json() -> bool:
    return "--json" in sys.argv


def fail(error: PgQueueError) -> int:
    """Shows an error in four parts on stderr (or as one JSON object) and returns its exit code."""
    if wants_json():
        print(json.dumps({"error": error.as_dict()}), file=sys.stderr)
        return error.exit_code
    lines = [f"{error.code}  {visible(error.what)}"]
    for label, value in {**error.facts, "why": error.why, "do": error.do}.items():
        if value:
            lines.append(f"  {label:<9} {block(value, ' ' * 12).lstrip()}")
    print("\n".join(lines), file=sys.stderr)
    return error.exit_code


def console(*, stderr: bool = False) -> Any:
    """Rich's console: colours only on a terminal, never with NO_COLOR."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=not sys.stdout.isatty())


def emit(value: Any) -> None:
    """One JSON value on stdout; dataclasses become objects, times RFC 3339 in UTC."""
    print(json.dumps(value, default=_plain))


def emit_items(items: Iterable[Any], cursor: int | None = None) -> None:
    emit({"items": [as_dict(item) for item in items], "next": cursor})


def as_dict(item: Any) -> Any:
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return {
            f.name: getattr(item, f.name) for f in dataclasses.fields(item) if f.name not in ("lease", "app")
        }
    return item


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if dataclasses.is_dataclass(value):
        return as_dict(value)
    return str(value)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table on a terminal, tab-separated lines with a head into a pipe."""
    texts = [["" if cell is None else visible(str(cell)) for cell in row] for row in rows]
    if not texts:
        print(empty, file=sys.stderr)
        return
    if not sys.stdout.isatty():
        print("\t".join(columns))
        for row in texts:
            print("\t".join(cell.replace("\t", " ") for cell in row))
        return
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        shown.add_column(column, overflow="ellipsis", no_wrap=True)
    for row in texts:
        shown.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    console().print(shown)


def say(label: str, text: str) -> None:
    """One line of a command's story, on stderr."""
    print(f"  {label:<10} {visible(text)}", file=sys.stderr)


def tell(text: object) -> None:
    """One line of an answer, on stdout."""
    print(visible(str(text)))


def ago(moment: datetime | None) -> str:
    """``12 s ago``, ``in 5 m``."""
    if moment is None:
        return ""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    return f"in {span(-seconds)}" if seconds < 0 else f"{span(seconds)} ago"


def span(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 2 else f"{seconds * 1000:.0f} ms"
