"""The first page: how many jobs are in which state, how fast they go, which queues and workers need a look."""

from __future__ import annotations

from collections.abc import Sequence

from pgqueue.database import statements
from pgqueue.database.statements.queues import QueueCount, WorkerRow
from pgqueue.model.alert import Alert
from pgqueue.sql import Statement
from pgqueue.text.counted import count
from pgqueue.text.times import span
from pgqueue.ui.reading.asked import Asked, path_to
from pgqueue.ui.reading.page import Block, Count, Notice, Page, Row, Table, Tile, Tiles
from pgqueue.ui.reading.queues import COLUMNS as QUEUE_COLUMNS
from pgqueue.ui.reading.queues import queue_rows
from pgqueue.ui.reading.reader import Reader, shown
from pgqueue.ui.reading.stats import charts
from pgqueue.ui.reading.workers import COLUMNS as WORKER_COLUMNS
from pgqueue.ui.reading.workers import worker_row

ROWS_SHOWN = 12  # of each table


async def overview(reader: Reader, asked: Asked) -> Page:
    counting = statements.count_queues()
    queues = await reader.ask(counting)
    ended = {state: Count(*found) for state, found in (await reader.ask(statements.count_ended())).items()}
    workers = await reader.ask(statements.list_workers(False))
    alerts = await reader.ask(statements.list_alerts(False, 6))
    exact = all(queue.is_exact for queue in queues)

    def total(name: str) -> Count:
        return Count(sum(getattr(queue, name) for queue in queues), exact)

    tiles = Tiles(
        name="counts", title="Jobs now", query=shown(counting, "pgq queues list"),
        items=[
            Tile("due", "Due", total("due"), to=path_to("jobs", q="state:pending,retrying"), state="pending",
                 hint=_oldest(queues)),
            Tile("running", "Running", Count(sum(queue.running for queue in queues)), to=path_to("jobs", q="state:running"),
                 state="running", hint=_slots(workers)),
            Tile("scheduled", "Scheduled", total("scheduled"), to=path_to("jobs", q="state:pending,retrying"), state="scheduled",
                 hint="due later, retries included"),
            Tile("waiting", "Waiting", total("waiting"), to=path_to("jobs", q="state:waiting"), state="waiting",
                 hint="for signals or other jobs"),
            Tile("completed", "Completed", ended["completed"], to=path_to("jobs", q="state:completed"), state="completed",
                 hint="kept until their retention ends"),
            Tile("dead", "Dead", ended["dead"], to=path_to("jobs", q="state:dead"), state="dead", hint="need a person"),
        ],
    )  # fmt: skip
    blocks: list[Block] = [*_notices(queues, workers, alerts), tiles, *await charts(reader, asked.now)]
    blocks += [_queue_table(queues, counting), _worker_table(workers)]
    return Page(name="overview", title="Overview", path="/", blocks=blocks)


def _oldest(queues: Sequence[QueueCount]) -> str:
    oldest = max((queue.oldest_due or 0 for queue in queues if queue.due and not queue.paused), default=0)
    return f"the oldest for {span(oldest)}" if oldest else "none is late"


def _slots(workers: Sequence[WorkerRow]) -> str:
    slots = sum(worker.slots for worker in workers if worker.state == "running")
    if slots:
        return f"of {count(slots, 'slot')}"
    return "all workers are quiet or stop" if _draining(workers) else "no worker runs"


def _draining(workers: Sequence[WorkerRow]) -> int:
    return sum(worker.state == "draining" for worker in workers)


def _notices(
    queues: Sequence[QueueCount], workers: Sequence[WorkerRow], alerts: Sequence[Alert]
) -> list[Notice]:
    found = [
        Notice("error" if alert.kind != "late" else "warn", alert.text, to=path_to("alerts"))
        for alert in alerts[:5]
    ]
    if not queues and not workers:
        return [
            Notice("info", "No job has been enqueued yet, and no worker runs.", "pgq work -A your_module")
        ]
    if not any(worker.state == "running" for worker in workers) and any(queue.due for queue in queues):
        quiet = _draining(workers)
        who = count(quiet, "worker is quiet or stops", "workers are quiet or stop")
        why = f"no worker takes more jobs: {who}" if quiet else "no worker runs"
        found.append(Notice("error", f"Jobs are due, but {why}.", "pgq work -A your_module"))
    told = {alert.queue for alert in alerts if alert.kind == "stalled"}
    for queue in queues:
        if workers and queue.queue not in told and queue.due and not queue.workers and not queue.paused:
            found.append(
                Notice("error", f"Queue {queue.queue} has due jobs, but no worker serves it.", f"pgq work -Q {queue.queue}",
                       path_to("queues", queue.queue))
            )  # fmt: skip
        if len(found) > 8:
            break
    return found


def _queue_table(queues: Sequence[QueueCount], counting: Statement[list[QueueCount]]) -> Table:
    busy = sorted(queues, key=lambda queue: (-(queue.due + queue.running), queue.queue))[:ROWS_SHOWN]
    return Table(
        name="queues", title="Queues", rows=queue_rows(busy), empty="No queue has been used yet.",
        columns=QUEUE_COLUMNS, query=shown(counting, "pgq queues list"),
        older=path_to("queues") if len(queues) > len(busy) else None,
        note=f"The busiest {len(busy)} of {len(queues)} queues." if len(queues) > len(busy) else None,
    )  # fmt: skip


def _worker_table(workers: Sequence[WorkerRow]) -> Table:
    rows: list[Row] = [worker_row(worker) for worker in workers[:ROWS_SHOWN]]
    return Table(
        name="workers", title="Workers", columns=WORKER_COLUMNS, rows=rows, empty="No worker runs. Start one: pgq work -A your_module",
        query=shown(statements.list_workers(False), "pgq workers list"),
        older=path_to("workers") if len(workers) > len(rows) else None,
        note=f"The first {len(rows)} of {len(workers)} workers." if len(workers) > len(rows) else None,
    )  # fmt: skip
