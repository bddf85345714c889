"""The pages of limits: all limits, and one limit with the jobs that have its seats and the jobs that wait for them."""

from __future__ import annotations

from collections.abc import Iterable

from pgqueue.database import statements
from pgqueue.database.statements.limits import Limit
from pgqueue.errors import LimitNotFoundError
from pgqueue.text.times import exact
from pgqueue.ui.reading.asked import Asked, path_to
from pgqueue.ui.reading.page import Action, Column, Fact, Facts, Page, Row, Table
from pgqueue.ui.reading.reader import Reader, shown

COLUMNS = (
    Column("id", "Limit", "id", "/limits/{id}"),
    Column("of", "Applies to"),
    Column("rule", "Allows"),
    Column("taken", "Taken", "number"),
    Column("use", "Use", "share"),
    Column("state", "State", "flag"),
    Column("free_at", "Free", "time"),
)


async def limits(reader: Reader, _asked: Asked) -> Page:
    statement = statements.list_limits()
    table = Table(
        name="limits", title="Limits", columns=COLUMNS, rows=limit_rows(await reader.ask(statement)),
        empty="No limit is set. Example: pgq limits set --queue mail --concurrency 5", query=shown(statement, "pgq limits list"),
    )  # fmt: skip
    return Page(name="limits", title="Limits", path=path_to("limits"), blocks=[table])


async def limit(reader: Reader, asked: Asked) -> Page:
    number = asked.id("limit", "limit")
    found = next((one for one in await reader.ask(statements.list_limits()) if one.id == number), None)
    if found is None:
        raise LimitNotFoundError(number)
    [row] = limit_rows([found])
    rules = Facts(
        name="limit", title="Rule", query=shown(statements.list_limits(), "pgq limits list"),
        items=[
            Fact("of", "Applies to", row["of"]),
            Fact("rule", "Allows", row["rule"]),
            Fact("taken", "Taken now", found.taken, "number"),
            Fact("full_keys", "Keys that have used it up", found.full_keys, "number"),
            Fact("free_at", "Free again", found.free_at, "time"),
        ],
    )  # fmt: skip
    actions = [
        Action("set_limit", {"limit": str(number)}),
        Action("remove_limit", {"limit": str(number)}),
    ]
    return Page(
        name="limit", title=f"Limit {number}", path=path_to("limits", number), above=("Limits", path_to("limits")), actions=actions,
        blocks=[rules, await _holders(reader, number), await _waiting(reader, number), await _seats(reader, number)],
        subtitle=f"{row['rule']} for {row['of']}",
    )  # fmt: skip


async def _holders(reader: Reader, number: int) -> Table:
    holders = statements.list_holders(number)
    return Table(
        name="holders", title="Who has its seats", empty="No running job has a seat.", query=shown(holders),
        columns=(
            Column("id", "Job", "id", "/jobs/{id}"), Column("task", "Task", "code"), Column("queue", "Queue", "code", "/queues/{queue}"),
            Column("concurrency_key", "Key", "code"), Column("weight", "Seats", "number"), Column("started_at", "Since", "time"),
            Column("worker_id", "Worker", "id", "/workers/{worker_id}"),
        ),
        rows=[
            {"id": one.id, "task": one.task, "queue": one.queue, "concurrency_key": one.concurrency_key, "weight": one.weight,
             "started_at": one.started_at, "worker_id": one.worker_id}
            for one in await reader.ask(holders)
        ],
    )  # fmt: skip


async def _waiting(reader: Reader, number: int) -> Table:
    waiting = statements.list_waiting(number)
    return Table(
        name="waiting", title="What waits for it", empty="No due job waits for this limit.", query=shown(waiting),
        columns=(
            Column("id", "Job", "id", "/jobs/{id}"), Column("task", "Task", "code"), Column("queue", "Queue", "code", "/queues/{queue}"),
            Column("concurrency_key", "Key", "code"), Column("priority", "Priority", "number"), Column("run_at", "Due", "time"),
        ),
        rows=[
            {"id": one.id, "task": one.task, "queue": one.queue, "concurrency_key": one.concurrency_key, "priority": one.priority,
             "run_at": one.run_at}
            for one in await reader.ask(waiting)
        ],
    )  # fmt: skip


async def _seats(reader: Reader, number: int) -> Table:
    seats = statements.list_seats(number)
    return Table(
        name="seats", title="Keys", empty="No job has taken a seat yet.", query=shown(seats),
        columns=(
            Column("key", "Key", "code"), Column("taken", "Taken", "number"), Column("full_at", "Full since", "time"),
            Column("free_at", "Rate free", "time"),
        ),
        rows=[
            {"key": one.key or "(all)", "taken": one.taken, "full_at": one.full_at, "free_at": one.free_at}
            for one in await reader.ask(seats)
        ],
    )  # fmt: skip


def limit_rows(found: Iterable[Limit]) -> list[Row]:
    return [
        {
            "id": one.id,
            "of": scope(one),
            "rule": rule(one),
            "taken": one.taken,
            "use": one.taken / one.concurrency if one.concurrency and not one.per_key else None,
            "state": _state(one),
            "free_at": one.free_at,
        }
        for one in found
    ]


def scope(one: Limit) -> str:
    """Returns to which jobs a limit applies, such as ``queue mail, each key``."""
    parts = [f"queue {one.queue}" if one.queue else "", f"task {one.task}" if one.task else ""]
    parts.append(f"key {one.key}" if one.key else "each key" if one.per_key else "")
    return ", ".join(filter(None, parts)) or "all jobs"


def rule(one: Limit) -> str:
    """Returns what a limit allows, such as ``5 at once, 100 in 1 m``."""
    parts = []
    if one.concurrency is not None:
        parts.append(f"{one.concurrency:,} at once")
    if one.rate is not None:
        window = " in any" if one.sliding else " in"
        parts.append(
            f"{one.rate:,}{window} {exact(one.period or 0)}"
            + (f", {one.burst:,} together" if one.burst else "")
        )
    if one.share is not None:
        parts.append(f"share {one.share}")
    return ", ".join(parts)


def _state(one: Limit) -> str | None:
    if one.per_key:
        return f"{one.full_keys:,} keys full" if one.full_keys else None
    return "full" if one.full_keys else None
