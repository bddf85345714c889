"""Shows the demo's progress: as bars if the output is a terminal, otherwise as one line each second."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from textwrap import wrap
from typing import TypeAlias

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

FINAL = ("completed", "dead", "cancelled")

Counts: TypeAlias = Mapping[str, Mapping[str, int]]  # task -> state -> number of jobs


class Display:
    """The output of the demo. ``say`` prints an event. ``show`` shows how many jobs are in each state now."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.started = time.monotonic()
        self.line_due = self.started
        self.bars: dict[str, TaskID] = {}
        self.progress = Progress()

    @contextmanager
    def act(self, title: str) -> Iterator[None]:
        """Prints the title of an act, and shows bars of its own as long as the block runs."""
        self.console.print(f"\n[bold]{title}[/]", highlight=False)
        self.bars = {}
        self.progress = Progress(
            TextColumn("  {task.description:17}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[states]}", style="dim"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        with self.progress:
            yield

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def say(self, event: str) -> None:
        time_column = f"{self.seconds:5.1f} s  "
        lines = wrap(event, max(self.console.width - len(time_column), 30))
        text = ("\n" + " " * len(time_column)).join(lines)
        self.console.print(f"[dim]{time_column}[/]{escape(text)}", highlight=False, soft_wrap=True)

    def add(self, text: str) -> None:
        """Prints a further line about the event before."""
        self.console.print(f"         {text}", highlight=False, markup=False, soft_wrap=True)

    def show(self, counts: Counts) -> None:
        if self.console.is_terminal:
            self._draw(counts)
        elif time.monotonic() >= self.line_due:
            self.line_due = time.monotonic() + 1
            total: dict[str, int] = {}
            for states in counts.values():
                for state, number in states.items():
                    total[state] = total.get(state, 0) + number
            self.say(words(total) or "no jobs yet")

    def _draw(self, counts: Counts) -> None:
        for task, states in sorted(counts.items()):
            if task not in self.bars:
                self.bars[task] = self.progress.add_task(task.rpartition(".")[2], total=0, states="")
            done = sum(states.get(state, 0) for state in FINAL)
            self.progress.update(
                self.bars[task], completed=done, total=sum(states.values()), states=words(states)
            )


def words(states: Mapping[str, int]) -> str:
    return " · ".join(f"{number} {state}" for state, number in sorted(states.items()) if number)
