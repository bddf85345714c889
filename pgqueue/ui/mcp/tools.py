"""The tools: pages of the read model, and three actions on jobs. The docstring of a tool is what agents read about it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict
from typing import Annotated, Any, ClassVar, Literal

from psycopg import AsyncConnection
from pydantic import Field

from pgqueue.database import statements
from pgqueue.database.statements import Who
from pgqueue.database.statements.actions import JobAction
from pgqueue.ui.acting.operations import Action, Changed, Operation
from pgqueue.ui.acting.performing import perform_async
from pgqueue.ui.mcp.answers import answer, of_page
from pgqueue.ui.mcp.connections import Connections
from pgqueue.ui.reading.asked import Asked
from pgqueue.ui.reading.documents import plain
from pgqueue.ui.reading.pages import PAGES

MAKERS = {page.name: page.make for page in PAGES}
Tool = Callable[..., Coroutine[Any, Any, str]]

Id = Annotated[int, Field(ge=1, lt=2**63)]
Search = Annotated[
    str,
    Field(
        max_length=400,
        description="Qualifiers with spaces between them, such as: state:dead queue:mail task:send_invoice since:2h tag:x"
        ' error:"timed out" args.order.id:42. A word alone is a part of a task\'s name. States: pending, running, retrying, waiting,'
        " completed, dead, cancelled. Empty: all jobs.",
    ),
]
Before = Annotated[
    int | None, Field(ge=1, lt=2**63, description="Only rows with a smaller id, as `next` says.")
]
Name = Annotated[str | None, Field(max_length=200)]
Jobs = Annotated[list[Id], Field(min_length=1, max_length=50, description="The ids of 1 to 50 jobs.")]


class Readings:
    """The tools that only read. Each makes one page in a read-only transaction."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def tools(self) -> tuple[Tool, ...]:
        return (
            self.list_jobs, self.show_job, self.why, self.queues, self.workers, self.stats, self.errors, self.audit,
        )  # fmt: skip

    async def list_jobs(self, search: Search = "", before: Before = None) -> str:
        """List jobs that match a search, the newest first, 50 at a time. `next` has the arguments for older jobs."""
        return await self._page("jobs", query={"q": search, "before": before})

    async def show_job(self, job_id: Id) -> str:
        """Show one job: its state, each attempt with its error, arguments, result and steps. Secret values are masked."""
        return await self._page("job", {"job": job_id})

    async def why(self, job_id: Id) -> str:
        """Say why a job does not run, in a sentence, with what helps."""
        async with self._connections.reading() as reader:
            found = await reader.ask(statements.why_shown(job_id))
        return answer({name: plain(value) for name, value in asdict(found).items()})

    async def queues(self, name: Name = None) -> str:
        """List all queues with their numbers of jobs, or show one queue with its jobs, limits and workers."""
        return await self._page("queues") if name is None else await self._page("queue", {"queue": name})

    async def workers(self, worker_id: Id | None = None, ended: bool = False) -> str:
        """List workers (with `ended`: also those that have ended), or show one worker with the jobs that it runs."""
        if worker_id is not None:
            return await self._page("worker", {"worker": worker_id})
        return await self._page("workers", query={"all": 1 if ended else None})

    async def stats(self, window: Literal["1h", "6h", "24h", "7d", "30d"] = "1h") -> str:
        """Show how many attempts ended, how long jobs waited and ran (seconds): over time, by task and by queue."""
        return await self._page("stats", query={"window": window})

    async def errors(self, fingerprint: Name = None) -> str:
        """List the errors of the last 7 days in groups of one origin, or show one group with its newest failures."""
        if fingerprint is None:
            return await self._page("errors")
        return await self._page("error", {"fingerprint": fingerprint})

    async def audit(self, action_id: Id | None = None, before: Before = None, actor: Name = None) -> str:
        """List what operators did, the newest first (of one `actor`, if given), or show one action with its jobs."""
        if action_id is not None:
            return await self._page("action", {"action": action_id})
        return await self._page("audit", query={"before": before, "actor": actor})

    async def _page(
        self, name: str, path: Mapping[str, object] | None = None, query: Mapping[str, object] | None = None
    ) -> str:
        given = {key: str(value) for key, value in (query or {}).items() if value is not None}
        asked = Asked({key: str(value) for key, value in (path or {}).items()}, given)
        async with self._connections.reading() as reader:
            page = await MAKERS[name](reader, asked)
        return of_page(page)


class Actions:
    """The tools that change jobs. Each writes a row of the audit, by which a person can undo it."""

    NAMES: ClassVar[tuple[JobAction, ...]] = ("retry", "cancel", "run_now")

    def __init__(self, connections: Connections, who: Who) -> None:
        self._connections, self._who = connections, who

    def tools(self) -> tuple[Tool, ...]:
        return (self.retry, self.cancel, self.run_now)

    async def retry(self, job_ids: Jobs) -> str:
        """Make dead or cancelled jobs pending again, due now, with all their attempts."""
        return await self._act("retry", job_ids)

    async def cancel(self, job_ids: Jobs) -> str:
        """Cancel jobs that have not ended. The worker of a running job is asked to stop it."""
        return await self._act("cancel", job_ids)

    async def run_now(self, job_ids: Jobs) -> str:
        """Make jobs due now that are scheduled or wait for their next attempt."""
        return await self._act("run_now", job_ids)

    async def _act(self, name: JobAction, job_ids: list[int]) -> str:
        operation = Operation(Action(name=name, who=self._who, ids=job_ids))
        done: list[Changed] = []

        async def act(connection: AsyncConnection) -> None:
            async for part in perform_async(connection, operation):
                done.extend(part)

        await self._connections.act(act, operation)
        progress = operation.progress
        jobs = [
            {"id": str(one.id), "task": one.task, "state_before": one.state, "changed": one.is_done, "result": one.result} for one in done
        ]  # fmt: skip
        undo = f"pgq audit undo {progress.audit_id}" if any(one.can_be_undone for one in done) else None
        return answer({"changed": progress.changed, "jobs": jobs, "undo": undo})
