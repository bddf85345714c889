"""What all routes of the web page share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from starlette.requests import Request

from pgqueue.database.pools import Pools
from pgqueue.ui.access.access import Access
from pgqueue.ui.access.who import Who
from pgqueue.ui.web.live import Live
from pgqueue.ui.web.pages import Pages

POOL = 4  # connections for all pages
Format = Literal["html", "json", "text"]
FORMATS: dict[str, Format] = {"html": "html", "json": "json", "text": "text"}
# Programs by which people look at pages as text.
TEXT_PROGRAMS = ("curl/", "wget/", "httpie/", "xh/")
WHO = "pgqueue.who"  # the key in a request's scope under which its Who is kept


class Site:
    """Everything that the routes share: where the database is, who may do what, and how the pages call themselves."""

    def __init__(
        self, dsn: Callable[[], str], access: Access, *, title: str, environment: str | None, acts: bool
    ) -> None:
        self.dsn, self.access, self.title, self.environment, self.acts = dsn, access, title, environment, acts
        self.pools = Pools(dsn, POOL)
        self.pages = Pages(self.pools)
        self.live = Live(dsn, self.pages)

    async def close(self) -> None:
        await self.live.close()
        await self.pools.aclose()


def base_of(request: Request) -> str:
    """Returns the path under which the app is mounted, without a slash at its end."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def who_of(request: Request) -> Who | None:
    who: Who | None = request.scope.get(WHO)
    return who


def common(site: Site, request: Request) -> dict[str, object]:
    """Returns the values that every page needs."""
    who = who_of(request)
    return {
        "base": base_of(request),
        "site": site.title,
        "environment": site.environment,
        "who": who.name if who else "",
        "role": (who.role.name if site.acts else "may only read") if who else "",
    }


def wanted(request: Request) -> Format:
    """Returns the form in which the request wants its answer: by ``?format=``, by Accept, and text for programs of a terminal."""
    asked = FORMATS.get(request.query_params.get("format", ""))
    if asked is not None:
        return asked
    accept = request.headers.get("accept", "*/*").lower()
    if "text/html" in accept:
        return "html"
    if "application/json" in accept:
        return "json"
    is_terminal = request.headers.get("user-agent", "").lower().startswith(TEXT_PROGRAMS)
    return "text" if "text/plain" in accept or is_terminal else "html"
