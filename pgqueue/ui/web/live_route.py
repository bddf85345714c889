"""The address to which open tabs listen: it tells a tab when its page has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from urllib.parse import urlencode

from sse_starlette import EventSourceResponse
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from pgqueue.errors import PgQueueError
from pgqueue.ui.reading.failures import http_answer
from pgqueue.ui.reading.pages import located
from pgqueue.ui.web.headers import PRIVATE
from pgqueue.ui.web.pages import Look, look
from pgqueue.ui.web.site import Site, base_of, who_of

PING = 15  # seconds between two signs of life of a connection
SLOW = 30  # a tab that takes nothing for this many seconds is given up
LONGEST_QUERY = 2000  # characters behind the question mark
PASSING = ("format", "done", "undo")  # parameters that do not change what a page shows


def query_of(request: Request) -> dict[str, str]:
    """Returns the parameters on which the content of a page depends."""
    return _lasting(request.query_params)


def live_path(request: Request, version: str) -> str:
    """Returns the address to which the tab with this page listens."""
    base = base_of(request)
    path = request.url.path.removeprefix(base) or "/"
    query = urlencode(query_of(request))
    return f"{base}/live?" + urlencode({"at": path + (f"?{query}" if query else ""), "version": version})


def live(site: Site) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        what = _look_at(request.query_params.get("at", "/"))
        if what is None:
            return PlainTextResponse("There is no such page.\n", 404, headers=PRIVATE)
        who = who_of(request)
        assert who is not None
        try:
            site.live.check_room(who.name)
        except PgQueueError as error:
            code, headers = http_answer(error)
            return PlainTextResponse(error.what + "\n", code, headers={**PRIVATE, **headers})
        version = request.query_params.get("version", "")[:32] or None
        return EventSourceResponse(
            _changes(site, what, version, who.name),
            ping=PING,
            headers={**PRIVATE, "X-Accel-Buffering": "no"},
            send_timeout=SLOW,
        )

    return answer


async def _changes(
    site: Site, what: Look, version: str | None, caller: str
) -> AsyncIterator[Mapping[str, str]]:
    try:
        async with site.live.watching(what, version, caller) as tab:
            while True:
                await tab.changed.wait()
                tab.changed.clear()
                yield {"event": "changed", "data": tab.version or ""}
    except PgQueueError:
        return  # others came first, meanwhile; the browser comes back


def _look_at(address: str) -> Look | None:
    """Returns the page at an address inside the app. None: there is none."""
    found = located(address[: 2 * LONGEST_QUERY])
    if found is None:
        return None
    route, asked = found
    return look(route, asked.path, _lasting(asked.query))


def _lasting(query: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in query.items() if name not in PASSING}
