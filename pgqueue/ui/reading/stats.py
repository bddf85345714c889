"""The page of statistics, and the charts that other pages show: what happened to attempts over time, from the table stats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pgqueue.database import statements
from pgqueue.database.statements.stats import Counts, StatsPoint, StatsSum
from pgqueue.ui.reading.asked import Asked, path_to
from pgqueue.ui.reading.page import Block, Chart, Column, Page, Query, Row, Series, Tab, Table
from pgqueue.ui.reading.reader import Reader, shown


@dataclass(frozen=True, slots=True)
class Window:
    """The time that a chart covers, and the length of its steps, in seconds."""

    word: str
    head: str
    seconds: int
    step: int


WINDOWS = (
    Window("1h", "1 hour", 3600, 60),
    Window("6h", "6 hours", 6 * 3600, 900),
    Window("24h", "24 hours", 86_400, 900),
    Window("7d", "7 days", 7 * 86_400, 7200),
    Window("30d", "30 days", 30 * 86_400, 6 * 3600),
)
HOUR = WINDOWS[0]


async def stats(reader: Reader, asked: Asked) -> Page:
    window = window_of(asked)
    until = asked.now
    since = until - timedelta(seconds=window.seconds)
    blocks: list[Block] = list(await charts(reader, asked.now, window))
    by_task, by_queue = (
        statements.sum_stats(since, until, by=["task"], count=100),
        statements.sum_stats(since, until, by=["queue"], count=100),
    )
    blocks += [
        _sums("tasks", "Tasks", "task", "/jobs?q=task:{task}", await reader.ask(by_task), shown(by_task, f"pgq stats --by task --window {window.word}")),
        _sums("queues", "Queues", "queue", "/queues/{queue}", await reader.ask(by_queue), shown(by_queue, f"pgq stats --by queue --window {window.word}")),
    ]  # fmt: skip
    tabs = [Tab(one.head, path_to("stats", window=one.word), one is window) for one in WINDOWS]
    return Page(
        name="stats", title="Statistics", path=path_to("stats", window=window.word), blocks=blocks, tabs=tabs
    )


def window_of(asked: Asked) -> Window:
    return next((window for window in WINDOWS if window.word == asked.query.get("window")), HOUR)


async def charts(
    reader: Reader, now: datetime, window: Window = HOUR, *, queue: str | None = None
) -> list[Chart]:
    """Returns two charts: how many attempts ended in which way, and how long jobs waited and ran. Costs one query."""
    end = _floor(now, window.step)  # the step that has not ended yet would look like a fall
    begin = end - timedelta(seconds=window.seconds)
    statement = statements.list_stats(begin, end, window.step, queue=queue)
    points = {int(point.at.timestamp()): point for point in await reader.ask(statement)}
    times = list(range(int(begin.timestamp()), int(end.timestamp()), window.step))
    found = [points.get(moment) for moment in times]
    query = shown(statement, "pgq stats --window " + window.word)
    return [_throughput(times, found, window, query), _durations(times, found, query)]


def _floor(moment: datetime, step: int) -> datetime:
    return datetime.fromtimestamp(int(moment.timestamp()) // step * step, UTC)


def _throughput(times: list[int], found: Sequence[StatsPoint | None], window: Window, query: Query) -> Chart:
    def line(name: str, count: Callable[[Counts], int], state: str) -> Series:
        return Series(
            name, [0.0 if one is None else count(one.counts) * 60 / window.step for one in found], state
        )

    return Chart(
        name="throughput", title="Attempts that ended", unit="per minute", times=times, query=query,
        series=[
            line("completed", lambda counts: counts.completed, "completed"),
            line("retried", lambda counts: counts.retried, "retrying"),
            line("dead", lambda counts: counts.dead, "dead"),
        ],
    )  # fmt: skip


def _durations(times: list[int], found: Sequence[StatsPoint | None], query: Query) -> Chart:
    return Chart(
        name="durations", title="Time to wait and to run", unit="seconds, p95", times=times, query=query,
        series=[
            Series("wait", [None if one is None else one.counts.wait_p95 for one in found], "waiting"),
            Series("run", [None if one is None else one.counts.run_p95 for one in found], "running"),
        ],
    )  # fmt: skip


def _sums(name: str, title: str, by: str, to: str, found: Sequence[StatsSum], query: Query) -> Table:
    return Table(
        name=name, title=title, rows=[_row(by, one) for one in found], query=query, empty="No attempt has ended in this time.",
        columns=(
            Column(by, title.removesuffix("s"), "code", to), Column("completed", "Completed", "number"), Column("per_second", "Per second", "number"),
            Column("retried", "Retried", "number"), Column("dead", "Dead", "number"), Column("crashed", "Crashed", "number"),
            Column("wait_p50", "Wait p50", "duration"), Column("wait_p95", "Wait p95", "duration"),
            Column("run_p50", "Run p50", "duration"), Column("run_p95", "Run p95", "duration"), Column("run_p99", "Run p99", "duration"),
        ),
    )  # fmt: skip


def _row(by: str, one: StatsSum) -> Row:
    counts = one.counts
    return {
        by: getattr(one, by), "completed": counts.completed, "per_second": one.per_second, "retried": counts.retried, "dead": counts.dead,
        "crashed": counts.crashed, "wait_p50": counts.wait_p50, "wait_p95": counts.wait_p95, "run_p50": counts.run_p50, "run_p95": counts.run_p95,
        "run_p99": counts.run_p99,
    }  # fmt: skip
