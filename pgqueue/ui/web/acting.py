"""The address to which the forms of pages are sent: it asks once more where that is due, does the action, and leads back.

An action is done in a task of its own. If it takes longer than PATIENCE, the person sees its row in the audit, which shows how far it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl, urlencode, urlsplit

from psycopg import AsyncConnection
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pgqueue.database.reach import connect_soon
from pgqueue.database.statements import Who as Actor
from pgqueue.errors import InvalidOptionError, NotAllowedError
from pgqueue.sql import Statement
from pgqueue.ui.access.access import ALLOW, ONLY_READS
from pgqueue.ui.acting.acts import ACTS, JOB_ACTIONS, Act, asks_first
from pgqueue.ui.acting.background import Background
from pgqueue.ui.acting.doing import (
    about_of,
    heading_of,
    job_action,
    operate,
    refused_of,
    role_to_undo,
    set_setting,
    text_of,
    undo,
)
from pgqueue.ui.acting.form import Form
from pgqueue.ui.acting.operations import Operation, Preview, preview_statement
from pgqueue.ui.acting.performing import Noted
from pgqueue.ui.acting.undoing import Undo
from pgqueue.ui.reading.reader import reading
from pgqueue.ui.web.failures import failed
from pgqueue.ui.web.form import back_of, read_form
from pgqueue.ui.web.headers import PRIVATE
from pgqueue.ui.web.html import render
from pgqueue.ui.web.site import Site, base_of, common, who_of

PATIENCE = 3.0  # seconds for which a request waits for its action


def act(site: Site, background: Background) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return await _answer(site, background, request)
        except HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the person gets a page that says it
            return failed(site, request, error)

    return answer


async def _answer(site: Site, background: Background, request: Request) -> Response:
    if not site.acts:
        raise NotAllowedError(ONLY_READS, do=ALLOW)
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
    is_asked = asks_first(word, form.fields) and form.one("confirmed") != "yes"
    if word in JOB_ACTIONS:
        return await _jobs(site, background, request, form, chosen, actor, is_asked=is_asked)
    if is_asked:
        return _ask(site, request, form, chosen)
    if word == "undo":
        number = form.id("audit")
        async with reading(site.pools) as reader:
            who.require(await role_to_undo(number, reader.ask), "undo this action")
        undoing = Undo(number, actor)
        work = _begin(site, background, lambda to: undo(to, undoing), undoing)
        return await _finish(request, form, work, undoing)
    work = _begin(site, background, lambda to: set_setting(to, form, chosen, actor))
    return await _finish(request, form, work)


async def _jobs(
    site: Site,
    background: Background,
    request: Request,
    form: Form,
    chosen: Act,
    actor: Actor,
    *,
    is_asked: bool,
) -> Response:
    async def ask(statement: Statement[list[int]]) -> list[int]:
        async with reading(site.pools) as reader:
            return await reader.ask(statement)

    action = await job_action(form, actor, ask)
    if is_asked:
        async with reading(site.pools) as reader:
            preview = await reader.ask(preview_statement(action))
        return _ask(site, request, form, chosen, preview)
    operation = Operation(action)
    work = _begin(site, background, lambda to: operate(to, operation), operation)
    return await _finish(request, form, work, operation)


def _begin(
    site: Site,
    background: Background,
    work: Callable[[AsyncConnection], Awaitable[int | None]],
    steps: Noted | None = None,
) -> asyncio.Task[int | None]:
    """Begins the work on a connection of its own, because it can take long. Afterwards, every page is made again."""

    async def connect() -> AsyncConnection:
        return await connect_soon(site.dsn(), name="pgqueue web action")

    task = background.begin("an action of the web page", connect, work, steps)
    task.add_done_callback(lambda _: site.pages.forget())
    return task


# ---------------------------------------------------------------- answers


async def _finish(
    request: Request,
    form: Form,
    task: asyncio.Task[int | None],
    steps: Noted | None = None,
) -> Response:
    """Leads back to the page if the action ends soon, and otherwise to its row in the audit. Raises the error of the action."""
    await asyncio.wait({task}, timeout=PATIENCE)
    base, back = base_of(request), back_of(form)
    if task.cancelled():
        raise HTTPException(503, "The server stops. The page Audit says what the action has done.")
    if task.done():
        audit_id = task.result()
        if form.one("action") == "delete" and back.startswith("/jobs/"):
            back = "/jobs"
        return _to(base, back, audit_id)
    number = steps.progress.audit_id if steps is not None else None
    return _to(base, "/audit" if number is None else f"/audit/{number}", None)


def _to(base: str, path: str, audit_id: int | None) -> Response:
    parts = urlsplit(path)
    query = [(name, value) for name, value in parse_qsl(parts.query) if name != "done"]
    if audit_id is not None:
        query.append(("done", str(audit_id)))
    return RedirectResponse(
        base + parts.path + (f"?{urlencode(query)}" if query else ""), 303, headers=PRIVATE
    )


def _ask(site: Site, request: Request, form: Form, chosen: Act, preview: Preview | None = None) -> Response:
    """Returns the page that asks once more, or asks for what the action needs."""
    asked = {name for name, _ in chosen.asks}
    fields = [(name, value) for name, values in form.fields.items() if name not in asked for value in values]
    heading = heading_of(chosen, preview)
    is_empty = preview is not None and preview.changes == 0
    page = render(
        "confirm.html", **common(site, request), title=heading, heading=heading, text=text_of(preview),
        counts=sorted(preview.counts.items()) if preview else [], refused=refused_of(preview), fields=fields,
        asks=[] if is_empty else chosen.asks, careful=chosen.is_careful, button=heading.removesuffix("?") if preview else chosen.label,
        about=about_of(form), back=back_of(form), is_empty=is_empty,
    )  # fmt: skip
    return HTMLResponse(page, headers=PRIVATE)
