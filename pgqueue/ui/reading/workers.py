"""The pages of workers: all workers, and one worker with the jobs that it runs."""

from __future__ import annotations

from itertools import repeat

from pgqueue.database import statements
from pgqueue.database.statements import JobFilter
from pgqueue.database.statements.queues import WorkerRow
from pgqueue.errors import WorkerNotFoundError
from pgqueue.ui.reading import jobs as jobs_page
from pgqueue.ui.reading.asked import Asked, path_to
from pgqueue.ui.reading.page import Block, Column, Fact, Facts, Notice, Page, Row, Table
from pgqueue.ui.reading.reader import Reader, shown

COLUMNS = (
    Column("id", "Worker", "id", "/workers/{id}"),
    Column("state", "State", "flag"),
    Column("host", "Host", "code"),
    Column("pid", "PID", "id"),
    Column("queues", "Queues", "list"),
    Column("running", "Running", "number"),
    Column("slots", "Slots", "number"),
    Column("use", "Use", "share"),
    Column("heartbeat_at", "Heartbeat", "time"),
    Column("app_version", "Version", "code"),
)


async def workers(reader: Reader, asked: Asked) -> Page:
    ended = asked.query.get("all") == "1"
    statement = statements.list_workers(ended)
    found = await reader.ask(statement)
    table = Table(
        name="workers", title="Workers", columns=COLUMNS, rows=[worker_row(worker) for worker in found],
        empty="No worker runs. Start one: pgq work -A your_module", query=shown(statement, "pgq workers list" + (" --all" if ended else "")),
        older=None if ended else path_to("workers", all=1), note=None if ended else "The next page also lists workers that have ended.",
    )  # fmt: skip
    return Page(name="workers", title="Workers", path=path_to("workers"), blocks=[table])


async def worker(reader: Reader, asked: Asked) -> Page:
    number = asked.id("worker", "worker")
    found = next((one for one in await reader.ask(statements.list_workers(True)) if one.id == number), None)
    if found is None:
        raise WorkerNotFoundError(number)
    listing = statements.list_job_rows(JobFilter(worker_id=number, states=["running"]), count=200)
    listed = await reader.ask(listing)
    blocks: list[Block] = []
    if found.blocked_since:
        jobs = ", ".join(map(str, found.blocked_by or []))
        blocks.append(
            Notice("error", f"A handler blocks the worker's loop{f': job {jobs}' if jobs else ''}.",
                   "Move blocking calls to a plain def task, which runs on a thread.")
        )  # fmt: skip
    blocks += [
        Facts(
            name="worker", title="Worker", query=shown(statements.list_workers(True), "pgq workers list --all"),
            items=[
                Fact("host", "Host", found.host, "code"),
                Fact("pid", "Process", found.pid, "id"),
                Fact("executor", "Executor", found.executor, "code"),
                Fact("slots", "Slots", found.slots, "number"),
                Fact("queues", "Queues", _served(found), "list"),
                Fact("app_version", "Version of the app", found.app_version, "code"),
                Fact("version", "Version of pgqueue", found.version, "code"),
                Fact("started_at", "Started", found.started_at, "time"),
                Fact("heartbeat_at", "Last heartbeat", found.heartbeat_at, "time"),
                Fact("expires_at", "Lease until", found.expires_at, "time"),
            ],
        ),
        Table(
            name="jobs", title="Running jobs", columns=jobs_page.COLUMNS, rows=[jobs_page.row_of(job) for job in listed],
            empty="It runs no job now.", query=shown(listing, "pgq jobs list --state running"),
        ),
    ]  # fmt: skip
    return Page(
        name="worker", title=f"Worker {number}", path=path_to("workers", number), blocks=blocks,
        above=("Workers", path_to("workers")), state=state_of(found), subtitle=f"process {found.pid} on {found.host}",
    )  # fmt: skip


def worker_row(worker: WorkerRow) -> Row:
    return {
        "id": worker.id,
        "state": state_of(worker),
        "host": worker.host,
        "pid": worker.pid,
        "queues": _served(worker),
        "running": worker.running,
        "slots": worker.slots,
        "use": worker.running / worker.slots if worker.slots else None,
        "heartbeat_at": worker.heartbeat_at,
        "app_version": worker.app_version,
    }


def state_of(worker: WorkerRow) -> str:
    return "blocked" if worker.blocked_since and worker.state in ("running", "draining") else worker.state


def _served(worker: WorkerRow) -> list[str]:
    return [
        name if slots is None else f"{name}: {taken} of {slots}"
        for name, slots, taken in zip(
            worker.queues,
            worker.queue_slots or repeat(None),
            worker.queue_taken or repeat(None),
            strict=False,
        )
    ]
