"""``Top``: the dashboard as an app of textual."""

from __future__ import annotations

from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.screen import Screen

from pgqueue.database.statements import Who as Actor
from pgqueue.ui.tui.dashboard import Dashboard
from pgqueue.ui.tui.source import Source


class Top(App[None]):
    """``actor``: who acts, for the audit; None: nothing can be changed. ``where``: the database, in words."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+c", "quit", priority=True)]

    def __init__(self, dsn: str, actor: Actor | None = None, where: str = "") -> None:
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"  # the colours of the terminal itself
        self._source = Source(dsn)
        self.dashboard = Dashboard(self._source, actor, where)

    def get_default_screen(self) -> Screen[None]:
        return self.dashboard

    async def on_unmount(self) -> None:
        await self._source.close()
