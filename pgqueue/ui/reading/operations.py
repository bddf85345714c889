"""The pages about the whole: alerts, tasks, and the health of the database."""

from __future__ import annotations

from pgqueue.config import secret_names
from pgqueue.database import statements
from pgqueue.model.redaction import redacted
from pgqueue.ui.reading.asked import Asked, path_to
from pgqueue.ui.reading.page import Action, Block, Column, Fact, Facts, Notice, Page, Table
from pgqueue.ui.reading.reader import Reader, shown

CLAIM_PER_DEAD_ENTRY = 1e-6  # seconds; measured


async def alerts(reader: Reader, asked: Asked) -> Page:
    resolved = asked.query.get("all") == "1"
    statement = statements.list_alerts(resolved)
    table = Table(
        name="alerts", title="Alerts", query=shown(statement, "pgq alerts list" + (" --all" if resolved else "")),
        empty="No alert is open." if not resolved else "There was no alert yet.",
        columns=(
            Column("id", "Alert", "id"), Column("state", "State", "flag"), Column("kind", "Kind"), Column("text", "What", "text"),
            Column("queue", "Queue", "code", "/queues/{queue}"), Column("job_id", "Job", "id", "/jobs/{job_id}"), Column("count", "Times", "number"),
            Column("first_at", "First", "time"), Column("last_at", "Last", "time"), Column("sent_at", "Sent", "time"),
        ),
        rows=[
            {"id": one.id, "state": "resolved" if one.resolved_at else "muted" if one.muted_until else "open", "kind": one.kind, "text": one.text,
             "queue": one.queue, "job_id": one.job_id, "count": one.count, "first_at": one.first_at, "last_at": one.last_at, "sent_at": one.sent_at}
            for one in await reader.ask(statement)
        ],
        older=None if resolved else path_to("alerts", all=1), note=None if resolved else "The next page also lists resolved alerts.",
        selects=[Action("resolve_alert")],
    )  # fmt: skip
    return Page(name="alerts", title="Alerts", path=path_to("alerts"), blocks=[table])


async def tasks(reader: Reader, _asked: Asked) -> Page:
    statement = statements.list_tasks()
    table = Table(
        name="tasks", title="Tasks", query=shown(statement, "pgq tasks list"),
        empty="No worker has declared a task yet. A worker declares the tasks of its app when it starts.",
        columns=(
            Column("name", "Task", "code", "/jobs?q=task:{name}"), Column("app", "App", "code"), Column("workers", "Workers", "number"),
            Column("keep", "Keeps", "text"), Column("options", "Options", "json"), Column("seen_at", "Declared", "time"),
        ),
        rows=[
            {"name": one.name, "app": one.app, "workers": one.workers, "keep": one.keep, "options": redacted(one.options, (), secret_names()) or None, "seen_at": one.seen_at}
            for one in await reader.ask(statement)
        ],
    )  # fmt: skip
    return Page(name="tasks", title="Tasks", path=path_to("tasks"), blocks=[table])


async def database(reader: Reader, _asked: Asked) -> Page:
    describing = statements.describe_server()
    server = await reader.ask(describing)
    storing = statements.measure_storage()
    storage = await reader.ask(storing)
    holding = statements.find_old_snapshots()
    snapshots = await reader.ask(holding)
    blocking = statements.list_lockers()
    lockers = await reader.ask(blocking)
    measuring = statements.measure_tables()
    blocks: list[Block] = []
    for one in snapshots:
        who = f"The {one.kind} {one.name}" + (f" ({one.application})" if one.application else "")
        since = f" for {one.age:,.0f} s" if one.age else f" for {one.transactions:,} transactions"
        do = f"select pg_terminate_backend({one.pid})" if one.kind == "session" else None
        blocks.append(Notice("warn", f"{who} keeps vacuum from removing dead rows{since}.", do))
    if not storage.vacuumed:
        blocks.append(
            Notice("error", "Autovacuum is off for the table of unfinished jobs.", "Turn autovacuum on.")
        )
    blocks += [
        Facts(
            name="server", title="Server", query=shown(describing),
            items=[
                Fact("version", "PostgreSQL", f"{server.version // 10_000}.{server.version % 10_000}"),
                Fact("database", "Database", server.database, "code"),
                Fact("user", "Role", server.user, "code"),
                Fact("in_recovery", "Standby", "yes" if server.in_recovery else "no"),
                Fact("claim_cost", "Cost of dead rows for a claim", storage.dead * CLAIM_PER_DEAD_ENTRY, "duration"),
            ],
        ),
        Table(
            name="tables", title="Tables", empty="pgqueue has no tables here.", query=shown(measuring, "pgq doctor"),
            columns=(
                Column("name", "Table", "code"), Column("parts", "Parts", "number"), Column("table", "Size", "size"),
                Column("indexes", "Indexes", "size"), Column("live", "Rows", "number"), Column("dead", "Dead rows", "number"),
                Column("vacuumed_at", "Vacuumed", "time"), Column("analyzed_at", "Analyzed", "time"),
            ),
            rows=[
                {"name": one.name, "parts": one.parts, "table": one.table, "indexes": one.indexes, "live": one.live, "dead": one.dead,
                 "vacuumed_at": one.vacuumed_at, "analyzed_at": one.analyzed_at}
                for one in await reader.ask(measuring)
            ],
            note="Numbers of rows are estimates of the server.",
        ),
        Table(
            name="lockers", title="Who locks pgqueue's tables", empty="No transaction keeps a lock that matters.", query=shown(blocking),
            columns=(
                Column("pid", "Session", "id"), Column("user", "Role", "code"), Column("application", "Application", "code"),
                Column("state", "State"), Column("age", "For", "duration"), Column("table", "Table", "code"),
            ),
            rows=[
                {"pid": one.pid, "user": one.user, "application": one.application, "state": one.state, "age": one.age, "table": one.table}
                for one in lockers
            ],
        ),
    ]  # fmt: skip
    return Page(name="database", title="Database", path=path_to("database"), blocks=blocks)
