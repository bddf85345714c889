"""``create``: the web page as an ASGI app, which runs by itself (``pgq web``) or inside another app."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pgqueue.database import statements
from pgqueue.database.dsn import find_dsn
from pgqueue.errors import AccessError, NotAllowedError
from pgqueue.text.values import is_id, is_storable
from pgqueue.ui import api
from pgqueue.ui.access.access import Access
from pgqueue.ui.acting.acts import acts_of
from pgqueue.ui.reading.audit import sentence
from pgqueue.ui.reading.documents import as_json
from pgqueue.ui.reading.pages import PAGES, PageRoute
from pgqueue.ui.reading.reader import reading
from pgqueue.ui.reading.text import as_text
from pgqueue.ui.web.acting import act
from pgqueue.ui.web.failures import failed, missing
from pgqueue.ui.web.headers import PRIVATE, STATIC
from pgqueue.ui.web.html import render
from pgqueue.ui.web.live_route import LONGEST_QUERY, live, live_path, query_of
from pgqueue.ui.web.pages import FRESH, look
from pgqueue.ui.web.site import WHO, Site, base_of, common, wanted, who_of

# A tab that was told of a change gets the page that was made to find the change.
FRESH_ENOUGH = 10.0
API = "/api/v1"  # where the HTTP API is


def create(
    dsn: str | None = None,
    *,
    access: Access | None = None,
    actions: bool = False,
    title: str = "pgqueue",
    environment: str | None = None,
) -> Starlette:
    """Makes the web page and the HTTP API as an ASGI app: ``app.mount("/jobs", pgqueue.ui.web.create(dsn))``.

    ``dsn``: the database; None: from PGQUEUE_DSN, DATABASE_URL, pyproject.toml or PG*. ``access``: who is served; by default only programs
    on this machine, which may only read. ``actions``: whether people may also change jobs, if their role allows it. ``environment``: a word
    that stands on every page, such as ``production``.

    The app opens its connections at the first request, and closes them at the end of its lifespan. If the app around it runs no lifespan of
    mounted apps, its connections are closed when the process ends.
    """
    site = Site(lambda: find_dsn(dsn), access or Access(), title=title, environment=environment, acts=actions)
    jobs_api = api.create(dsn, access=site.access, prefix="", actions=actions)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await jobs_api.aclose()
            await site.close()

    made = Starlette(
        routes=[
            Mount("/static", _Static(directory=str(files("pgqueue.ui.web") / "static")), name="static"),
            Route("/live", live(site)),
            Route("/actions", act(site, jobs_api.background), methods=["POST"]),
            Mount(API, jobs_api),
            *(Route(page.path, _shows(site, page), name=page.name) for page in PAGES),
        ],
        middleware=[Middleware(_Admitting, site=site)],
        exception_handlers={HTTPException: missing(site)},
        lifespan=lifespan,
    )
    made.router.redirect_slashes = False
    made.state.site = site
    return made


class _Static(StaticFiles):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(STATIC)
            await send(message)

        await super().__call__(scope, receive, with_headers)


class _Admitting:
    """Lets a request pass only if it may be served, and keeps in its scope who sent it."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app, self._site = app, site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_open(scope):
            try:
                who = await self._site.access.admit(scope)
                if not who.sees_all:
                    raise NotAllowedError(
                        f"{who.name} may not see the web page.",
                        why="it shows all queues",
                        do="use the HTTP API, which shows single queues",
                    )
            except AccessError as error:
                await failed(self._site, Request(scope, receive), error)(scope, receive, send)
                return
            scope[WHO] = who
        await self._app(scope, receive, send)


def _is_open(scope: Scope) -> bool:
    """Returns whether the request is one of the HTTP API, which admits callers itself, or asks for a file that everybody may have."""
    path = str(scope["path"]).removeprefix(str(scope.get("root_path", "")).rstrip("/"))
    return path == API or path.startswith((f"{API}/", "/static/"))


def _shows(site: Site, route: PageRoute) -> Callable[[Request], Awaitable[Response]]:
    async def show(request: Request) -> Response:
        if len(request.url.query) > LONGEST_QUERY:
            raise HTTPException(414, "The address is too long.")
        if not all(map(is_storable, request.path_params.values())):
            raise HTTPException(404)
        if not all(map(is_storable, request.query_params.values())):
            raise HTTPException(400, "The address holds a character that no text in Postgres can hold.")
        what = look(route, request.path_params, query_of(request))
        try:
            made = await site.pages.get(what, age=FRESH_ENOUGH if "x-live" in request.headers else FRESH)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the person gets a page that says it
            return failed(site, request, error)
        page, headers = made.page, {**PRIVATE, "ETag": f'W/"{made.version}"'}
        form, code = wanted(request), 422 if page.is_unclear else 200
        if form == "json":
            return Response(as_json(page) + "\n", code, media_type="application/json", headers=headers)
        if form == "text":
            return PlainTextResponse(as_text(page), code, headers=headers)
        text = render(
            "page.html", **common(site, request), title=page.title, page=page, current=(route.name, _menu_of(route)),
            searched=page.search if route.name == "jobs" else "", live=live_path(request, made.version), here=_here(request),
            acts=acts_of(who_of(request)) if site.acts else (), done=await _done(site, request),
        )  # fmt: skip
        return HTMLResponse(text, headers=headers)

    return show


async def _done(site: Site, request: Request) -> dict[str, object] | None:
    """Returns what the action has done that led here, by its number in the address."""
    given = request.query_params.get("done", "")
    if not is_id(given):
        return None
    async with reading(site.pools) as reader:
        found = await reader.ask(statements.list_audit(audit_id=int(given)))
    if not found:
        return None
    return {"text": sentence(found[0]), "undo": found[0].id if found[0].undo_until else None}


def _here(request: Request) -> str:
    query = request.url.query
    return request.url.path.removeprefix(base_of(request)) + (f"?{query}" if query else "")


def _menu_of(route: PageRoute) -> str:
    first = "/" + route.path.split("/")[1]
    return next((page.name for page in PAGES if page.path == first), route.name)
