"""Writes pages as HTML with Jinja2. Every value is escaped, and no value can make a script or a style."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from pgqueue.text.shown import visible
from pgqueue.ui.reading.page import Action, Block, Chart
from pgqueue.ui.reading.pages import PAGES, PageRoute
from pgqueue.ui.reading.search import QUALIFIERS
from pgqueue.ui.reading.written import cell, document, moment, short
from pgqueue.ui.web.drawing import chart_data, chart_rows, drawn

BRACES = re.compile(r"\{(\w+)\}")
# The mark of each word for a state. Words without a mark of their own get the shape of another state, or a plain square.
MARKS = {
    **{name: name for name in ("pending", "scheduled", "running", "retrying", "waiting", "completed", "cancelled", "dead", "paused")},
    **{name: name for name in ("warn", "error", "info")},
    "ok": "completed", "on": "running", "new": "scheduled", "over": "completed", "problem": "error", "enqueued": "completed",
    "skipped": "cancelled", "missed": "warn", "duplicate": "cancelled", "draining": "waiting", "stopped": "cancelled", "expired": "dead",
    "blocked": "error", "no worker": "error", "full": "waiting", "open": "error", "muted": "paused", "resolved": "completed",
    "failed": "dead", "stopping": "cancelled", "undoing": "retrying", "undone": "cancelled", "undo_failed": "dead",
}  # fmt: skip


def mark(word: object) -> str:
    return MARKS.get(str(word), "other")


def filled(to: str | None, row: Mapping[str, object]) -> str | None:
    """Returns a path with the values of a row in place of the names in braces. None: there is no path, or a value is missing."""
    if to is None:
        return None
    names = BRACES.findall(to)
    if any(row.get(name) is None for name in names):
        return None
    return BRACES.sub(lambda found: quote(str(row[found[1]]), safe=""), to)


def allowed(actions: Iterable[Action], acts: Iterable[str]) -> list[Action]:
    """Returns those of the actions that the person is allowed to do."""
    words = set(acts)
    return [action for action in actions if action.word in words]


def grouped(blocks: Sequence[Block]) -> list[list[Block]]:
    """Returns the blocks in groups. Charts that follow each other are one group, because they stand side by side."""
    found: list[list[Block]] = []
    for block in blocks:
        if isinstance(block, Chart) and found and isinstance(found[-1][0], Chart):
            found[-1].append(block)
        else:
            found.append([block])
    return found


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("pgqueue.ui.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "seen": lambda text, lines=False: visible(str(text), lines=lines),
        "cell": cell,
        "moment": moment,
        "iso": lambda at: at.astimezone(UTC).isoformat(),
        "percent": lambda share: f"{100 * min(max(share, 0), 1):.1f}",
        "document": document,
        "short": short,
        "grouped": grouped,
        "all": lambda label: " ".join((*label.split(" ")[:1], "all", *label.split(" ")[1:])),
        "mark": mark,
        "filled": filled,
        "allowed": allowed,
        "kind": lambda block: type(block).__name__,
        "drawn": drawn,
        "chartdata": chart_data,
        "chartrows": chart_rows,
    }
    return made


TEMPLATES = _environment()


@cache
def built() -> str:
    """Returns a short text that differs when the style or the script of the page differs, so that browsers load them again."""
    folder = files("pgqueue.ui.web") / "static"
    return hashlib.sha256(
        b"".join((folder / name).read_bytes() for name in ("app.css", "app.js", "theme.js"))
    ).hexdigest()[:10]


def menu() -> list[tuple[str, list[PageRoute]]]:
    groups: dict[str, list[PageRoute]] = {}
    for page in PAGES:
        if page.menu:
            groups.setdefault(page.group, []).append(page)
    return list(groups.items())


def render(template: str, **values: object) -> str:
    """Returns the text of a template. ``values`` need ``base``, ``title``, ``who`` and ``role``; the rest has defaults."""
    given: dict[str, object] = {
        "live": None, "refresh": None, "environment": None, "searched": "", "current": (), "acts": (), "done": None, "here": "/",
        "page": None, "site": "pgqueue", "now": datetime.now(UTC), **values,
    }  # fmt: skip
    return TEMPLATES.get_template(template).render(
        **given,
        built=built(),
        menu=menu(),
        keyed=[page for page in PAGES if page.key],
        qualifiers=[f"{name}:" for name in QUALIFIERS],
    )
