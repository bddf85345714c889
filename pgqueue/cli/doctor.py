"""``pgq doctor``: what is wrong, and what to do about it. Exit 7 if anything is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from typing import Any

import typer
from psycopg import Connection

from pgqueue import migrate, statements
from pgqueue.cli.common import AsJson, Dsn, dsn_or_running
from pgqueue.cli.output import as_dict, console, emit, span
from pgqueue.config import redact
from pgqueue.database import connect, run
from pgqueue.errors import DatabaseError

CHECK_FAILED = 7


@dataclass(frozen=True, slots=True)
class Finding:
    """``level``: ok, warn or fail."""

    level: str
    what: str
    do: str = ""


def add(cli: typer.Typer) -> None:
    cli.command("doctor")(doctor)


def doctor(as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Check the database, the schema, the queues and the workers."""
    target = dsn_or_running(dsn)
    with connect(target, name="pgq doctor") as connection:
        findings = list(examine(connection, target))
    bad = any(finding.level == "fail" for finding in findings)
    if as_json:
        emit({"ok": not bad, "findings": [as_dict(finding) for finding in findings]})
    else:
        styles = {"ok": "green", "warn": "yellow", "fail": "red"}
        for finding in findings:
            console().print(f"[{styles[finding.level]}]{finding.level:<5}[/] ", end="")
            print(finding.what + (f"\n        do: {finding.do}" if finding.do else ""))
    raise typer.Exit(CHECK_FAILED if bad else 0)


def examine(connection: Connection[Any], target: str) -> Iterator[Finding]:
    """The checks, from the ground up; the rest makes no sense once the schema is not there."""
    server = run(connection, statements.describe_server())
    yield Finding(
        "ok",
        f"{redact(target)}: PostgreSQL {server.version // 10_000}.{server.version % 10_000}, role {server.user}",
    )
    owners = sorted(
        {
            d.name
            for d in distributions()
            for e in d.entry_points
            if e.group == "console_scripts" and e.name == "pgq"
        }
    )
    if len(owners) > 1:
        yield Finding(
            "warn",
            f"Several installed packages own the command pgq: {', '.join(owners)}.",
            "use `pgqueue` instead of `pgq`",
        )
    try:
        migrate.check_server(connection)
    except DatabaseError as error:
        yield Finding("fail", f"{error.code}  {error.what}", error.do)
        return
    different = migrate.differences(connection)
    if different:
        yield Finding("fail", "; ".join(different), "pgq migrate")
    else:
        yield Finding("ok", f"schema {migrate.HEAD}, SQL API of this version")
    yield from _workers(connection)
    for queue in run(connection, statements.list_queues()):
        if queue.paused and queue.due:
            yield Finding(
                "warn",
                f"Queue {queue.queue} is paused with {queue.due} due jobs.",
                f"pgq queues resume {queue.queue}",
            )
        if queue.dead:
            yield Finding(
                "warn",
                f"Queue {queue.queue} has {queue.dead} dead letters.",
                f"pgq jobs list --state dead --queue {queue.queue}",
            )
    for gap in run(connection, statements.unserved()):
        why = "no living worker knows this task" if gap.queue_served else "no living worker serves this queue"
        yield Finding(
            "fail" if gap.age > 3600 else "warn",
            f"{gap.count} due jobs of task {gap.task} in queue {gap.queue} are left alone, the oldest for {span(gap.age)}: {why}.",
            "start a worker whose app declares it" if gap.queue_served else f"pgq work -Q {gap.queue}",
        )
    snapshot = run(connection, statements.oldest_snapshot())
    if snapshot is not None:
        yield Finding(
            "warn",
            f"Session {snapshot.pid} ({snapshot.user}, {snapshot.application or 'no name'}, {snapshot.state}) has held a"
            f" snapshot for {span(snapshot.age)}: dead rows cannot be removed meanwhile.",
            f"end its transaction, or: select pg_terminate_backend({snapshot.pid})",
        )


def _workers(connection: Connection[Any]) -> Iterator[Finding]:
    found = run(connection, statements.list_workers(False))
    alive = [worker for worker in found if worker.state != "expired"]
    yield Finding(
        "ok" if alive else "warn", f"{len(alive)} workers alive", "" if alive else "pgq work -A module:app"
    )
    for worker in found:
        if worker.state == "expired":
            yield Finding(
                "warn",
                f"Worker {worker.id} ({worker.host}, pid {worker.pid}) lost its lease and holds {worker.running} jobs.",
                "a living worker rescues them within seconds",
            )
