"""The last line of the screen: whether the page is live, what was done, and what is chosen."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from rich.text import Text

from pgqueue.text.shown import visible


class Foot(NamedTuple):
    """``made_at``: when the database answered last. ``lost``: why it does not answer now. ``below``: the number of lines below the screen."""

    made_at: datetime
    where: str
    lost: str = ""
    said: str = ""
    chosen: str = ""
    below: int = 0
    is_paused: bool = False

    def text(self) -> Text:
        if self.lost:
            why = visible(self.lost)
            return Text(f"▲ Lost, trying again. The page is of {self.made_at:%H:%M:%S}. {why}", "red")
        if self.said:
            return Text(visible(self.said))
        parts = [
            "‖ paused" if self.is_paused else "▶ live",
            f"{self.made_at:%H:%M:%S}",
            visible(self.where),
            "? keys",
            self.chosen,
            f"↓ {self.below} more line{'' if self.below == 1 else 's'}" if self.below else "",
        ]
        return Text("   ".join(filter(None, parts)), "dim")
