"""The pages of queues: all queues, and one queue with its jobs, limits and workers."""

from __future__ import annotations

from collections.abc import Iterable

from pgqueue.database import statements
from pgqueue.database.statements import JobFilter
from pgqueue.database.statements.queues import QueueCount
from pgqueue.database.statements.stats import QueueDrain
from pgqueue.errors import QueueNotFoundError
from pgqueue.model.names import check_name
from pgqueue.ui.reading import jobs as jobs_page
from pgqueue.ui.reading.asked import Asked, path_to
from pgqueue.ui.reading.limits import limit_rows
from pgqueue.ui.reading.page import Action, Block, Column, Count, Notice, Page, Row, Table, Tile, Tiles
from pgqueue.ui.reading.reader import Reader, shown
from pgqueue.ui.reading.stats import charts

UNFINISHED = ("running", "pending", "retrying", "waiting")
MOST = 500  # queues on one page

COLUMNS = (
    Column("queue", "Queue", "code", "/queues/{queue}"),
    Column("state", "State", "flag"),
    Column("due", "Due", "count"),
    Column("running", "Running", "number"),
    Column("scheduled", "Scheduled", "count"),
    Column("waiting", "Waiting", "count"),
    Column("oldest_due", "Oldest due", "duration"),
    Column("workers", "Workers", "number"),
)


async def queues(reader: Reader, asked: Asked) -> Page:
    counting = statements.count_queues()
    found = await reader.ask(counting)
    part = asked.query.get("q", "").strip().lower()
    matching = [queue for queue in found if part in queue.queue.lower()]
    table = Table(
        name="queues", title="Queues", columns=COLUMNS, rows=queue_rows(matching[:MOST]),
        empty="No queue matches." if part else "No queue has been used yet. The first enqueue makes its queue.",
        query=shown(counting, "pgq queues list"),
        note=f"The first {MOST} of {len(matching):,} queues. Search for a part of a name." if len(matching) > MOST else None,
    )  # fmt: skip
    return Page(
        name="queues", title="Queues", path=path_to("queues"), blocks=[table], search=asked.query.get("q", "")
    )


def queue_rows(found: Iterable[QueueCount]) -> list[Row]:
    return [
        {
            "id": queue.queue,
            "queue": queue.queue,
            "state": state_of(queue),
            "due": Count(queue.due, queue.is_exact),
            "running": queue.running,
            "scheduled": Count(queue.scheduled, queue.is_exact),
            "waiting": Count(queue.waiting, queue.is_exact),
            "oldest_due": queue.oldest_due,
            "workers": queue.workers,
        }
        for queue in found
    ]


def state_of(queue: QueueCount) -> str | None:
    if queue.paused:
        return "paused"
    return "no worker" if queue.due and not queue.workers else None


async def queue(reader: Reader, asked: Asked) -> Page:
    name = asked.path["queue"]
    check_name("queue", name)
    counting = statements.count_queues()
    found = next((one for one in await reader.ask(counting) if one.queue == name), None)
    listing = statements.list_job_rows(JobFilter(queue=name, states=[*UNFINISHED]), count=20)
    listed = await reader.ask(listing)
    if found is None:
        raise QueueNotFoundError(f"There is no queue {name!r}.", do="See all queues on the page Queues.")
    limits = await reader.ask(statements.list_limits())
    draining = statements.estimate_drain(queue=name)
    drain = next(iter(await reader.ask(draining)), None)
    blocks: list[Block] = []
    if state_of(found) == "no worker":
        blocks.append(
            Notice(
                "error",
                "Jobs are due, but no worker serves this queue.",
                f"pgq work -A your_module -Q {name}",
            )
        )
    blocks += [
        Tiles(
            name="counts", title="Jobs now", query=shown(counting, "pgq queues list"),
            items=[
                Tile("due", "Due", Count(found.due, found.is_exact), state="pending"),
                Tile("running", "Running", Count(found.running), state="running"),
                Tile("scheduled", "Scheduled", Count(found.scheduled, found.is_exact), state="scheduled"),
                Tile("waiting", "Waiting", Count(found.waiting, found.is_exact), state="waiting"),
                Tile("oldest_due", "Oldest due", found.oldest_due, "duration"),
                Tile("drain", "Empty in", drain.seconds if drain else None, "duration", hint=_trend(drain)),
                Tile("workers", "Workers", Count(found.workers), to=path_to("workers")),
            ],
        ),
        *await charts(reader, asked.now, queue=name),
        Table(
            name="jobs", title="Unfinished jobs", columns=jobs_page.COLUMNS, rows=[jobs_page.row_of(job) for job in listed],
            empty="No job of this queue is unfinished.", query=shown(listing, f"pgq jobs list --queue {name}"),
            older=path_to("jobs", q=f"state:{','.join(UNFINISHED)} queue:{name}") if len(listed) == 20 else None, selects=jobs_page.actions_for(UNFINISHED),
        ),
        Table(
            name="limits", title="Limits", columns=LIMIT_COLUMNS, empty="No limit applies to this queue alone.",
            rows=limit_rows(limit for limit in limits if limit.queue == name), query=shown(statements.list_limits(), "pgq limits list"),
        ),
    ]  # fmt: skip
    actions = [Action("resume", {"queue": name}) if found.paused else Action("pause", {"queue": name})]
    return Page(
        name="queue", title=name, path=path_to("queues", name), blocks=blocks, above=("Queues", path_to("queues")),
        actions=actions, state="paused" if found.paused else None,
    )  # fmt: skip


def _trend(drain: QueueDrain | None) -> str:
    """Returns in words how the queue goes, from the rates of the last minutes."""
    if drain is None:
        return "no job is due"
    rates = (
        f"{drain.started_per_second or 0:,.3g} start and {drain.arrived_per_second or 0:,.3g} arrive a second"
    )
    return {"empty": "no job is due", "idle": "no job was started lately", "unknown": "not measured yet"}.get(
        drain.trend, rates
    )


LIMIT_COLUMNS = (
    Column("id", "Limit", "id", "/limits/{id}"),
    Column("of", "Applies to"),
    Column("rule", "Allows"),
    Column("taken", "Taken", "number"),
    Column("state", "State", "flag"),
)
