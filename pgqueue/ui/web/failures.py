"""Answers requests that cannot be served, with a page that says why and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from pgqueue.database.dsn import redact
from pgqueue.errors import DatabaseError, PageNotFoundError, PgQueueError
from pgqueue.ui.reading.failures import http_answer, known
from pgqueue.ui.web.headers import PRIVATE
from pgqueue.ui.web.html import render
from pgqueue.ui.web.site import Site, common, wanted

LOOKS_AGAIN = 5  # seconds after which the page about an outage looks again
NO_HEADERS: Mapping[str, str] = {}


def missing(site: Site) -> Callable[[Request, Exception], Response]:
    """Returns a handler of errors that the web framework raises, such as for an unknown address."""

    def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        what = "There is no such page." if error.status_code == 404 else error.detail
        kind = PageNotFoundError if error.status_code == 404 else PgQueueError
        said = kind(what, do="Choose a page from the menu.")
        return _answer(site, request, said, error.status_code, error.headers or NO_HEADERS)

    return answer


def failed(site: Site, request: Request, error: Exception) -> Response:
    """Answers a request whose page raised this error."""
    said = known(error) or PgQueueError("The page could not be made.", why=f"a bug: {type(error).__name__}")
    return _answer(site, request, said, *http_answer(said))


def _answer(
    site: Site, request: Request, error: PgQueueError, code: int, headers: Mapping[str, str] = NO_HEADERS
) -> Response:
    sent = {**PRIVATE, **headers}
    form = wanted(request)
    if form == "json":
        text = json.dumps({"error": error.as_dict()}) + "\n"
        return Response(text, code, media_type="application/json", headers=sent)
    if form == "text":
        return PlainTextResponse(
            f"{error.code}  {error.what}\n" + (f"do: {error.do}\n" if error.do else ""), code, headers=sent
        )
    is_outage = isinstance(error, DatabaseError)
    page = render(
        "error.html", **common(site, request), title=error.what, heading=error.what, why=error.why, do=error.do,
        code=f"{code} · {error.code}" + (f" · {_database(site)}" if is_outage else ""),
        picture="error" if code >= 500 else "waiting" if code == 404 else "warn",
        refresh=LOOKS_AGAIN if is_outage and request.method == "GET" else None,
    )  # fmt: skip
    return HTMLResponse(page, code, headers=sent)


def _database(site: Site) -> str:
    try:
        return redact(site.dsn())
    except PgQueueError:
        return "no database"
