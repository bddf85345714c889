"""The address to which the forms of pages are sent: it asks once more where that is due, does the action, and leads back.

An action is done in a task of its own. If it takes longer than PATIENCE, the person sees its row in the audit, which shows how far it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pgqueue.database import statements
from pgqueue.database.run import run_async
from pgqueue.database.statements import Who as Actor
from pgqueue.errors import InvalidOptionError, JobUnchangedError, NotFoundError
from pgqueue.text.counted import count
from pgqueue.ui.acting.operations import Action, Changed, Operation, Preview, perform_async, preview_statement
from pgqueue.ui.reading.reader import reading
from pgqueue.ui.reading.search import read
from pgqueue.ui.web.acts import ACTS, JOB_ACTIONS, Act, changed_limit, edits
from pgqueue.ui.web.failures import failed
from pgqueue.ui.web.form import Form, read_form
from pgqueue.ui.web.headers import PRIVATE
from pgqueue.ui.web.html import render
from pgqueue.ui.web.site import Site, base_of, common, who_of

PATIENCE = 3.0  # seconds for which a request waits for its action
MOST_AT_ONCE = 4  # actions that this server does at the same time
TICKED = 200  # rows that one form can name
OF_ONE_ERROR = 2000  # dead jobs of one error that are retried together


class Acting:
    """The actions that this server does now. Keeps their tasks, because asyncio itself would forget them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[int | None]] = set()

    def begin(self, work: Awaitable[int | None]) -> asyncio.Task[int | None]:
        if len(self._tasks) >= MOST_AT_ONCE:
            if asyncio.iscoroutine(work):
                work.close()
            raise HTTPException(
                503, "The server is doing other actions. Try it again in a moment.", {"Retry-After": "5"}
            )
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Ends the actions. What they have done stays, and the audit says that they have not ended."""
        for task in list(self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


def act(site: Site, acting: Acting) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return await _answer(site, acting, request)
        except HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the person gets a page that says it
            return failed(site, request, error)

    return answer


async def _answer(site: Site, acting: Acting, request: Request) -> Response:
    if not site.acts:
        raise HTTPException(404, "This page is read only. To allow actions: pgq web --allow-actions.")
    form = await read_form(request)
    word = form.one("action")
    if word not in ACTS:
        raise InvalidOptionError(
            f"There is no action {word[:40]!r}.", do="go back, and choose one of the buttons"
        )
    chosen, who = ACTS[word], who_of(request)
    assert who is not None
    who.require(chosen.role, chosen.what)
    actor = Actor(who.name, "web")
    if word in JOB_ACTIONS:
        return await _jobs(site, acting, request, form, chosen, actor)
    if (chosen.is_careful or chosen.asks) and form.one("confirmed") != "yes":
        return _ask(site, request, form, chosen, f"{chosen.label}?")
    if word == "undo":
        return await _finish(request, form, acting.begin(_undo(site, form.id("audit"), actor)))
    return await _finish(request, form, acting.begin(_set(site, form, chosen, actor)))


# ---------------------------------------------------------------- jobs


async def _jobs(
    site: Site, acting: Acting, request: Request, form: Form, chosen: Act, actor: Actor
) -> Response:
    action = await _action(site, form, actor)
    is_confirmed = form.one("confirmed") == "yes"
    if not is_confirmed and (chosen.asks or chosen.is_careful or action.ids is None):
        async with reading(site.pools) as reader:
            preview = await reader.ask(preview_statement(action))
        return _ask(site, request, form, chosen, _heading(chosen, preview), preview)
    operation = Operation(action)
    return await _finish(request, form, acting.begin(_operate(site, operation)), operation)


async def _action(site: Site, form: Form, actor: Actor) -> Action:
    name = JOB_ACTIONS[form.one("action")]
    changes = None
    if name == "edit" and form.one("confirmed") == "yes":
        changes = edits(form, datetime.now(UTC))
    if form.one("all") == "yes":
        search = read(form.one("q"))
        if search.problems:
            raise InvalidOptionError(
                f"The search is not clear: {search.problems[0]}", do="correct the search"
            )
        if search.job_id is not None:
            return Action(name=name, who=actor, ids=[search.job_id], changes=changes)
        return Action(name=name, who=actor, which=search.which, changes=changes)
    if fingerprint := form.one("fingerprint"):
        async with reading(site.pools) as reader:
            return Action(
                name=name,
                who=actor,
                ids=await reader.ask(statements.list_dead_of_error(fingerprint, most=OF_ONE_ERROR)),
            )
    ids = form.ids()
    if not ids or len(ids) > TICKED:
        raise InvalidOptionError(
            f"{count(len(ids), 'job')} ticked.", do=f"go back, and tick 1 to {TICKED} rows"
        )
    return Action(name=name, who=actor, ids=ids, changes=changes)


async def _operate(site: Site, operation: Operation) -> int | None:
    refused: list[Changed] = []
    async with site.pools.aconnection(autocommit=True, own=True) as connection:
        async for done in perform_async(connection, operation):
            refused += [] if len(refused) > 1 else [one for one in done if not one.is_done]
    site.pages.forget()
    if operation.progress.changed == 0 and refused:
        raise JobUnchangedError(_refusal(operation, refused[0]), do="Its page says how the job stands.")
    return operation.progress.audit_id


def _refusal(operation: Operation, first: Changed) -> str:
    why = (
        first.result.removeprefix("refused: ")
        if first.result.startswith("refused: ")
        else f"it is {first.result}"
    )
    if first.result == "not found":
        why = "there is no such job"
    elif first.result == "unique_key":
        why = "an unfinished job has its unique key"
    elif first.result == "locked":
        why = "another transaction has locked it"
    if operation.progress.seen == 1:
        return f"Job {first.id} was not changed: {why}."
    return f"None of {operation.progress.seen:,} jobs was changed. Job {first.id}: {why}."


# ---------------------------------------------------------------- settings and undo


async def _set(site: Site, form: Form, chosen: Act, actor: Actor) -> int | None:
    async with site.pools.aconnection(autocommit=True, own=True) as connection:
        if chosen.makes is not None:
            found = [await run_async(connection, one) for one in chosen.makes(form, actor)]
            if all(one is None for one in found):
                raise NotFoundError(
                    "The action found nothing to change.", do="go back, and load the page again"
                )
        else:
            number = form.id("limit")
            limits = await run_async(connection, statements.list_limits())
            limit = next((one for one in limits if one.id == number), None)
            if limit is None:
                raise NotFoundError(f"There is no limit {number}.", do="See all limits on the page Limits.")
            await run_async(connection, changed_limit(limit, form, actor))
        [latest, *_] = await run_async(
            connection, statements.list_audit(actor=actor.actor, source="web", count=1)
        )
    site.pages.forget()
    return latest.id


async def _undo(site: Site, audit_id: int, actor: Actor) -> int | None:
    done = 0
    last: int | None = None
    async with site.pools.aconnection(autocommit=True, own=True) as connection:
        for row_id in await run_async(connection, statements.list_undoable(audit_id)):
            for one in await run_async(connection, statements.undo(row_id, actor)):
                done += one.audit_id is not None
                last = one.audit_id or last
    site.pages.forget()
    if not done:
        raise JobUnchangedError(
            "Nothing was undone.",
            why="it was undone already, its time is over, or the jobs have moved on",
            do="The page of the action says more.",
        )
    return last


# ---------------------------------------------------------------- answers


async def _finish(
    request: Request,
    form: Form,
    task: asyncio.Task[int | None],
    operation: Operation | None = None,
) -> Response:
    """Leads back to the page if the action ends soon, and otherwise to its row in the audit. Raises the error of the action."""
    await asyncio.wait({task}, timeout=PATIENCE)
    base, back = base_of(request), form.back()
    if task.done():
        audit_id = task.result()
        if form.one("action") == "delete" and back.startswith("/jobs/"):
            back = "/jobs"
        return _to(base, back, audit_id)
    number = operation.progress.audit_id if operation is not None else None
    return _to(base, "/audit" if number is None else f"/audit/{number}", None)


def _to(base: str, path: str, audit_id: int | None) -> Response:
    parts = urlsplit(path)
    query = [(name, value) for name, value in parse_qsl(parts.query) if name != "done"]
    if audit_id is not None:
        query.append(("done", str(audit_id)))
    return RedirectResponse(
        base + parts.path + (f"?{urlencode(query)}" if query else ""), 303, headers=PRIVATE
    )


def _heading(chosen: Act, preview: Preview) -> str:
    number = f"{preview.changes:,}" if not preview.more else f"more than {preview.changes:,}"
    jobs = "job" if preview.changes == 1 and not preview.more else "jobs"
    return f"{chosen.label} {number} {jobs}?"


def _ask(
    site: Site, request: Request, form: Form, chosen: Act, heading: str, preview: Preview | None = None
) -> Response:
    """Returns the page that asks once more, or asks for what the action needs."""
    asked = {name for name, _ in chosen.asks}
    fields = [(name, value) for name, values in form.fields.items() if name not in asked for value in values]
    is_empty = preview is not None and preview.changes == 0
    page = render(
        "confirm.html", **common(site, request), title=heading, heading=heading, text=_text(preview),
        counts=sorted(preview.counts.items()) if preview else [], refused=_refused(preview), fields=fields,
        asks=[] if is_empty else chosen.asks, careful=chosen.is_careful, button=chosen.label, back=form.back(), is_empty=is_empty,
    )  # fmt: skip
    return HTMLResponse(page, headers=PRIVATE)


def _text(preview: Preview | None) -> str:
    if preview is None:
        return ""
    if preview.changes == 0:
        return "No job would be changed."
    return "More jobs can match. Only the first 10,000 were counted." if preview.more else ""


def _refused(preview: Preview | None) -> str:
    reasons: Sequence[tuple[str, int]] = sorted(preview.refused.items()) if preview else ()
    return (
        "Not changed: " + ", ".join(f"{number:,} ({why})" for why, number in reasons) + "." if reasons else ""
    )
