"""The page of one job: where it stands and why, what happened to it, what it was given and what it returned."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pgqueue.config import secret_names
from pgqueue.database import statements
from pgqueue.database.statements.decoding import plain
from pgqueue.database.statements.jobs import TimelineEntry, Why
from pgqueue.errors import JobNotFoundError
from pgqueue.model.job import FINAL, Job
from pgqueue.model.redaction import masked_value
from pgqueue.model.steps import named
from pgqueue.ui.reading.asked import Asked, path_to
from pgqueue.ui.reading.jobs import said
from pgqueue.ui.reading.page import (
    Action,
    Block,
    Column,
    Document,
    Fact,
    Facts,
    Notice,
    Page,
    Row,
    Table,
)
from pgqueue.ui.reading.reader import Reader, shown

LINES = 200  # kept log lines that the page shows


async def job(reader: Reader, asked: Asked) -> Page:
    number = asked.id("job", "job")
    found, secrets = await reader.ask(statements.get_job_and_secrets(number)) or (None, frozenset[str]())
    reason = await reader.ask(statements.why_shown(number)) if found is None or not found.is_final else None
    if found is None:
        error = JobNotFoundError(number)
        if reason is not None:
            error.what, error.why, error.do = reason.sentence, "", reason.do or ""
        raise error
    blocks: list[Block] = []
    if reason is not None and reason.reason != "running":
        blocks.append(Notice("warn" if reason.do else "info", reason.sentence, reason.do))
    blocks += [
        Facts(
            name="job", title="Job", items=_facts(found, reason), query=shown(statements.get_job(number), f"pgq jobs show {number}")
        ),
        await _timeline(reader, number),
        *_documents(found),
        *await _steps(reader, number, secrets),
        *await _lines(reader, number),
        *await _together(reader, number),
    ]  # fmt: skip
    return Page(
        name="job", title=f"Job {number}", path=path_to("jobs", number), blocks=blocks, above=("Jobs", path_to("jobs")),
        actions=_actions(found), state=found.state, subtitle=found.task,
    )  # fmt: skip


def _documents(found: Job) -> list[Document]:
    """Returns what the job was given, what it returned, and how it failed."""
    whole = path_to("jobs", found.id, format="json")
    made = [
        Document(name="args", title="Arguments", value=found.args, whole=whole),
        Document(name="error", title="Last error", text=found.last_error, whole=whole),
        Document(name="traceback", title="Traceback", text=found.last_traceback, is_open=False, whole=whole),
        Document(name="result", title="Result", value=found.result, whole=whole),
        Document(name="meta", title="Meta", value=found.meta or None, is_open=False, whole=whole),
    ]
    return [one for one in made if one.text or one.value is not None]


async def _steps(reader: Reader, number: int, secrets: frozenset[str]) -> list[Table]:
    loading = statements.load_checkpoints([number])
    steps = (await reader.ask(loading))[number]
    if not steps:
        return []
    names = secret_names()
    return [
        Table(
            name="steps", title="Steps done", empty="", query=shown(loading, f"pgq jobs steps {number}"),
            columns=(Column("name", "Step", "code"), Column("kind", "Kind"), Column("at", "When", "time"), Column("value", "Value", "json")),
            rows=[
                {"name": named(one.step_id), "kind": one.kind, "at": one.at, "value": masked_value(plain(one.value), secrets, names)}
                for one in steps
            ],
        )
    ]  # fmt: skip


async def _lines(reader: Reader, number: int) -> list[Table]:
    keeping = statements.list_job_lines(number, count=LINES)
    lines = await reader.ask(keeping)
    if not lines:
        return []
    return [
        Table(
            name="lines", title="Log lines", empty="", query=shown(keeping, f"pgq jobs show {number} --logs"),
            columns=(
                Column("at", "When", "time"), Column("attempt", "Attempt", "number"), Column("level", "Level"), Column("text", "Line", "text"),
                Column("logger", "Logger", "code"),
            ),
            rows=[{"at": one.at, "attempt": one.attempt, "level": one.level, "text": one.text, "logger": one.logger} for one in lines],
            note=f"The first {LINES} lines." if len(lines) == LINES else None,
        )
    ]  # fmt: skip


TIMELINE = (
    Column("at", "When", "time"),
    Column("after", "After", "duration"),
    Column("state", "Became", "state"),
    Column("reason", "Because"),
    Column("attempt", "Attempt", "number"),
    Column("worker_id", "Worker", "id", "/workers/{worker_id}"),
    Column("host", "Host", "code"),
    Column("error", "Error", "text"),
)


async def _timeline(reader: Reader, number: int) -> Table:
    listing = statements.list_timeline(number)
    timeline = await reader.ask(listing)
    return Table(
        name="timeline", title="What happened", columns=TIMELINE, rows=_events(timeline), empty="Nothing is known.",
        query=shown(listing, f"pgq jobs show {number}"),
    )  # fmt: skip


def _events(timeline: Sequence[TimelineEntry]) -> list[Row]:
    rows: list[Row] = []
    before: datetime | None = None
    for entry in timeline:
        rows.append(
            {
                "at": entry.at,
                "after": (entry.at - before).total_seconds() if entry.at and before else None,
                "state": entry.to_state,
                "reason": entry.reason,
                "attempt": entry.attempt or None,
                "worker_id": entry.worker_id,
                "host": entry.host,
                "error": entry.error.split("\n", 1)[0][:300] if entry.error else None,
            }
        )
        before = entry.at or before
    return rows


def _facts(found: Job, reason: Why | None) -> list[Fact]:
    took = (
        (found.finished_at - found.started_at).total_seconds()
        if found.finished_at and found.started_at
        else None
    )
    items = [
        Fact("state", "State", found.state, "state"),
        Fact("progress", "Progress", said(found) if found.progressed else None),
        Fact("task", "Task", found.task, "code", path_to("jobs", q=f"task:{found.task}")),
        Fact("queue", "Queue", found.queue, "code", path_to("queues", found.queue)),
        Fact("priority", "Priority", found.priority, "number"),
        Fact("attempt", "Attempt", f"{found.attempt} of {found.max_attempts}"),
        Fact("created_at", "Enqueued", found.created_at, "time"),
        Fact("run_at", "Due", found.run_at if found.state in ("pending", "retrying") else None, "time"),
        Fact("started_at", "Last started", found.started_at, "time"),
        Fact("finished_at", "Ended", found.finished_at, "time"),
        Fact("took", "Last attempt took", took, "duration"),
        Fact("worker_id", "Worker", found.worker_id, "id", path_to("workers", found.worker_id) if found.worker_id else None),
        Fact("unique_key", "Unique key", found.unique_key, "code"),
        Fact("concurrency_key", "Concurrency key", found.concurrency_key, "code",
             path_to("jobs", q=f'key:"{found.concurrency_key}"') if found.concurrency_key else None),
        Fact("tags", "Tags", list(found.tags) or None, "list"),
        Fact("timeout", "Timeout", found.timeout, "duration"),
        Fact("expires_at", "Expires", found.expires_at, "time"),
        Fact("deadline_at", "Deadline", found.deadline_at, "time"),
        Fact("crash_count", "Crashes of its worker", found.crash_count or None, "number"),
        Fact("version", "Version of its checkpoints", found.version, "number"),
        Fact("ahead", "Jobs ahead of it", reason.ahead if reason else None, "number"),
        Fact("cancel_requested", "Asked to stop", "yes" if found.cancel_requested and not found.is_final else None),
    ]  # fmt: skip
    return [item for item in items if item.value is not None]


def _actions(found: Job) -> list[Action]:
    fields = {"id": str(found.id)}
    actions: list[Action] = []
    if found.state in ("dead", "cancelled"):
        actions.append(Action("retry", fields))
    if found.state in ("pending", "retrying"):
        actions.append(Action("run_now", fields))
        actions.append(Action("edit", fields))
    if found.state not in FINAL:
        actions.append(Action("cancel", fields))
    if found.state != "running":
        actions.append(Action("delete", fields))
    return actions


async def _together(reader: Reader, number: int) -> list[Table]:
    gathering = statements.list_together(number)
    together = await reader.ask(gathering)
    is_split = any(one.committed_at for one in together)
    if len(together) < 2 and not is_split:
        return []
    waits = (
        (
            Column("to_commit", "From enqueue to commit", "duration"),
            Column("to_claim", "From commit to last claim", "duration"),
        )
        if is_split
        else (Column("waited", "From enqueue to last claim", "duration"),)
    )
    return [
        Table(
            name="together", title="Enqueued by the same transaction", empty="", query=shown(gathering),
            columns=(
                Column("id", "Job", "id", "/jobs/{id}"), Column("state", "State", "state"), Column("task", "Task", "code"),
                Column("queue", "Queue", "code", "/queues/{queue}"), *waits,
            ),
            rows=[
                {"id": one.id, "state": one.state, "task": one.task, "queue": one.queue,
                 "waited": _seconds(one.created_at, one.started_at),
                 "to_commit": _seconds(one.created_at, one.committed_at), "to_claim": _seconds(one.committed_at, one.started_at)}
                for one in together
            ],
            note=None if is_split else "Workers see a job when its transaction commits. The server shows when that was if its setting "
            "track_commit_timestamp is on.",
        )
    ]  # fmt: skip


def _seconds(begun: datetime | None, ended: datetime | None) -> float | None:
    return None if begun is None or ended is None else (ended - begun).total_seconds()
