"""Stores batches for tests, runs their members by hand, and reads what became of them."""

from __future__ import annotations

from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from pgqueue.model.outcome import COMPLETED, Outcome
from tests import workflows
from tests.worker_by_hand import Hand

FOLLOW_UPS = {
    name: {"task": "t", "args": {"follow_up": name}} for name in ("on_success", "on_failure", "on_end")
}
# For each row: what is wrong with a batch. In a quiet database all of these are empty.
INVARIANTS = {
    "a batch has ended although a part is open, or is open although it is sealed and no part is": """
        select w.id from pgqueue.workflows w
        where w.kind = 'batch' and (w.ended_at is not null) is distinct from (
            w.sealed_at is not null
            and not exists (select from pgqueue.nodes n where n.workflow_id = w.id and n.members is not null and n.state is null))""",
    "a batch that ended lacks a follow-up job, or has one of the other kind that it never had a reason for": """
        select w.id, f.name from pgqueue.workflows w
        cross join lateral (select exists (select from pgqueue.nodes n where n.workflow_id = w.id and n.state = 'dead' and n.members > 0)) b (bad)
        cross join lateral (values ('on_success', not b.bad), ('on_failure', b.bad), ('on_end', true)) f (name, due)
        where w.ended_at is not null and w.stop_reason is null and w.follow_ups ? f.name and f.due
          and not exists (select from pgqueue.nodes n where n.workflow_id = w.id and n.name = f.name)""",
    "a part has another size than its number of members": """
        select n.id from pgqueue.nodes n
        where n.members is not null
          and n.members <> (select count(*) from pgqueue.dependencies d where d.node_id = n.id)""",
    "a part is larger than 1,000 members": "select n.id from pgqueue.nodes n where n.members not between 0 and 1000",
    "an edge leads to a smaller id": "select d.on_id from pgqueue.dependencies d where d.on_id >= d.node_id",
    "a member of a batch with at_once has another key": """
        select j.id from pgqueue.jobs j join pgqueue.nodes n on n.id = j.id join pgqueue.workflows w on w.id = n.workflow_id
        where w.at_once is not null and n.rank is null and j.concurrency_key is distinct from 'pgqueue.batch.' || w.id""",
}  # fmt: skip


def items(count: int, task: str = "t", **options: Any) -> list[dict[str, Any]]:
    """Returns one item for ``count`` members, whose argument ``n`` counts from 0."""
    return [{"task": task, "each": [{"n": n} for n in range(count)], **options}]


def store(db: Connection[Any], count: int = 0, *, name: str = "import", **options: Any) -> int:
    """Stores a batch of ``count`` members, and returns its id. It is sealed unless ``open`` is true."""
    return store_row(db, {"name": name, "jobs": items(count) if count else [], **options})[0]


def store_row(db: Connection[Any], batch: Any) -> tuple[int, bool, list[int]]:
    [stored] = db.execute("select id, created, job_ids from pgqueue.enqueue_batch(%s)", [Jsonb(batch)])
    return stored


def add(
    db: Connection[Any], batch: int, jobs: int | list[dict[str, Any]] = 1, member: int | None = None
) -> list[int]:
    given = items(jobs) if isinstance(jobs, int) else jobs
    [(ids,)] = db.execute("select pgqueue.add_to_batch(%s, %s, %s)", [batch, Jsonb(given), member])
    return list(ids)


def seal(db: Connection[Any], batch: int) -> str:
    [(said,)] = db.execute("select pgqueue.seal_batch(%s)", [batch])
    return str(said)


def cancel(db: Connection[Any], batch: int) -> str | None:
    [(said,)] = db.execute("select pgqueue.cancel_workflow(%s)", [batch])
    return None if said is None else str(said)


def retry(db: Connection[Any], batch: int) -> int:
    [(retried,)] = db.execute("select pgqueue.retry_workflow(%s)", [batch])
    return int(retried)


def run_all(hand: Hand, outcome: Outcome = COMPLETED, count: int = 10_000) -> list[str]:
    """Runs all due jobs, and those that become due. Returns the names of the follow-up jobs that ran."""
    ran = []
    while claimed := hand.claim(count):
        for attempt in claimed:
            follow_up = attempt.job().args.get("follow_up")
            if follow_up is not None:
                ran.append(str(follow_up))
            assert hand.settle(attempt, COMPLETED if follow_up else outcome)
    return ran


def overview(db: Connection[Any], batch: int, columns: str = "state") -> Any:
    [found] = db.execute(f"select {columns} from pgqueue.batch_overview where id = %s".encode(), [batch])
    return found[0] if len(found) == 1 else found


def counts(db: Connection[Any], batch: int) -> tuple[int, int, int, int]:
    """Returns how many jobs the batch has, and how many of them are unfinished, completed and failed."""
    found: tuple[int, int, int, int] = overview(db, batch, "jobs, unfinished, completed, failed")
    return found


def follow_ups(db: Connection[Any], batch: int) -> list[str]:
    """Returns the names of the follow-up jobs that were stored, in order."""
    rows = db.execute(
        "select name from pgqueue.nodes where workflow_id = %s and rank is not null order by rank", [batch]
    )
    return [name for (name,) in rows]


def violations(db: Connection[Any]) -> dict[str, list[Any]]:
    found = {what: db.execute(query.encode()).fetchall() for what, query in INVARIANTS.items()}
    return {**workflows.violations(db), **{what: rows for what, rows in found.items() if rows}}
