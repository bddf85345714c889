"""The pages of errors: failures in groups of one origin, and one group with its newest failures."""

from __future__ import annotations

from pgqueue.database import statements
from pgqueue.database.statements.errors import ErrorGroup
from pgqueue.errors import ErrorGroupNotFoundError
from pgqueue.text.counted import count
from pgqueue.ui.reading.asked import Asked, path_to
from pgqueue.ui.reading.page import (
    Action,
    Block,
    Column,
    Count,
    Document,
    Fact,
    Facts,
    Notice,
    Page,
    Row,
    Table,
)
from pgqueue.ui.reading.reader import Reader, shown

READ = 2000  # failures that a page reads; `pgq errors list` reads more
GROUPS = 50


async def errors(reader: Reader, _asked: Asked) -> Page:
    statement = statements.list_errors(count=GROUPS, most=READ)
    found = await reader.ask(statement)
    table = Table(
        name="errors", title="Errors", query=shown(statement, "pgq errors list"), rows=[_row(one) for one in found],
        empty="No attempt has failed in the last seven days.", note=_note(found),
        columns=(
            Column("origin", "Origin", "text", "/errors/{fingerprint}"), Column("error", "Newest error", "text"),
            Column("in_hour", "1 h", "count"), Column("in_day", "24 h", "count"), Column("in_week", "7 d", "count"),
            Column("dead", "Dead now", "number"), Column("tasks", "Tasks", "list"), Column("last_at", "Last", "time"),
            Column("first_at", "First", "time"),
        ),
    )  # fmt: skip
    return Page(name="errors", title="Errors", path=path_to("errors"), blocks=[table])


def _note(found: list[ErrorGroup]) -> str | None:
    since = next((one.read_since for one in found if one.read_since is not None), None)
    if since is None:
        return None
    return f"Only the newest {READ:,} failures were read, those since {since:%Y-%m-%d %H:%M} UTC. Numbers of longer times can be larger."


def _row(one: ErrorGroup) -> Row:
    is_exact = one.read_since is None
    return {
        "fingerprint": one.fingerprint,
        "origin": one.origin,
        "error": one.error.split("\n", 1)[0][:200],
        "in_hour": Count(one.in_hour, is_exact),
        "in_day": Count(one.in_day, is_exact),
        "in_week": Count(one.in_week, is_exact),
        "dead": one.dead,
        "tasks": one.tasks,
        "last_at": one.last_at,
        "first_at": one.first_at,
    }


async def error(reader: Reader, asked: Asked) -> Page:
    fingerprint = asked.path["fingerprint"]
    statement = statements.list_errors(fingerprint, most=READ)
    found = await reader.ask(statement)
    if not found:
        raise ErrorGroupNotFoundError(
            f"There is no error {fingerprint[:40]!r}.", do="See all errors on the page Errors."
        )
    [one] = found
    listing = statements.list_failures(fingerprint, count=20, most=READ)
    failures = await reader.ask(listing)
    blocks: list[Block] = []
    if one.dead:
        blocks.append(
            Notice(
                "warn", f"{count(one.dead, 'job')} with this error {'is' if one.dead == 1 else 'are'} dead."
            )
        )
    blocks += [
        Facts(
            name="error", title="Error", query=shown(statement, f"pgq errors show {fingerprint}"),
            items=[
                Fact("origin", "Origin", one.origin),
                Fact("in_hour", "In the last hour", one.in_hour, "number"),
                Fact("in_day", "In 24 hours", one.in_day, "number"),
                Fact("in_week", "In 7 days", one.in_week, "number"),
                Fact("dead", "Dead jobs now", one.dead, "number"),
                Fact("first_at", "First", one.first_at, "time"),
                Fact("last_at", "Last", one.last_at, "time"),
                Fact("tasks", "Tasks", one.tasks, "list"),
                Fact("queues", "Queues", one.queues, "list"),
            ],
        ),
        Document(name="newest", title="Newest traceback", text=next((each.traceback for each in failures if each.traceback), None) or one.error),
        Table(
            name="failures", title="Newest failures", empty="None was found.", query=shown(listing, f"pgq errors show {fingerprint}"),
            columns=(
                Column("at", "When", "time"), Column("job_id", "Job", "id", "/jobs/{job_id}"), Column("to_state", "Became", "state"),
                Column("error", "Error", "text"),
            ),
            rows=[
                {"at": each.at, "job_id": each.job_id, "to_state": each.to_state, "error": each.error.split("\n", 1)[0][:300]} for each in failures
            ],
        ),
    ]  # fmt: skip
    retry = Action("retry", {"fingerprint": fingerprint}, "Retry dead jobs")
    return Page(
        name="error", title=one.origin, path=path_to("errors", fingerprint), blocks=blocks, above=("Errors", path_to("errors")),
        actions=[retry] if one.dead else [], subtitle=fingerprint,
    )  # fmt: skip
