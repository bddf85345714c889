"""The part of the screen that shows the lines of a page, with a cursor and with ticks."""

from __future__ import annotations

from collections.abc import Container, Sequence

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from pgqueue.ui.tui.line import Line

GUTTER = 2  # columns at the left: the cursor and the tick


class View(ScrollView, can_focus=True):
    """Draws only the lines that are on the screen. After an update, the cursor stands on the line about the same thing as before."""

    DEFAULT_CSS = "View { height: 1fr; scrollbar-size: 0 0; }"

    def __init__(self) -> None:
        super().__init__()
        self.lines: Sequence[Line] = ()
        self.at: tuple[str, object] | None = None
        self._y = 0
        self._ticked: Container[object] = ()

    @property
    def room(self) -> int:
        """Returns how many columns the text of a line can have."""
        return max(self.size.width - GUTTER, 20)

    @property
    def line(self) -> Line | None:
        """Returns the line under the cursor."""
        return next((line for line in self.lines if line.at is not None and line.at == self.at), None)

    @property
    def below(self) -> int:
        """Returns how many lines are below the screen."""
        return max(len(self.lines) - round(self.scroll_target_y) - self.size.height, 0)

    def show(self, lines: Sequence[Line], ticked: Container[object]) -> None:
        self.lines, self._ticked = lines, ticked
        places = [(y, line.at) for y, line in enumerate(lines) if line.at is not None]
        known = next((y for y, at in places if at == self.at), None)
        if (
            known is None
        ):  # the row is gone: the cursor stays where it was, on the next line that it can stand on
            y, self.at = min(places, key=lambda place: abs(place[0] - self._y), default=(0, None))
        self._y = y if known is None else known
        self.virtual_size = Size(self.size.width, len(lines))
        self.refresh()

    def go_to_top(self) -> None:
        """Forgets the cursor, because another page is shown."""
        self.at, self._y = None, 0
        self.scroll_to(0, 0, animate=False)

    def move(self, by: int) -> None:
        """Moves the cursor to the next row (1) or to the previous row (-1). If this row is not on the screen, scrolls one line."""
        places = [y for y, line in enumerate(self.lines) if line.at is not None]
        top = round(self.scroll_target_y)
        further = [y for y in places if (y - self._y) * by > 0]
        goal = min(further, key=lambda y: abs(y - self._y), default=None)
        if goal is None or not top - 1 <= goal <= top + self.size.height:
            self.scroll_to(y=top + by, animate=False)
            return
        self._y, self.at = goal, self.lines[goal].at
        self.scroll_to_region(Region(0, goal, 1, 1), animate=False)
        if goal == places[0]:
            self.scroll_to(y=0, animate=False)
        self.refresh()

    def leap(self, by: int) -> None:
        """Moves the screen by this many screens, and the cursor to the first row that is on it then."""
        top = min(
            max(round(self.scroll_target_y) + by * (self.size.height - 1), 0),
            max(len(self.lines) - self.size.height, 0),
        )
        self.scroll_to(y=top, animate=False)
        shown = [
            y
            for y in range(top, min(top + self.size.height, len(self.lines)))
            if self.lines[y].at is not None
        ]
        if shown:
            self._y = shown[0] if by < 0 or top + self.size.height < len(self.lines) else shown[-1]
            self.at = self.lines[self._y].at
        self.refresh()

    def render_line(self, y: int) -> Strip:
        at = y + self.scroll_offset.y
        if at >= len(self.lines):
            return Strip.blank(self.size.width, Style.null())
        line = self.lines[at]
        is_current = line.at is not None and at == self._y
        is_ticked = line.table is not None and line.id in self._ticked
        gutter = Segment((">" if is_current else " ") + ("x" if is_ticked else " "), Style.null())
        strip = Strip([gutter, *line.text.render(self.app.console)])
        strip = strip.adjust_cell_length(self.size.width, Style.null())
        return strip.apply_style(Style(reverse=True)) if is_current else strip
