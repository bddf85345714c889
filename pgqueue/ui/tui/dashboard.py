"""The screen of the dashboard: shows one page, makes it again every few seconds, and does what the keys say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Static

from pgqueue.database.outage import one_line
from pgqueue.database.statements import Who as Actor
from pgqueue.runtime.clock import monotonic
from pgqueue.ui.reading.asked import path_to
from pgqueue.ui.reading.page import Page
from pgqueue.ui.tui.acting import Acting
from pgqueue.ui.tui.asking import Asking, Keys
from pgqueue.ui.tui.foot import Foot
from pgqueue.ui.tui.keys import ACTIONS, PATHS, form_for, help_lines
from pgqueue.ui.tui.lines import head_of, lines_of, tabs_of
from pgqueue.ui.tui.pace import Pace
from pgqueue.ui.tui.source import Lost, Source, problem
from pgqueue.ui.tui.view import View

AFTER_G = 1.5  # seconds for the second key
SAID = 8.0  # seconds for which an answer is shown
READ_ONLY = "Read only. To allow actions: pgq top --allow-actions"
MOST_BACK = 100  # pages to which Escape leads back


class Dashboard(Screen[None]):
    DEFAULT_CSS = "Dashboard Static { height: 1; width: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }"

    def __init__(self, source: Source, actor: Actor | None, where: str) -> None:
        super().__init__()
        self._source, self._where = source, where
        self._acting = None if actor is None else Acting(source, actor, self._ask, self.say)
        self._head, self._tabs, self._foot = (Static(markup=False) for _ in range(3))
        self._view = View()
        self._path, self._former = "/", list[tuple[str, tuple[str, object] | None]]()
        self.page: Page | None = None
        self._shown = ""  # the path of this page
        self._made_at = datetime.now().astimezone()
        self._lost = ""
        self._said, self._said_at = "", 0.0
        self._is_paused = self._is_all = False
        self._ticked = dict[object, None]()
        self._folded = set[str]()
        self._wanted = asyncio.Event()
        self._pace = Pace(monotonic())
        self._after_g = float("-inf")

    def compose(self) -> ComposeResult:
        yield from (self._head, self._tabs, self._view, self._foot)

    def on_mount(self) -> None:
        self._view.focus()
        self.run_worker(self._live())

    # ---------------------------------------------------------------- the page

    async def _live(self) -> None:
        """Makes the page again and again, until the dashboard ends."""
        while True:
            self._wanted.clear()
            before, begun = self._source.queries, monotonic()
            await self._look(self._path)
            took = 0.0 if self._lost else monotonic() - begun
            self._pace.made(self._source.queries - before, took, monotonic())
            await asyncio.sleep(self._pace.delay)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pace.pause):
                    await self._wanted.wait()
            if self._is_paused and not self._lost:
                await self._wanted.wait()

    async def _look(self, path: str) -> None:
        lost = ""
        try:
            page = await self._source.page(path)
        except Lost as error:
            lost = one_line(error)
            page = problem("No connection", path, error)
            if self.page is not None and self._shown == path:
                page = self.page
        except Exception as error:  # noqa: BLE001 - whatever goes wrong with one page, the person can open the others
            page = problem("Error", path, error)
        if path == self._path:
            self._lost, self.page, self._shown = lost, page, path
            if not lost:
                self._made_at = datetime.now().astimezone()
            self.draw()

    def draw(self) -> None:
        page = self.page
        if page is None:
            return
        self._view.show(
            lines_of(page, self._view.room, self._folded), _Everything() if self._is_all else self._ticked
        )
        self._head.update(head_of(page))
        self._tabs.display = bool(page.tabs)
        self._tabs.update(tabs_of(page))
        self._draw_foot()

    def _draw_foot(self) -> None:
        said = self._said if monotonic() - self._said_at < SAID else ""
        chosen = "all that match" if self._is_all else f"{len(self._ticked)} ticked" if self._ticked else ""
        foot = Foot(self._made_at, self._where, self._lost, said, chosen, self._view.below, self._is_paused)
        self._foot.update(foot.text())

    async def _ask(self, question: Asking) -> Mapping[str, str] | None:
        return await self.app.push_screen_wait(question)

    def say(self, text: str) -> None:
        self._said, self._said_at = text, monotonic()
        self._draw_foot()

    def open(self, path: str, *, is_back: bool = False) -> None:
        if not is_back:
            self._former = [*self._former[-MOST_BACK:], (self._path, self._view.at)]
        self._path = path
        self._ticked.clear()
        self._folded.clear()
        self._is_all, self._said = False, ""
        self._view.go_to_top()
        self._wanted.set()

    # ---------------------------------------------------------------- keys

    def on_resize(self) -> None:
        self.call_after_refresh(self.draw)

    def on_key(self, event: events.Key) -> None:
        key = event.character if event.character and event.character.isprintable() else event.key
        if monotonic() - self._after_g < AFTER_G:
            self._after_g = float("-inf")
            if key in PATHS:
                self.open(PATHS[key])
        elif key in ACTIONS:
            self.run_worker(self._act(key))
        elif key in self._does:
            self._does[key](self)
        else:
            return
        event.stop()
        event.prevent_default()

    def _open_row(self) -> None:
        line = self._view.line
        if line is not None and line.folds:
            self._folded ^= {line.folds}
            self.draw()
        elif line is not None and line.to:
            self.open(line.to)

    def _back(self) -> None:
        if self._former:
            path, at = self._former.pop()
            self.open(path, is_back=True)
            self._view.at = at
        elif self.page is not None and self.page.above:
            self.open(self.page.above[1], is_back=True)

    def _tick(self) -> None:
        line = self._view.line
        if self._acting is None or line is None or line.table is None or not line.table.selects:
            return
        self._is_all = False
        if line.id in self._ticked:
            del self._ticked[line.id]
        else:
            self._ticked[line.id] = None
        self.draw()

    def _tick_all(self) -> None:
        if self.page is not None and self.page.name == "jobs" and self._acting:
            self._is_all = not self._is_all
            self._ticked.clear()
            self.draw()

    def _pause(self) -> None:
        self._is_paused = not self._is_paused
        if not self._is_paused:
            self._wanted.set()
        self._draw_foot()

    def _turn(self, by: int) -> None:
        tabs = self.page.tabs if self.page is not None else ()
        current = next((number for number, tab in enumerate(tabs) if tab.is_current), 0)
        if tabs:
            self.open(tabs[(current + by) % len(tabs)].path, is_back=True)

    def _go(self) -> None:
        self._after_g = monotonic()

    def _search(self) -> None:
        page = self.page
        is_own = page is not None and page.search is not None
        name = page.name if page is not None and is_own else "jobs"

        def answered(given: object) -> None:
            if isinstance(given, dict):
                self.open(path_to(name, q=given["q"] or None))

        label = (
            "state:dead queue:mail task:t error:text args.name:value" if name == "jobs" else "Part of a name"
        )
        value = page.search or "" if page is not None and is_own else ""
        self.app.push_screen(Asking(f"Search {name}", (), [("q", label)], {"q": value}), answered)

    def _help(self) -> None:
        can_act = self._acting is not None
        note = "Upper-case letters ask before they change something." if can_act else READ_ONLY
        self.app.push_screen(Keys(help_lines(can_act=can_act), note))

    def _quit(self) -> None:
        self.app.exit()

    _does: ClassVar[dict[str, Callable[[Dashboard], None]]] = {
        "j": lambda self: self._view.move(1), "down": lambda self: self._view.move(1),
        "k": lambda self: self._view.move(-1), "up": lambda self: self._view.move(-1),
        "pagedown": lambda self: self._view.leap(1), " ": lambda self: self._view.leap(1), "pageup": lambda self: self._view.leap(-1),
        "home": lambda self: self._view.leap(-1000), "end": lambda self: self._view.leap(1000),
        "enter": _open_row, "escape": _back, "backspace": _back, "x": _tick, "*": _tick_all, "p": _pause, "g": _go, "/": _search,
        "?": _help, "q": _quit, "tab": lambda self: self._turn(1), "shift+tab": lambda self: self._turn(-1),
    }  # fmt: skip

    # ---------------------------------------------------------------- actions

    async def _act(self, key: str) -> None:
        acting, page = self._acting, self.page
        if acting is None:
            self.say(READ_ONLY)
            return
        form = form_for(key, page, self._view.line, list(self._ticked), is_all=self._is_all) if page else None
        if form is None and key == "U":
            form = acting.undo()
        if form is None:
            self.say(f"Nothing here to {ACTIONS[key][0]}.")
        elif await acting.act(form):
            self._ticked.clear()
            self._is_all = False
            self._wanted.set()


class _Everything:
    def __contains__(self, _one: object) -> bool:
        return True
