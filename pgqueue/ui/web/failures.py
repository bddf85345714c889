"""Answers requests that cannot be served, with a page that says why and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import psycopg
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from pgqueue.database.dsn import redact
from pgqueue.database.outage import shown_to_a_person
from pgqueue.errors import (
    AccessError,
    ActionNotUndoneError,
    DatabaseError,
    InvalidJobError,
    JobUnchangedError,
    NotFoundError,
    PageNotFoundError,
    PgQueueError,
    ServerBusyError,
)
from pgqueue.ui.access.access import http_answer
from pgqueue.ui.web.headers import PRIVATE
from pgqueue.ui.web.html import render
from pgqueue.ui.web.site import Site, common, wanted

LOOKS_AGAIN = 5  # seconds after which the page about an outage looks again
# The status code of each kind of error. The first kind that fits counts.
CODES: tuple[tuple[type[PgQueueError], int], ...] = (
    (NotFoundError, 404), (JobUnchangedError, 409), (ActionNotUndoneError, 409), (InvalidJobError, 400), (DatabaseError, 503),
    (ServerBusyError, 503),
)  # fmt: skip
NO_HEADERS: Mapping[str, str] = {}


def missing(site: Site) -> Callable[[Request, Exception], Response]:
    """Returns a handler of errors that the web framework raises, such as for an unknown address."""

    def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        what = "There is no such page." if error.status_code == 404 else error.detail
        kind = PageNotFoundError if error.status_code == 404 else PgQueueError
        known = kind(what, do="Choose a page from the menu.")
        return _answer(site, request, known, error.status_code, error.headers or NO_HEADERS)

    return answer


def failed(site: Site, request: Request, error: Exception) -> Response:
    """Answers a request whose page raised this error."""
    if isinstance(error, psycopg.errors.QueryCanceled):
        slow = PgQueueError(
            "The database did not answer in two seconds.",
            do="Search for less, such as one queue or one task.",
        )
        return _answer(site, request, slow, 504)
    if isinstance(error, AccessError):
        code, headers = http_answer(error)
        return _answer(site, request, error, code, headers)
    known = (
        error
        if isinstance(error, PgQueueError)
        else shown_to_a_person(error)
        if isinstance(error, psycopg.Error)
        else None
    )
    if known is None:
        return _answer(
            site,
            request,
            PgQueueError("The page could not be made.", why=f"a bug: {type(error).__name__}"),
            500,
        )
    return _answer(site, request, known, next((code for kind, code in CODES if isinstance(known, kind)), 500))


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
    is_outage = code == 503
    page = render(
        "error.html", **common(site, request), title=error.what, heading=error.what, why=error.why, do=error.do,
        code=f"{code} · {error.code}" + (f" · {_database(site)}" if is_outage else ""),
        picture="error" if code >= 500 else "waiting" if code == 404 else "warn",
        refresh=LOOKS_AGAIN if is_outage else None,
    )  # fmt: skip
    return HTMLResponse(page, code, headers=sent)


def _database(site: Site) -> str:
    try:
        return redact(site.dsn())
    except PgQueueError:
        return "no database"
