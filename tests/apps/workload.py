"""The tasks of the process tests. Some have effects in the job's own transaction, and some have other effects.

Some tasks wait at a gate: a gate is an advisory lock, which the test keeps until it lets the task go on.

``python -m tests.apps.workload NAME work …`` runs ``pgq work …`` with one statement broken on purpose. NAME is a key of ``BROKEN``.
Tests use this to prove that the checker notices such a fault.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from psycopg import AsyncConnection, Connection
from tenacity import wait_fixed

from pgqueue import App, Cancel, Dead, Job, RateLimited, RetryPolicy, sql
from pgqueue.database import link

MAILBOX = "PGQUEUE_TEST_MAILBOX"  # this environment variable contains the path of the file to which external effects are written
PATIENT = RetryPolicy(wait=wait_fixed(0.05), max_attempts=50)
EFFECT = "insert into chk.effects (op, job_id, lease_id) values (%s, %s, %s)"

app = App()


@app.task(retry=PATIENT)
async def move_async(op: int, ms: int, job: Job) -> None:
    await asyncio.sleep(ms / 1000)
    async with job.atransaction() as connection:
        await connection.execute(EFFECT, [op, job.id, job.lease_id])


@app.task(retry=PATIENT)
def move_thread(op: int, ms: int, job: Job) -> None:
    time.sleep(ms / 1000)
    with job.transaction() as connection:
        connection.execute(EFFECT, [op, job.id, job.lease_id])


@app.task(retry=PATIENT, executor="process")
def move_process(op: int, ms: int, job: Job) -> None:
    time.sleep(ms / 1000)
    with job.transaction() as connection:
        connection.execute(EFFECT, [op, job.id, job.lease_id])


@app.task(retry=PATIENT)
async def mail_async(op: int, ms: int, job: Job) -> None:
    await asyncio.sleep(ms / 1000)
    deliver(op, job)


@app.task(retry=PATIENT)
def mail_thread(op: int, ms: int, job: Job) -> None:
    time.sleep(ms / 1000)
    deliver(op, job)


@app.task(retry=PATIENT)
async def exit_once(op: int, code: int, job: Job) -> None:
    """Ends its process, but only in the first attempt."""
    if not job.crash_count:
        if code < 0:
            os.kill(os.getpid(), -code)
        os._exit(code)


BOMBS = ("exit 0", "exit 1", "SIGKILL", "SIGSEGV")


@app.task(name="bomb", retry=PATIENT)
async def bomb(how: str) -> None:
    """Kills the process that runs it."""
    if how.startswith("exit"):
        os._exit(int(how.split()[1]))
    os.kill(os.getpid(), signal.Signals[how])


# ---------------------------------------------------------------- nodes of workflows, with steps


def number(n: int) -> int:
    return n


def checked(connection: Connection[Any], job_id: int) -> int:
    connection.execute("insert into chk.step_rows (job_id, name) values (%s, 'checked')", [job_id])
    return job_id


def end(fate: str, job: Job) -> None:
    """Ends the attempt as ``fate`` says: completed, dead, cancelled, or late (the first attempt fails, later ones complete)."""
    if fate == "dead":
        raise Dead("fate")
    if fate == "cancelled":
        raise Cancel("fate")
    # A failure after a new step counts as the first attempt, so the attempt's number does not tell whether this is the first one.
    if fate == "late" and job.step("late", lambda: job.lease_id) == job.lease_id:
        raise ValueError(fate)


def take_steps(ms: int, fate: str, job: Job) -> None:
    assert job.step("number", number, ms) == ms
    time.sleep(ms / 1000)
    assert job.step_transaction("checked", checked, job.id) == job.id
    end(fate, job)


node_thread = app.task(name="node_thread", retry=PATIENT)(take_steps)
node_process = app.task(name="node_process", retry=PATIENT, executor="process")(take_steps)


async def acheck(connection: AsyncConnection[Any], job_id: int) -> int:
    await connection.execute("insert into chk.step_rows (job_id, name) values (%s, 'checked')", [job_id])
    return job_id


@app.task(name="node_async", retry=PATIENT)
async def node_async(ms: int, fate: str, job: Job) -> None:
    assert await job.astep("number", number, ms) == ms
    await asyncio.sleep(ms / 1000)
    assert await job.astep_transaction("checked", acheck, job.id) == job.id
    if fate == "late":
        if await job.astep("late", lambda: job.lease_id) == job.lease_id:
            raise ValueError(fate)
    else:
        end(fate, job)


HOARD: list[bytes] = []


@app.task(retry=PATIENT)
def hoard(op: int, megabytes: int, job: Job) -> None:
    """Leaks this many megabytes of memory."""
    HOARD.append(b"x" * (megabytes << 20))
    with job.transaction() as connection:
        connection.execute(EFFECT, [op, job.id, job.lease_id])


@app.task(name="keyed", retry=PATIENT)
async def keyed(kind: str, key: str, n: int, job: Job) -> None:
    """For tests of keys: writes a row with an argument of the job, in the transaction that completes the job."""
    async with job.atransaction() as connection:
        await connection.execute("insert into chk.keyed (job_id, n) values (%s, %s)", [job.id, n])


@app.task(name="nothing")
async def nothing(op: int) -> None:
    """For tests that count statements: the handler itself sends none."""


@app.task(name="rest")
async def rest(ms: int) -> None:
    await asyncio.sleep(ms / 1000)


@app.task(name="nap")
async def nap(ms: int) -> None:
    await asyncio.sleep(ms / 1000)


@app.task(name="falter", retry=PATIENT)
async def falter(ms: int, job: Job) -> None:
    """Of three jobs, one fails once and one fails twice. Then they complete."""
    await asyncio.sleep(ms / 1000)
    if job.attempt <= job.id % 3:
        raise ValueError(job.attempt)


@app.task(name="ask", retry=PATIENT)
async def ask(ms: int, job: Job) -> None:
    """Acts as if it called a service with a rate limit: every fifth job raises RateLimited in its first attempt."""
    await asyncio.sleep(ms / 1000)
    if job.id % 5 == 1:
        async with await AsyncConnection.connect(app.dsn, autocommit=True) as own:
            before = await own.execute(
                "select from pgqueue.transitions where job_id = %s and reason = 'rate_limited'", [job.id]
            )
            if await before.fetchone() is None:
                raise RateLimited(retry_after=0.5)


@app.task(name="tick")
async def tick() -> None:
    """Does nothing. Tests make schedules of this task."""


def deliver(op: int, job: Job) -> None:
    """Writes one line to the mailbox: an effect that no rollback undoes."""
    mailbox = os.open(os.environ[MAILBOX], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(mailbox, f"{op} {job.lease_id}\n".encode())
    finally:
        os.close(mailbox)


# ---------------------------------------------------------------- a gate: an advisory lock that the test holds


@app.task(retry=PATIENT)
async def hold_async(op: int, inside: bool, job: Job) -> None:
    note_run(op, job)
    if not inside and job.attempt == 1:
        async with await AsyncConnection.connect(app.dsn, autocommit=True) as own:
            await own.execute("select pg_advisory_lock_shared(%s)", [op])
    async with job.atransaction() as connection:
        await connection.execute(EFFECT, [op, job.id, job.lease_id])
        if inside and job.attempt == 1:
            await connection.execute("select pg_advisory_xact_lock_shared(%s)", [op])


def hold(op: int, inside: bool, job: Job) -> None:
    note_run(op, job)
    if not inside and job.attempt == 1:
        with psycopg.connect(app.dsn, autocommit=True) as own:
            own.execute("select pg_advisory_lock_shared(%s)", [op])
    with job.transaction() as connection:
        connection.execute(EFFECT, [op, job.id, job.lease_id])
        if inside and job.attempt == 1:
            connection.execute("select pg_advisory_xact_lock_shared(%s)", [op])


hold_thread = app.task(name="hold_thread", retry=PATIENT)(hold)
hold_process = app.task(name="hold_process", retry=PATIENT, executor="process")(hold)


@app.task(name="linger", retry=PATIENT)
def linger(op: int, job: Job) -> None:
    """Waits, inside the transaction of each attempt, for the advisory lock with the attempt's number. No interruption ends this wait."""

    def wait() -> None:
        with job.transaction() as connection:
            connection.execute(EFFECT, [op, job.id, job.lease_id])
            connection.execute("select pg_advisory_xact_lock_shared(%s)", [job.attempt])

    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(wait).result()
    finally:
        with psycopg.connect(app.dsn) as own:
            own.execute("insert into chk.ends (op, pid) values (%s, %s)", [op, os.getpid()])


def note_run(op: int, job: Job) -> None:
    with psycopg.connect(app.dsn) as own:
        own.execute(
            "insert into chk.runs (op, job_id, lease_id, pid) values (%s, %s, %s, %s)",
            [op, job.id, job.lease_id, os.getpid()],
        )


def running_at_gate(db: Connection[Any], op: int) -> bool:
    """Returns whether a handler waits at this gate, which is a lock that the test holds."""
    row = db.execute(
        "select exists (select from pg_locks where locktype = 'advisory' and not granted"
        " and database = (select oid from pg_database where datname = current_database()) and objid = %s)",
        [op],
    ).fetchone()
    return bool(row and row[0])


# ---------------------------------------------------------------- statements broken on purpose


def without(*pieces: tuple[str, str]) -> Callable[[str], str]:
    """Returns a function that replaces all text that the patterns match. A pattern matches a condition with any aliases and any layout."""

    def broken(text: str) -> str:
        for pattern, instead in pieces:
            text, count = re.subn(pattern, instead, text)
            assert count, f"the statement has nothing like {pattern!r}"
        return text

    return broken


IS = r"\s+(?:=|operator\s*\(pg_catalog\.=\)|is not distinct from)\s+"
LEASE = (r"\sand\s+\(?\w+\.lease_id" + IS + r"[^\n]+\n", "\n")
FENCE = (r"\w+\.worker_id" + IS + r"%\(worker_id\)s::bigint", "true")
RUNNING = (r"\sand\s+\w+\.state" + IS + "'running'", "")
BROKEN: dict[str, tuple[str, Callable[[str], str]]] = {
    "settle_without_lease": ("complete", without(LEASE, FENCE)),
    "settle_without_fence": ("complete", without(LEASE, FENCE, RUNNING)),
    "rescue_without_expiry": ("rescue", without((r"\w+\.expires_at\s*<=?\s*clock_timestamp\(\)", "true"))),
    "claim_without_lock": (
        "claim",
        without(
            (r"for update[\w ]*skip locked", ""),
            (r"(\w+)\.ctid as spot", r"\1.id as spot"),
            (r"where j\.ctid\b", "where j.id"),
        ),
    ),
    "claim_of_running": ("claim", without((r"'pending', 'retrying'", "'pending', 'retrying', 'running'"))),
}


def broken_text(name: str) -> tuple[str, str]:
    """Returns two values: the name of the statement, and its broken text."""
    statement, breaking = BROKEN[name]
    return statement, breaking(sql.load(statement))


def lose_the_answer(name: str) -> None:
    """Makes the answer to this statement get lost, once: closes the connection after the first commit of the statement that returned rows."""
    run_async: Any = link.run_async
    lost: list[object] = []

    async def run_and_lose(connection: Any, statement: Any) -> Any:
        answer = await run_async(connection, statement)
        if statement.name == name and answer and not lost:
            lost.append(answer)
            await connection.close()
            raise psycopg.OperationalError("the answer is lost")
        return answer

    link.run_async = run_and_lose


def main() -> None:
    from pgqueue.database.statements import decoding
    from pgqueue.ui.cli import main as pgq

    broken = sys.argv.pop(1)
    if broken.startswith("lose_the_answer_to_"):
        lose_the_answer(broken.removeprefix("lose_the_answer_to_"))
        pgq()
    statement, text = broken_text(broken)
    load: Any = sql.load
    decoding.load = lambda name: text if name == statement else load(name)  # type: ignore[attr-defined]
    pgq()


if __name__ == "__main__":
    main()
