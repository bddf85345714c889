"""Reads the result of the first act with ``day_proof.sql``, and shows it as a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files

import psycopg
from psycopg.rows import class_row
from rich import box
from rich.console import Console
from rich.table import Table

# Each entry is (the label of a row of the table, the field of Line that the row shows).
ROWS = (
    ("orders committed", "orders"),
    ("= jobs completed", "completed"),
    ("+ jobs dead: the order for $0.00", "dead"),
    ("jobs of orders rolled back", "orphans"),
    ("failed attempts, tried again", "retried"),
    ("rescued from the killed worker", "rescued"),
    ("effects received", "received"),
    ("  without repeats", "distinct_keys"),
    ("orders with exactly one effect", "once"),
)
EXAMPLE = "SELECT job_id FROM pgqueue.transitions WHERE reason = 'rescued' AND at > %s ORDER BY at LIMIT 1"
COLUMNS = {"send_receipt": "by mail", "notify_warehouse": "by webhook", "record_sale": "in the database"}
NOTES = """\
A killed worker can't write that its mail was sent, so the mail is sent again:
outside the database, effects happen at least once. The receiver recognises a
repeat by the job's id, and ignores it. A sale commits together with the end of
its job, so it happens exactly once.

Look for yourself:
  SELECT state, count(*) FROM pgqueue.jobs GROUP BY state;
  SELECT id, task, args, reason, last_error FROM pgqueue.dead_letters;
  SELECT * FROM pgqueue.job_timeline WHERE job_id = {example} ORDER BY at;
"""


@dataclass(frozen=True, slots=True)
class Line:
    """The result for one task of the shop: a row of ``day_proof.sql``."""

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
class DayResult:
    """``ok``: every line is proven, and the day had a rollback, a dead letter, retries and a rescue."""

    ok: bool
    orders_written: int
    orders_committed: int
    orders_rolled_back: int
    lines: tuple[Line, ...]
    example: int  # the id of a job that was rescued


def prove(conn: psycopg.Connection, since: datetime, *, written: int, rolled_back: int) -> DayResult:
    query = files("pgqueue.dev.demo").joinpath("day_proof.sql").read_bytes()
    with conn.cursor(row_factory=class_row(Line)) as cursor:
        lines = tuple(cursor.execute(query, {"since": since}))
    example = conn.execute(EXAMPLE, (since,)).fetchone()
    return DayResult(
        ok=all(line.proven for line in lines)
        and lines[0].orders == written - rolled_back < written
        and sum(line.dead for line in lines) == 1
        and sum(line.retried for line in lines) > 0
        and sum(line.rescued for line in lines) > 0,
        orders_written=written,
        orders_committed=lines[0].orders,
        orders_rolled_back=rolled_back,
        lines=lines,
        example=example[0] if example else 0,
    )


def show(result: DayResult, console: Console) -> None:
    table = Table(
        title=f"{result.orders_written} orders written: {result.orders_committed} committed,"
        f" {result.orders_rolled_back} rolled back",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=0,
    )
    table.add_column()
    for line in result.lines:
        table.add_column(f"{line.task}\n{COLUMNS[line.task]}", justify="right")
    for label, field in ROWS:
        table.add_row(label, *(str(getattr(line, field)) for line in result.lines))
    table.add_row("", *("[green]proven[/]" if line.proven else "[red]NOT PROVEN[/]" for line in result.lines))
    console.print(table)
    console.print(NOTES.format(example=result.example), highlight=False, markup=False)
