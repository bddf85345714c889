"""``pgq doctor`` lists problems, with a remedy for each. If it finds an error, it exits with 7, so it can be used as a health check."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from typing import Annotated

import typer
from psycopg import Connection

from pgqueue.database import migrate, statements
from pgqueue.database.dsn import redact
from pgqueue.database.run import connect, run
from pgqueue.database.statements.server import Snapshot
from pgqueue.database.statements.workflows import HaltedNode
from pgqueue.errors import DatabaseError
from pgqueue.maintenance import indexes
from pgqueue.text.counted import count
from pgqueue.text.times import exact, since, span
from pgqueue.ui.cli.common import AsJson, Dsn, dsn_or_running
from pgqueue.ui.cli.output import as_dict, console, emit, paragraph, tell
from pgqueue.ui.cli.unserved import unserved

CHECK_FAILED = 7
# A claim that begins at the start of a lane takes about this many seconds for each dead index entry that vacuum has not removed yet. This
# was measured.
SECONDS_A_DEAD_ENTRY = 1e-6


@dataclass(frozen=True, slots=True)
class Finding:
    """``level``: ok, warn (a person must check this) or error (jobs do not run, or will soon not run)."""

    level: str
    what: str
    do: str = ""


def add(cli: typer.Typer) -> None:
    cli.command("doctor")(doctor)


def doctor(
    strict: Annotated[bool, typer.Option("--strict", help="Exit 7 if there is a warning, too.")] = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Check the database, the schema, the queues and the workers. Exit 7 if there is an error."""
    target = dsn_or_running(dsn)
    with connect(target, name="pgq doctor") as connection:
        findings = list(examine(connection, target))
    bad = {"error", "warn"} if strict else {"error"}
    ok = not any(finding.level in bad for finding in findings)
    if as_json:
        emit({"ok": ok, "findings": [as_dict(finding) for finding in findings]})
    else:
        styles = {"ok": "green", "warn": "yellow", "error": "red"}
        for finding in findings:
            head = f"{finding.level:<5} "
            console().print(head, style=styles[finding.level], end="")
            print(paragraph(head, finding.what, sys.stdout).removeprefix(head))
            if finding.do:
                tell(finding.do, "        do: ")
    raise typer.Exit(0 if ok else CHECK_FAILED)


def examine(connection: Connection, target: str) -> Iterator[Finding]:
    """Makes all checks, and yields their findings. If pgqueue's schema is missing or has a wrong version, the later checks are left out."""
    server = run(connection, statements.describe_server())
    yield Finding(
        "ok",
        f"{redact(target)}: PostgreSQL {server.version // 10_000}.{server.version % 10_000}, role {server.user}",
    )
    yield from _command()
    try:
        migrate.check_server(connection)
    except DatabaseError as error:
        yield Finding("error", f"{error.code}  {error.what}", error.do)
        return
    for check in (
        _schema,
        _workers,
        _queues,
        _unserved,
        _schedules,
        _storage,
        _partitions,
        _workflows,
        _waits,
    ):
        yield from check(connection)


def _command() -> Iterator[Finding]:
    owners = sorted({
        found.name
        for found in distributions()
        for entry in found.entry_points
        if entry.group == "console_scripts" and entry.name == "pgq"
    })  # fmt: skip
    if len(owners) > 1:
        yield Finding(
            "warn",
            f"Several installed packages own the command pgq: {', '.join(owners)}.",
            "use `pgqueue` instead of `pgq`",
        )


def _schema(connection: Connection) -> Iterator[Finding]:
    different = migrate.differences(connection)
    if different:
        yield Finding("error", "; ".join(different), "pgq migrate")
    else:
        yield Finding("ok", f"schema {migrate.HEAD}, SQL API of this version")
    if behind := migrate.check_ids(connection):
        yield Finding("error", f"{behind.code}  {behind.what}", behind.do)


def _queues(connection: Connection) -> Iterator[Finding]:
    for queue in run(connection, statements.list_queues()):
        if queue.paused and queue.due:
            yield Finding(
                "warn",
                f"Queue {queue.queue} is paused with {count(queue.due, 'due job')}.",
                f"pgq queues resume {queue.queue}",
            )
        if queue.dead:
            yield Finding(
                "warn",
                f"Queue {queue.queue} has {count(queue.dead, 'dead letter')}.",
                f"pgq jobs list --state dead --queue {queue.queue}",
            )


def _unserved(connection: Connection) -> Iterator[Finding]:
    for gap in run(connection, statements.find_unserved()):
        yield Finding("error", *unserved(gap))


def _schedules(connection: Connection) -> Iterator[Finding]:
    for row in run(connection, statements.list_schedules()):
        if row.problem:
            name = row.schedule.name
            yield Finding("warn", f"Schedule {name} cannot run: {row.problem}", f"pgq cron edit {name}")
    for name in run(connection, statements.list_shared_names()):
        yield Finding(
            "warn",
            f"Several apps with schedules are named {name}. If the code of one of these apps drops a schedule, the schedule can"
            " stay in the database.",
            "give each app a name of its own: App(name=...)",
        )


def _workers(connection: Connection) -> Iterator[Finding]:
    found = run(connection, statements.list_workers(False))
    alive = [worker for worker in found if worker.state != "expired"]
    yield Finding(
        "ok" if alive else "warn",
        f"{count(len(alive), 'worker')} alive",
        "" if alive else "pgq work -A module:app",
    )
    for worker in found:
        if worker.state == "expired":
            yield Finding(
                "warn",
                f"Worker {worker.id} ({worker.host}, pid {worker.pid}) lost its lease and still has {count(worker.running, 'job')}.",
                "a living worker rescues them within seconds",
            )
        elif worker.blocked_since is not None:
            jobs = ", ".join(map(str, worker.blocked_by or []))
            yield Finding(
                "warn",
                f"The loop of worker {worker.id} ({worker.host}, pid {worker.pid}) has been blocked for {span(since(worker.blocked_since))}"
                + (f" by job {jobs}" if jobs else "") + f". Meanwhile its {count(worker.running, 'job')} cannot go on.",
                "define the handler that blocks the loop by def instead of async def, or give its task"
                ' executor="process"; the worker\'s log shows the stack of the handler',
            )  # fmt: skip


def _storage(connection: Connection) -> Iterator[Finding]:
    """Finds indexes that need a rebuild, and all that prevents vacuum from removing dead rows: settings, sessions, transactions, slots."""
    storage = run(connection, statements.measure_storage())
    if not storage.vacuumed:
        yield Finding(
            "error",
            "Autovacuum is off, so dead rows of jobs_live are never removed.",
            "alter system set autovacuum = on; alter system set track_counts = on;"
            " alter table pgqueue.jobs_live reset (autovacuum_enabled)",
        )
    holders = run(connection, statements.find_old_snapshots())
    for holder in holders:
        yield Finding("warn", _snapshot(holder), _remedy(holder))
    if any(holder.kind != "catalog slot" for holder in holders):
        yield Finding(
            "warn",
            f"Meanwhile vacuum cannot remove the dead rows of jobs_live, about {storage.dead:,} beside {storage.live:,} live"
            f" rows. The table takes {_megabytes(storage.table)}, its claim index {_megabytes(storage.claim_index)}. A"
            f" claim from the beginning of a lane takes about {exact(round(storage.dead * SECONDS_A_DEAD_ENTRY, 3))}.",
            "end the oldest of the sessions, transactions and slots above; then vacuum and the leader remove the rest",
        )
    for fault in run(connection, statements.check_indexes(indexes.SMALLEST_OUTGROWN)):
        if fault.fault == "outgrown":
            what = f"Index {fault.name} has outgrown its rows: {_megabytes(fault.size)} for {fault.live:,} live rows."
        else:
            what = f"Index {fault.name} is invalid: a rebuild was interrupted and left it. It slows down every write."
        yield Finding(
            "warn", what, ("the leader rebuilds it within minutes, or: " if fault.may_rebuild else "let its owner run: ")
            + indexes.command(fault),
        )  # fmt: skip


def _snapshot(holder: Snapshot) -> str:
    age = f"for {span(holder.age)}" if holder.age is not None else f"for {holder.transactions:,} transactions"
    if holder.kind == "session":
        parts = [holder.user, holder.application or "no name", holder.state]
        query = f", last query: {holder.query}" if holder.query else ""
        return f"Session {holder.name} ({', '.join(filter(None, parts))}) has held a snapshot {age}{query}"
    if holder.kind == "standby":
        return f"Standby {holder.application or holder.name} (walsender {holder.pid}) has held a snapshot by hot_standby_feedback {age}."
    if holder.kind == "prepared transaction":
        return f"Prepared transaction {holder.name!r} of {holder.user} has been open {age}."
    rows = "dead rows of the system catalogs" if holder.kind == "catalog slot" else "dead rows"
    return f"Replication slot {holder.name!r} ({holder.state}) has kept {rows} {age}."


def _remedy(holder: Snapshot) -> str:
    if holder.kind == "session":
        return f"end its transaction, or: select pg_terminate_backend({holder.pid})"
    if holder.kind == "standby":
        return "end the long query on the standby, or set hot_standby_feedback = off there"
    if holder.kind == "prepared transaction":
        return f"commit prepared '{holder.name}' or rollback prepared '{holder.name}'"
    return f"let its consumer catch up, or: select pg_drop_replication_slot('{holder.name}')"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


FAULTS = {
    "missing": (
        "{0} is missing. So its rows go to the default partition, and retention has to delete them there one by one.",
        "start a worker, or: select * from pgqueue.add_partitions()",
    ),
    "detached": (
        "{0} ({1}) is detached, so queries do not find its jobs.",
        "select * from pgqueue.add_partitions() attaches it or says why it cannot; to keep it detached, move it to another schema",
    ),
    "detaching": (
        "{0} ({1}) is half detached, because a DETACH command was interrupted.",
        "select * from pgqueue.add_partitions()",
    ),
    "default": (
        "{0} holds rows ({1}), because the table of their day did not exist when the jobs ended.",
        "nothing, because retention deletes them; but if there are more rows each day, find out why workers do not make the day tables",
    ),
}


def _partitions(connection: Connection) -> Iterator[Finding]:
    for fault in run(connection, statements.check_partitions()):
        what, do = FAULTS[fault.fault]
        yield Finding("warn", what.format(f"Partition {fault.name}", _megabytes(fault.size)), do)


LOOK_AGAIN = "insert into pgqueue.unresolved (node_id) values ({0.id}); then the leader looks at it again"
START_ONE = "start a worker: pgq work -A module:app"
# By the fault of a HaltedNode: what is wrong with the node, and the remedy.
HALTED = {
    "miscounted": (
        "has wrong counters. Somebody changed rows by hand, or this is a bug of pgqueue.",
        (
            "update pgqueue.nodes set unmet = {0.unmet}, failed = {0.failed} where id = {0.id};"
            " insert into pgqueue.unresolved (node_id) values ({0.id}); then the leader looks at it again"
        ),
    ),
    "unreleased": ("does not go on, although what it waits for has ended.", LOOK_AGAIN),
    "jobless": (
        "is open, but its job is gone: somebody deleted it, or a worker of an earlier version completed it.",
        "start a worker if none runs; the leader ends such nodes within minutes",
    ),
    "refused": (
        "does not go on. {0.error}",
        "correct what raises this error, for instance a trigger on pgqueue.jobs_live; then the leader goes on within seconds",
    ),
    "left": ("was locked when it could go on, and no worker lives that looks at it again.", START_ONE),
    "stopping": (
        "is open although its workflow is being stopped, and no worker lives that ends it.",
        START_ONE,
    ),
}


def _workflows(connection: Connection) -> Iterator[Finding]:
    """Finds workflows that cannot end, because nothing ends or releases one of their nodes."""
    for node in run(connection, statements.find_halted_nodes()):
        what, do = HALTED[node.fault]
        level = "error" if node.fault in ("miscounted", "unreleased", "refused") else "warn"
        yield Finding(level, f"{_node(node)} {what.format(node)}", do.format(node))


def _node(node: HaltedNode) -> str:
    return f"Workflow {node.workflow_id} ({node.workflow}) cannot end: node {node.name} ({node.id})"


def _waits(connection: Connection) -> Iterator[Finding]:
    for found in run(connection, statements.find_late_waits()):
        jobs = count(found.jobs, "job")
        if found.kind == "late":
            what = f"The time-outs of {jobs} that wait for signals have passed, but no leader has woken the jobs."
            yield Finding("error", what, "start a worker: pgq work -A module:app")
        else:
            yield Finding(
                "warn",
                f"{jobs} waited for a signal for 30 days so far, without a time-out.",
                f"pgq why {found.job_id}; the view pgqueue.waiting lists all such jobs",
            )
