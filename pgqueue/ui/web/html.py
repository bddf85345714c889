"""Writes pages as HTML with Jinja2. Every value is escaped, and no value can make a script or a style."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

from pgqueue.text.shown import visible
from pgqueue.ui.acting.acts import ACTS, asks_first
from pgqueue.ui.reading.asked import filled
from pgqueue.ui.reading.page import Action, Block, Chart
from pgqueue.ui.reading.pages import PAGES, PageRoute
from pgqueue.ui.reading.search import QUALIFIERS
from pgqueue.ui.reading.written import beginning, cell, mark, moment, short
from pgqueue.ui.web.drawing import chart_data, chart_rows, drawn


@dataclass(frozen=True, slots=True)
class Button:
    """``fields``: those that its form sends. ``asks_first``: a page asks once more, or asks for fields, before the action is done."""

    word: str
    label: str
    fields: Mapping[str, str]
    is_careful: bool
    asks_first: bool


def allowed(actions: Iterable[Action], acts: Iterable[str]) -> list[Button]:
    """Returns the buttons of those actions that the person is allowed to do."""
    words = set(acts)
    return [
        Button(
            one.word, one.label or ACTS[one.word].label, one.fields, ACTS[one.word].is_careful, asks_first(one.word, one.fields)
        )
        for one in actions
        if one.word in words
    ]  # fmt: skip


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
        "beginning": beginning,
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
