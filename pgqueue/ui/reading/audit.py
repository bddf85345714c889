"""The pages of the audit: who did what, how far it is, and what can be undone."""

from __future__ import annotations

from pgqueue.database import statements
from pgqueue.database.statements.actions import AuditRow
from pgqueue.errors import ActionNotFoundError
from pgqueue.model.refusal import reasons, why_refused
from pgqueue.text.counted import count
from pgqueue.ui.reading.asked import Asked, path_to
from pgqueue.ui.reading.page import Action, Block, Column, Document, Fact, Facts, Page, Row, Table
from pgqueue.ui.reading.reader import Reader, shown

ROWS = 50

COLUMNS = (
    Column("id", "Action", "id", "/audit/{id}"),
    Column("at", "When", "time"),
    Column("actor", "Who", "code"),
    Column("source", "From"),
    Column("what", "What"),
    Column("changed", "Changed", "number"),
    Column("state", "State", "flag"),
    Column("undo_until", "Undo ends", "time"),
)
DID = {
    "retry": "retried", "cancel": "cancelled", "delete": "deleted", "run_now": "made due", "edit": "edited", "undo": "undone",
    "pause": "paused", "resume": "resumed", "set_limit": "set", "remove_limit": "removed",
}  # fmt: skip

ON_JOBS = frozenset({"retry", "cancel", "delete", "run_now", "edit"})


async def audit(reader: Reader, asked: Asked) -> Page:
    before = asked.number("before")
    actor = asked.query.get("actor") or None
    statement = statements.list_audit(actor=actor, before=before, count=ROWS)
    found = await reader.ask(statement)
    table = Table(
        name="audit", title="Audit", columns=COLUMNS, rows=[_row(one) for one in found], query=shown(statement, "pgq audit list"),
        empty="Nobody has changed anything by hand yet.", older=path_to("audit", before=found[-1].id, actor=actor) if len(found) == ROWS else None,
        newest=path_to("audit", actor=actor) if before else None,
    )  # fmt: skip
    return Page(name="audit", title="Audit", path=path_to("audit"), blocks=[table])


async def action(reader: Reader, asked: Asked) -> Page:
    number = asked.id("action", "action")
    statement = statements.list_audit(audit_id=number)
    found = await reader.ask(statement)
    if not found:
        raise ActionNotFoundError(f"There is no action {number}.", do="See all actions on the page Audit.")
    [one] = found
    listing = statements.list_audited_jobs(number, count=200)
    jobs = await reader.ask(listing)
    blocks: list[Block] = [
        Facts(
            name="action", title="Action", query=shown(statement, f"pgq audit show {number}"),
            items=[
                Fact("at", "When", one.at, "time"),
                Fact("actor", "Who", one.actor, "code"),
                Fact("source", "From", one.source),
                Fact("role", "Role in the database", one.role, "code"),
                Fact("changed", "Changed", one.changed, "number"),
                Fact("seen", "Looked at", one.seen, "number"),
                Fact("refused", "Refused", reasons(one.refused) or None),
                Fact("ended", "State", _state(one) or "done", "flag"),
                Fact("stopped", "Stopped because", one.stopped),
                Fact("undo_until", "Undo ends", one.undo_until, "time"),
                Fact("undone", "Undone", one.undone or None, "number"),
                Fact("undone_by", "Undone by", one.undone_by, "id", path_to("audit", one.undone_by) if one.undone_by else None),
                Fact("undoes", "Undoes", one.undoes, "id", path_to("audit", one.undoes) if one.undoes else None),
            ],
        ),
        Document(name="about", title="What it was about", value=one.about),
    ]  # fmt: skip
    if one.before is not None or one.after is not None:
        blocks.append(
            Document(
                name="change", title="Before and after", value={"before": one.before, "after": one.after}
            )
        )
    if jobs:
        blocks.append(
            Table(
                name="jobs", title="Jobs", empty="", query=shown(listing),
                columns=(Column("id", "Job", "id", "/jobs/{id}"), Column("result", "Result", "flag"), Column("why", "Because")),
                rows=[{"id": job_id, "result": "refused" if why else "changed", "why": why and why_refused(why)} for job_id, why in jobs],
                note="The first 200 jobs." if len(jobs) == 200 else None,
            )
        )  # fmt: skip
    actions = [Action("undo", {"audit": str(number)})] if one.undo_until and not one.is_undoing else []
    return Page(
        name="action", title=f"Action {number}", path=path_to("audit", number), blocks=blocks, above=("Audit", path_to("audit")),
        actions=actions, subtitle=sentence(one),
    )  # fmt: skip


def sentence(one: AuditRow) -> str:
    """Returns in words what an action has done: ``12 jobs retried``."""
    if one.action == "undo" and one.ended and not one.changed:
        return f"nothing undone: {reasons(one.refused)}"
    did = DID.get(one.action, one.action.replace("_", " "))
    subject = _subject(one)
    if one.seen and not subject:
        text = f"{count(one.changed, 'job')} {did}"
        left = sum(one.refused.values())
        more = ", and it stopped before its end" if one.stopped else "" if one.ended else ", and it goes on"
        return text + (f", {left:,} not" if left else "") + more
    return f"{subject} {did}".strip()


def _subject(one: AuditRow) -> str:
    """Returns what an action was about; empty if it was about jobs."""
    if one.action in ON_JOBS:
        return ""
    if one.action == "undo":
        undone = str(one.about.get("action", ""))
        return "" if undone in ON_JOBS else undone.replace("_", " ")
    names = ("queue", "schedule", "name", "limit", "workflow")
    return str(next((one.about[name] for name in names if one.about.get(name)), ""))


def _row(one: AuditRow) -> Row:
    return {
        "id": one.id,
        "at": one.at,
        "actor": one.actor,
        "source": one.source,
        "what": sentence(one),
        "changed": one.changed,
        "state": _state(one),
        "undo_until": one.undo_until,
    }


def _state(one: AuditRow) -> str | None:
    if one.stopped:
        return "stopped"
    if not one.ended:
        return "running"
    if one.is_undoing:
        return "undoing"
    if not one.undone_by:
        return None
    return "undone" if one.undone >= one.changed else "partly undone"
