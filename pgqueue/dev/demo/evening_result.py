"""Reads the result of the second act with ``evening_proof.sql``, and shows it as a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files

import psycopg
from psycopg.rows import class_row
from rich import box
from rich.console import Console
from rich.table import Table

from pgqueue.dev.demo.large_orders import APPROVED_FROM

LABELS = {
    "workflow": "workflows ended rightly",
    "reserve": "CDs reserved",
    "charge": "cards charged",
    "ship": "parcels shipped",
    "refund": "charges refunded (undo)",
    "release": "CDs released (undo)",
}
# How many steps of a job were stored under its first lease, and how many under later ones.
STEPS = """
SELECT count(*) FILTER (WHERE lease_id = first), count(*) FILTER (WHERE lease_id > first)
FROM (SELECT lease_id, min(lease_id) OVER () AS first FROM pgqueue.steps WHERE job_id = %s) AS step
"""
# The workflow that had the most to undo: its card was charged, but its parcel could not be shipped.
UNDONE = """
SELECT j.workflow_id FROM pgqueue.jobs AS j
WHERE j.task = 'demo.orders.refund' AND j.created_at >= %s AND j.state = 'completed' ORDER BY j.id LIMIT 1
"""
NOTES = """\
The killed worker had stored {before} steps of order {order}. Another worker did the
other {after}, and none twice: a step's rows and its checkpoint are one commit.

Look for yourself:
  SELECT name, key, at, lease_id FROM pgqueue.steps WHERE job_id = {job};
  SELECT name, state, completed, undone_at FROM pgqueue.workflow_overview;
"""


@dataclass(frozen=True, slots=True)
class Effect:
    """The result for one kind of effect: a row of ``evening_proof.sql``. ``surplus``: effects that happened, but must not have happened."""

    effect: str
    expected: int
    happened: int
    missing: int
    surplus: int
    proven: bool


@dataclass(frozen=True, slots=True)
class EveningResult:
    """``ok``: every effect is proven, and two workers did the steps of one job."""

    ok: bool
    effects: tuple[Effect, ...]
    order: int  # the order whose worker was killed
    job: int  # its job
    steps_before: int  # how many steps this job had stored when its worker was killed
    steps_after: int  # how many steps another worker did
    undone: int | None  # the id of the workflow that had the most to undo


def prove(conn: psycopg.Connection, since: datetime, *, order: int, job: int) -> EveningResult:
    query = files("pgqueue.dev.demo").joinpath("evening_proof.sql").read_bytes()
    with conn.cursor(row_factory=class_row(Effect)) as cursor:
        effects = tuple(cursor.execute(query, {"since": since, "approved_from": APPROVED_FROM}))
    before, after = conn.execute(STEPS, (job,)).fetchone() or (0, 0)
    undone = conn.execute(UNDONE, (since,)).fetchone()
    return EveningResult(
        ok=all(effect.proven for effect in effects) and before > 0 and after > 0,
        effects=effects,
        order=order,
        job=job,
        steps_before=before,
        steps_after=after,
        undone=undone[0] if undone else None,
    )


def show(result: EveningResult, console: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    table.add_column()
    for heading in ("must be", "happened", "missing", "too many", ""):
        table.add_column(heading.rjust(10), justify="right")
    for line in result.effects:
        numbers = (line.expected, line.happened, line.missing, line.surplus)
        proven = "[green]proven[/]" if line.proven else "[red]NOT PROVEN[/]"
        table.add_row(LABELS[line.effect], *map(str, numbers), proven)
    console.print(table)
    notes = NOTES.format(
        before=result.steps_before, after=result.steps_after, order=result.order, job=result.job
    )
    console.print(notes, highlight=False, markup=False)
