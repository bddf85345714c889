"""The ASGI app of the HTTP API. Each request passes the entrance (ui/access), then the checks of its route, then the route's function."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Router
from starlette.routing import Route as Path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pgqueue.errors import InvalidRequestError, NotAllowedError
from pgqueue.text.nearest import guess
from pgqueue.ui.access.access import ALLOW, ONLY_READS, Access
from pgqueue.ui.access.who import Role
from pgqueue.ui.acting.background import Background
from pgqueue.ui.api.calls import Answer, Call, Route
from pgqueue.ui.api.document import document
from pgqueue.ui.api.error_response import answer_to
from pgqueue.ui.api.requests import read_body, read_id, read_query, refuse_body
from pgqueue.ui.api.routes import ROUTES
from pgqueue.ui.api.service import Service
from pgqueue.ui.api.strict_json import encode

HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
WHO = "pgqueue.who"  # the key in the scope


class Api:
    """An ASGI app. ``aclose`` closes its connections; a server that runs the app alone does so when it stops."""

    def __init__(self, service: Service, access: Access, prefix: str, *, actions: bool) -> None:
        self._actions = actions
        self._service, self._access, self._prefix = service, access, prefix
        self._routes = ROUTES
        self._app = self._made()

    def _made(self) -> ASGIApp:
        methods: dict[str, list[Route]] = {}
        for route in self._routes:
            methods.setdefault(route.path, []).append(route)
        paths = [
            Path(path, self._endpoint(routes), methods=[route.method for route in routes])
            for path, routes in methods.items()
        ]
        paths.append(Path("/openapi.json", self._document, methods=["GET"]))

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            try:
                yield
            finally:
                await self.aclose()

        return Starlette(
            routes=[Mount(self._prefix, app=Router(paths, redirect_slashes=False))],
            exception_handlers={404: self._unknown_path, 405: self._unknown_method},
            lifespan=lifespan,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, _with_headers(send))
        else:
            await send({"type": "websocket.close", "code": 1008})

    @property
    def background(self) -> Background:
        """The actions that this server does now. A page that mounts the API adds its own to them."""
        return self._service.background

    async def aclose(self) -> None:
        await self._service.aclose()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            scope[WHO] = await self._access.admit(scope)
            scope[WHO].require(Role.viewer, "use the API")
        except Exception as error:  # noqa: BLE001 - the host app's own authentication can raise anything
            await answer_to(error, Request(scope))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _endpoint(self, routes: list[Route]) -> Callable[[Request], Awaitable[Response]]:
        by_method = {route.method: route for route in routes}

        async def endpoint(request: Request) -> Response:
            try:
                return await self._run(
                    by_method["GET" if request.method == "HEAD" else request.method], request
                )
            except Exception as error:  # noqa: BLE001 - every error becomes an answer
                return answer_to(error, request)

        return endpoint

    async def _run(self, route: Route, request: Request) -> Response:
        who = request.scope[WHO]
        if route.method != "GET" and not self._actions:
            raise NotAllowedError(ONLY_READS, do=ALLOW)
        who.require(route.role, route.act)
        job_id = read_id(request.path_params["id"]) if route.has_id else 0
        query = read_query(request, route.query)
        body = None
        if route.body is not None:
            body = await read_body(request, route.body, route.largest)
        elif route.method == "POST":
            await refuse_body(request)
        call = Call(self._service, who, request, self._url(request), job_id, query, body)
        answer = await route.run(call)
        if isinstance(answer, Answer):
            return Response(encode(answer.content), answer.code, dict(answer.headers), "application/json")
        return answer

    def _url(self, request: Request) -> str:
        """Returns the path of the API. Only the server's own settings and mounts decide it, so no header of a request can change it."""
        root = str(request.scope.get("root_path", ""))
        return root if not self._prefix or root.endswith(self._prefix) else root + self._prefix

    async def _document(self, request: Request) -> Response:
        made = document(self._routes, self._url(request), version("pgqueue-jobs"))
        return Response(encode(made), media_type="application/json")

    async def _unknown_path(self, request: Request, _error: Exception) -> Response:
        known = [self._prefix + route.path for route in self._routes]
        said = InvalidRequestError(
            f"There is nothing at {request.url.path[:200]}.",
            do=guess(request.url.path, known, "see /openapi.json"),
            http_code=404,
        )
        return answer_to(said, request)

    async def _unknown_method(self, request: Request, error: Exception) -> Response:
        allowed = dict(getattr(error, "headers", None) or {})
        said = InvalidRequestError(
            f"{request.method[:20]} is not possible here.",
            do=f"use {allowed.get('Allow', 'GET')}",
            http_code=405,
            headers=allowed,
        )
        return answer_to(said, request)


def _with_headers(send: Send) -> Send:
    """Returns a ``send`` that adds HEADERS to the answer, apart from those that it has."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            has = {name.lower() for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(pair for pair in HEADERS if pair[0] not in has)]
        await send(message)

    return sending
