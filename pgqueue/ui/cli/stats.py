"""``pgq stats``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.silence import within
from pgqueue.database.statements.stats import QueueDrain, StateCount, StatsSum
from pgqueue.errors import InvalidOptionError
from pgqueue.model.names import check_name
from pgqueue.model.units import seconds
from pgqueue.sql import Statement
from pgqueue.text.nearest import rather
from pgqueue.text.times import span
from pgqueue.ui.cli import tables
from pgqueue.ui.cli.common import AsJson, Dsn, database
from pgqueue.ui.cli.output import emit_items, width
from pgqueue.ui.cli.tables import Column, cell, table

BY = ("queue", "task", "state")
SHORTEST, LONGEST = 60.0, 90 * 86_400.0  # the window, in seconds
MOST = 20.0  # the time limit of one look, in seconds
OFTENEST = 0.5  # the shortest time between two looks, in seconds
CLEAR = "\x1b[H\x1b[2J"
HEADS = (
    "started", "completed", "per_second", "retried", "dead", "cancelled", "put_back", "crashed", "wait_p50", "wait_p95", "wait_p99",
    "run_p50", "run_p95", "run_p99",
)  # fmt: skip
# On a terminal that has no room for all columns, only these are shown.
NARROW = ("completed", "per_second", "dead", "wait_p95", "run_p95")
ROOM = 150
DRAINS = {
    "empty": "empty", "steady": "steady", "growing": "growing", "idle": "no starts", "unknown": "not known yet",
}  # fmt: skip

Item = dict[str, Any]


def add(cli: typer.Typer) -> None:
    cli.command("stats")(stats)


def stats(
    by: Annotated[
        str, typer.Option(metavar="WORD", help="A row for each queue, task or state.", show_default=True)
    ] = "queue",
    window: Annotated[
        str, typer.Option(metavar="TIME", help="How much time to look back at, from 1m to 90d.")
    ] = "1h",
    queue: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this queue.")] = None,
    task: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this task.")] = None,
    watch: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Look again and again, with this time in between, such as 2s."),
    ] = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL instead of running it.")] = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Show how many attempts ended in which way, how fast, and how long jobs waited and ran. With --by state, count the jobs.

    For each queue, also say when no job will be due, if jobs start and become due as in the last five minutes. The p50, p95 and p99 are
    estimates. A count that begins with ~ is an estimate, too.
    """
    view = _view(by, window, queue, task)
    pause = None if watch is None else max(seconds(watch, "--watch", past=False), OFTENEST)
    if sql:
        print(";\n\n".join(_text(statement) for statement in view.statements(datetime.now(UTC))) + ";")
        return
    with database(dsn) as connection:
        try:
            for number, items in enumerate(_looks(connection, view, pause)):
                _show(view, items, number, as_json=as_json, watched=pause is not None)
        except KeyboardInterrupt:
            if pause is None:
                raise


def _looks(connection: Connection, view: _View, pause: float | None) -> Iterator[list[Item]]:
    while True:
        with within(connection, MOST):
            now = datetime.fromtimestamp(run(connection, statements.read_clock()), UTC)
            answers = [run(connection, statement) for statement in view.statements(now)]
        yield view.items(answers)
        if pause is None:
            return
        time.sleep(pause)


def _show(view: _View, items: list[Item], number: int, *, as_json: bool, watched: bool) -> None:
    """Prints one look. If it is watched, a terminal shows it in the place of the former one; elsewhere, each line begins with the time."""
    if as_json:
        emit_items(items)
    elif not watched or sys.stdout.isatty():
        if watched:
            sys.stdout.write(CLEAR)
        table(view.columns, [view.cells(item) for item in items], empty=view.empty)
    else:
        if not number:
            print("\t".join(["at", *(head if isinstance(head, str) else head.head for head in view.columns)]))
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        for item in items:
            print("\t".join([now, *map(cell, view.cells(item))]))
    sys.stdout.flush()


class _View:
    """What is asked, and how the answers are shown. ``statements`` gets the database's time."""

    columns: Sequence[str | Column]
    empty: str

    def statements(self, now: datetime) -> list[Statement[Any]]:
        raise NotImplementedError

    def items(self, answers: list[Any]) -> list[Item]:
        """Returns the rows as JSON has them."""
        raise NotImplementedError

    def cells(self, item: Item) -> list[object]:
        """Returns a row as people see it."""
        raise NotImplementedError


class _Sums(_View):
    """Attempts by task, or by queue with the time until it is empty."""

    empty = "No attempt has ended in this time, and no job is due."

    def __init__(self, by: str, window: float, queue: str | None, task: str | None) -> None:
        self._by, self._window, self._queue, self._task = by, window, queue, task
        drain = ("due", "empty_in") if by == "queue" else ()
        self._heads = NARROW if sys.stdout.isatty() and width() < ROOM else HEADS
        self.columns = (tables.name(by), *self._heads, *drain)

    def statements(self, now: datetime) -> list[Statement[Any]]:
        since = now - timedelta(seconds=self._window)
        by: Any = [self._by]
        asked: list[Statement[Any]] = [
            statements.sum_stats(since, now, by=by, queue=self._queue, task=self._task)
        ]
        return [*asked, statements.estimate_drain()] if self._by == "queue" else asked

    def items(self, answers: list[Any]) -> list[Item]:
        sums: list[StatsSum] = answers[0]
        items = {
            getattr(one, self._by): {
                self._by: getattr(one, self._by), "seconds": one.seconds, "per_second": one.per_second, **asdict(one.counts),
            }
            for one in sums
        }  # fmt: skip
        if self._by == "queue":
            drains: dict[str, QueueDrain] = {one.queue: one for one in answers[1]}
            for name in drains:
                if name not in items and self._queue in (None, name):
                    items[name] = {"queue": name}
            for name, item in items.items():
                item["drain"] = _drain(drains.get(name))
        return list(items.values())

    def cells(self, item: Item) -> list[object]:
        times = {"wait_p50", "wait_p95", "wait_p99", "run_p50", "run_p95", "run_p99"}
        row = [item[self._by]]
        for head in self._heads:
            value = item.get(head)
            row.append(_short(value) if head in times else _rate(value) if head == "per_second" else value)
        if self._by == "queue":
            drain = item["drain"]
            row += [_number(drain["due"], is_exact=drain["is_exact"]), _empty_in(drain)]
        return row


class _States(_View):
    """How many jobs are in each state now."""

    columns = ("state", "jobs")
    empty = "There is no state."  # never shown, because the statement always returns the same states

    def statements(self, _now: datetime) -> list[Statement[Any]]:
        return [statements.count_live()]

    def items(self, answers: list[Any]) -> list[Item]:
        counts: list[StateCount] = answers[0]
        return [asdict(one) for one in counts]

    def cells(self, item: Item) -> list[object]:
        return [item["state"], _number(item["count"], is_exact=item["is_exact"])]


def _view(by: str, window: str, queue: str | None, task: str | None) -> _View:
    """Raises InvalidOptionError or InvalidNameError if an option has no valid value."""
    if by not in BY:
        raise InvalidOptionError(f"--by is {by!r:.80}.", do=rather(by, BY))
    length = seconds(window, "--window", past=False)
    if not SHORTEST <= length <= LONGEST:
        raise InvalidOptionError(
            f"--window is {window!r:.80}.", do="give a time from 1m to 90d: statistics have minutes, and hours are kept for 90 days"
        )  # fmt: skip
    for kind, name in (("queue", queue), ("task", task)):
        if name is not None:
            check_name(kind, name)
    if by != "state":
        return _Sums(by, length, queue, task)
    if queue is not None or task is not None:
        raise InvalidOptionError(
            "--by state counts the jobs of all queues and tasks.",
            do="pgq queues list, or pgq jobs count --by state with filters",
        )
    return _States()


def _text(statement: Statement[Any]) -> str:
    from pgqueue.ui.reading.reader import shown

    return shown(statement).sql.rstrip(";")


def _drain(found: QueueDrain | None) -> Item:
    if found is None:
        return {"due": 0, "is_exact": True, "paused": False, "trend": "empty", "seconds": 0.0}
    return {
        "due": found.due, "is_exact": found.is_exact, "paused": found.paused, "trend": found.trend, "seconds": found.seconds,
        "started_per_second": found.started_per_second, "arrived_per_second": found.arrived_per_second,
    }  # fmt: skip


def _empty_in(drain: Item) -> str:
    if drain["paused"] and drain["due"]:
        return "paused"
    return DRAINS[drain["trend"]] if drain["trend"] in DRAINS else f"~{span(drain['seconds'])}"


def _number(number: int, *, is_exact: bool) -> str:
    return str(number) if is_exact else f"~{number}"


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.3g}" if rate < 100 else f"{rate:.0f}"


def _short(time_taken: float | None) -> str:
    """Returns a time as an estimate is shown, with two digits below a second: ``0.12 ms``, ``35 ms``, ``1.1 s``."""
    if time_taken is None or time_taken >= 0.9995:
        return span(time_taken)
    return f"{time_taken * 1000:.2g} ms" if time_taken < 0.0995 else f"{time_taken * 1000:.0f} ms"
