"""The page of all jobs: a search, a page of rows, and what can be done with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from shlex import quote

from pgqueue.database import statements
from pgqueue.database.statements import JobFilter
from pgqueue.database.statements.actions import ABLE, JobAction
from pgqueue.database.statements.jobs import JobRow
from pgqueue.model.job import STATES, Job
from pgqueue.ui.reading.asked import Asked, path_to
from pgqueue.ui.reading.page import Action, Block, Column, Notice, Page, Row, Tab, Table
from pgqueue.ui.reading.reader import Reader, shown
from pgqueue.ui.reading.search import Search, read, written
from pgqueue.ui.reading.written import cell

ROWS = 50
# A search that few jobs match reads at most this many ids for one page. So a page costs the same, however many jobs there are.
REACH = 200_000

COLUMNS = (
    Column("id", "Job", "id", "/jobs/{id}"),
    Column("state", "State", "state"),
    Column("task", "Task", "code", "/jobs?q=task:{task}"),
    Column("queue", "Queue", "code", "/queues/{queue}"),
    Column("attempt", "Attempt", "text"),
    Column("at", "When", "time"),
    Column("took", "Took", "duration"),
    Column("said", "Note", "text"),
)
ACTIONS: tuple[JobAction, ...] = ("retry", "run_now", "cancel", "delete")


async def jobs(reader: Reader, asked: Asked) -> Page:
    text = asked.query.get("q", "")
    search = read(text, asked.now)
    blocks: list[Block] = [Notice("warn", problem) for problem in search.problems]
    if search.problems:  # a list without the part that was not understood would be of other jobs than those that were asked for
        blocks.append(
            Table(
                name="jobs",
                title="Jobs",
                columns=COLUMNS,
                rows=[],
                empty="Nothing was searched. Correct the search.",
            )
        )
    elif search.job_id is not None:
        blocks.append(await _one(reader, search.job_id))
    else:
        blocks.append(await _found(reader, asked, text, search))
    return Page(
        name="jobs", title="Jobs", path=path_to("jobs", q=text or None), blocks=blocks, search=text, tabs=_tabs(search),
        is_unclear=bool(search.problems),
    )  # fmt: skip


def actions_for(states: Sequence[str] | None) -> list[Action]:
    """Returns the actions that can change jobs in one of these states. None: jobs in any state."""
    return [Action(word) for word in ACTIONS if states is None or set(ABLE[word]) & set(states)]


def _tabs(search: Search) -> list[Tab]:
    """Returns a view for each state, with the rest of the search."""
    rest = replace(search.which, states=None)

    def tab(head: str, states: list[str] | None, state: str | None = None) -> Tab:
        text = written(replace(rest, states=states))
        return Tab(
            head,
            path_to("jobs", q=text or None),
            search.job_id is None and search.which.states == states,
            state,
        )

    return [tab("All", None), *(tab(state.capitalize(), [state], state) for state in STATES)]


async def _one(reader: Reader, job_id: int) -> Table:
    statement = statements.list_job_rows(before=job_id + 1, floor=job_id, count=1)
    found = await reader.ask(statement)
    return Table(
        name="jobs", title="Jobs", columns=COLUMNS, rows=[row_of(one) for one in found],
        empty=f"There is no job {job_id}. Its transaction is open or was rolled back, or its retention is over.",
        query=shown(statement, f"pgq jobs show {job_id}"),
    )  # fmt: skip


async def _found(reader: Reader, asked: Asked, text: str, search: Search) -> Table:
    before = asked.number("before")
    floor = await _floor(reader, search, before)
    statement = statements.list_job_rows(search.which, before=before, floor=floor, count=ROWS)
    found = await reader.ask(statement)
    older = note = None
    if len(found) == ROWS:
        older = path_to("jobs", q=text or None, before=found[-1].job.id)
    elif floor is not None and floor > 1:
        older = path_to("jobs", q=text or None, before=floor)
        note = f"The search has looked at the jobs from {floor:,} on. Older jobs are on the next page."
    return Table(
        name="jobs", title="Jobs", columns=COLUMNS, rows=[row_of(one) for one in found], empty=_empty(search, note),
        query=shown(statement, _command(search.which)), older=older, note=note,
        newest=path_to("jobs", q=text or None) if before else None, selects=actions_for(search.which.states),
    )  # fmt: skip


async def _floor(reader: Reader, search: Search, before: int | None) -> int | None:
    if not search.is_narrow:
        return None
    if before is None:
        newest = await reader.ask(statements.list_job_rows(count=1))
        before = newest[0].job.id if newest else 1
    return max(before - REACH, 1)


def _empty(search: Search, note: str | None) -> str:
    if note:
        return "No job matches so far."
    return "No job matches." if search.is_narrow or search.which.states else "There is no job yet."


def _command(which: JobFilter) -> str:
    """Returns the command that lists the same jobs, as far as it has an option for each part."""
    options = {
        "--queue": which.queue, "--task": which.task, "--tag": which.tag, "--error": which.error, "--args": which.args,
        "--unique-key": which.unique_key, "--idempotency-key": which.idempotency_key, "--concurrency-key": which.concurrency_key,
    }  # fmt: skip
    parts = [f"--state {state}" for state in which.states or ()]
    parts += [f"{option} {quote(value)}" for option, value in options.items() if value is not None]
    return " ".join(["pgq jobs list", *parts])


def row_of(listed: JobRow) -> Row:
    """Returns a job as a row of a table. ``at`` is the time that matters in its state.

    ``said`` is its error or how far it has come and, if its documents are large, their size.
    """
    job = listed.job
    size = None if listed.unread is None else f"{cell(listed.unread, 'size')} of stored documents"
    ended = job.finished_at
    took = None
    if ended is not None and job.started_at is not None:
        took = (ended - job.started_at).total_seconds()
    return {
        "id": job.id,
        "state": job.state,
        "task": job.task,
        "queue": job.queue,
        "attempt": f"{job.attempt} of {job.max_attempts}",
        "at": ended or (job.started_at if job.state == "running" else job.run_at),
        "took": took,
        "said": ", ".join(filter(None, (said(job), size))) or None,
        "tags": list(job.tags),
    }


def said(job: Job) -> str | None:
    if job.state in ("dead", "retrying", "cancelled") and job.last_error:
        return job.last_error.split("\n", 1)[0][:200]
    if isinstance(job.progressed, dict) and isinstance(job.progressed.get("done"), int | float):
        done, total = job.progressed["done"], job.progressed.get("total")
        share = f"{100 * done / total:.0f} %" if isinstance(total, int | float) and total else f"{done:,}"
        message = job.progressed.get("message")
        return f"{share} {message}" if message else share
    return None
