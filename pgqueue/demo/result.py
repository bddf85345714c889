"""What the day came to: read by ``proof.sql``, shown as a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files

import psycopg
from psycopg.rows import class_row
from rich.console import Console
from rich.table import Table

NOTES = """\
Each line: orders = completed + dead, and each completed job had its effect on its order exactly once.
[bold]dead[/]      the order for $0.00: no receipt can be written, so the error is permanent and not tried again
[bold]retried[/]   attempts that failed, nearly all while the webhook was down
[bold]rescued[/]   jobs of the killed worker, given to another when its lease had run out
[bold]received[/]  {repeats} more than distinct: the killed worker's jobs had these effects and could not say so. Outside the
          database effects are at-least-once; the receiver knows a repeat by its key (the job's id) and ignores it.
"""
SELECTS = """\
Look for yourself:
  SELECT state, count(*) FROM pgqueue.jobs GROUP BY state;
  SELECT id, task, args, last_error FROM pgqueue.jobs WHERE state = 'dead';
  SELECT at, job_id, from_state, to_state, reason, error FROM pgqueue.transitions ORDER BY at DESC LIMIT 10;
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One task of the shop."""

    task: str
    orders: int
    jobs: int
    orphans: int
    completed: int
    dead: int
    retried: int
    rescued: int
    received: int
    distinct_keys: int
    once: int
    proven: bool


@dataclass(frozen=True, slots=True)
class DemoResult:
    """``ok``: every line is proven, and the day had a rollback, a dead letter, retries and a rescue."""

    ok: bool
    seconds: float
    orders_written: int
    orders_committed: int
    orders_rolled_back: int
    lines: tuple[Line, ...]


def prove(
    conn: psycopg.Connection, since: datetime, *, written: int, rolled_back: int, seconds: float
) -> DemoResult:
    query = files("pgqueue.demo").joinpath("proof.sql").read_bytes()
    with conn.cursor(row_factory=class_row(Line)) as cursor:
        lines = tuple(cursor.execute(query, {"since": since}))
    return DemoResult(
        ok=all(line.proven for line in lines)
        and lines[0].orders == written - rolled_back < written
        and sum(line.dead for line in lines) == 1
        and sum(line.retried for line in lines) > 0
        and sum(line.rescued for line in lines) > 0,
        seconds=seconds,
        orders_written=written,
        orders_committed=lines[0].orders,
        orders_rolled_back=rolled_back,
        lines=lines,
    )


def show(result: DemoResult, console: Console) -> None:
    table = Table(
        "task",
        *("orders", "completed", "dead", "retried", "rescued", "received", "distinct", "orders\nserved once"),
        "",
        title=f"{result.orders_written} orders written: {result.orders_committed} committed,"
        f" {result.orders_rolled_back} rolled back",
        title_justify="left",
        title_style="bold",
    )
    for column in table.columns[1:-1]:
        column.justify = "right"
    for line in result.lines:
        numbers = (
            *(line.orders, line.completed, line.dead, line.retried, line.rescued),
            *(line.received, line.distinct_keys, line.once),
        )
        table.add_row(line.task, *map(str, numbers), "[green]proven[/]" if line.proven else "[red]NOT SO[/]")
    console.print(table)
    repeats = sum(line.received - line.distinct_keys for line in result.lines)
    console.print(NOTES.format(repeats=repeats), highlight=False)
    console.print(SELECTS, highlight=False, markup=False)
