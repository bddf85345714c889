"""Turns every error into an answer of the type application/problem+json (RFC 9457), with pgqueue's code and what to do.

An answer never has a traceback, and says nothing about the server that only its operator should know: a fact with the error is emitted
instead, so that the error is in the server's log.
"""

from __future__ import annotations

from http import HTTPStatus

import psycopg
from starlette.requests import Request
from starlette.responses import Response

from pgqueue.errors import (
    AccessError,
    ActionNotUndoneError,
    BatchClosedError,
    CommitUnconfirmedError,
    DatabaseError,
    DuplicateJobError,
    IdempotencyConflictError,
    InvalidBatchError,
    InvalidJobError,
    InvalidRequestError,
    JobFailedError,
    JobUnchangedError,
    LockedError,
    NotFoundError,
    PayloadTooLargeError,
    PgQueueError,
    ServerBusyError,
    TakenIdError,
    UnknownTaskError,
    WaitTimeoutError,
)
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.users import RequestFailed
from pgqueue.text.shown import visible
from pgqueue.ui.access.access import http_answer
from pgqueue.ui.api.strict_json import encode

MEDIA = "application/problem+json"
SILENCE = 10.0  # seconds
_reported: dict[str, float] = {}  # for each code of an error, when it was reported last
RETRY_AFTER = {"Retry-After": "5"}
# The first class of which an error is an instance gives the code of the answer.
CODES: tuple[tuple[type[PgQueueError], int], ...] = (
    (PayloadTooLargeError, 413),
    (IdempotencyConflictError, 422),
    (DuplicateJobError, 409),
    (BatchClosedError, 409),
    (JobUnchangedError, 409),
    (ActionNotUndoneError, 409),
    (JobFailedError, 409),
    (TakenIdError, 409),
    (UnknownTaskError, 422),
    (InvalidJobError, 422),
    (NotFoundError, 404),
    (WaitTimeoutError, 503),
    (ServerBusyError, 503),
    (CommitUnconfirmedError, 503),
    (LockedError, 503),
    (DatabaseError, 503),
)
# The class, its sentence for callers. The error's own sentences name the server, so they are only in the log.
UNSAID: tuple[type[PgQueueError], ...] = (DatabaseError,)


def answer_to(error: BaseException, request: Request) -> Response:
    """Returns the answer for an error. Emits a fact if the operator of the server must know of the error."""
    known = error if isinstance(error, PgQueueError) else _known(error)
    if known is None:
        emit(RequestFailed(request.method, request.url.path, error))
        return problem(
            500, "PGQ-001", "An unexpected error has ended the request.", do="look at the log of the server"
        )
    if isinstance(known, AccessError):
        code, headers = http_answer(known)
        return told(known, code, headers)
    if isinstance(known, InvalidRequestError):
        return told(known, known.http_code, known.headers)
    for kind, code in CODES:
        if isinstance(known, kind):
            return _coded(known, code, request)
    emit(RequestFailed(request.method, request.url.path, known))
    return problem(500, known.code, "The server has a wrong setting.", do="look at the log of the server")


def _known(error: BaseException) -> PgQueueError | None:
    """Returns an error of pgqueue for an error of the driver that the caller can wait out."""
    if isinstance(error, psycopg.errors.QueryCanceled):
        return ServerBusyError(
            "The database has not answered within the time limit of a request.",
            do="ask for less: name a queue, a task or a state",
        )
    if isinstance(error, psycopg.OperationalError):
        return DatabaseError("The connection to the database was lost.")
    return None


def _coded(error: PgQueueError, code: int, request: Request) -> Response:
    headers = RETRY_AFTER if code == 503 else {}
    if isinstance(error, UNSAID) and not isinstance(error, LockedError | TakenIdError):
        if _is_news(error.code):
            emit(RequestFailed(request.method, request.url.path, error))
        return problem(code, error.code, "The database cannot answer now.", do="try again", headers=headers)
    return told(error, code, headers)


def _is_news(code: str) -> bool:
    """Whether no error with this code was reported in the last SILENCE seconds. Otherwise, an outage would fill the log."""
    now = monotonic()
    if now - _reported.get(code, -SILENCE) < SILENCE:
        return False
    _reported[code] = now
    return True


def told(error: PgQueueError, code: int, headers: dict[str, str] | None = None) -> Response:
    more: dict[str, object] = dict(error.facts)
    if isinstance(error, InvalidBatchError):
        more["errors"] = [
            {"at": f"jobs[{index}]", "message": visible(said)} for index, said in error.reasons.items()
        ]
    if isinstance(error, InvalidRequestError) and error.listed:
        more["errors"] = [{name: visible(text) for name, text in wrong.items()} for wrong in error.listed]
    if isinstance(error, JobFailedError):
        more["state"] = error.state
    return problem(code, error.code, error.what, error.why, error.do, headers, more)


def problem(
    code: int,
    error_code: str,
    what: str,
    why: str = "",
    do: str = "",
    headers: dict[str, str] | None = None,
    more: dict[str, object] | None = None,
) -> Response:
    """Returns an answer of the type application/problem+json."""
    content: dict[str, object] = {
        "type": f"urn:pgqueue:{error_code}",
        "title": HTTPStatus(code).phrase,
        "status": code,
        "code": error_code,
        "detail": visible(what),
    }
    content |= {label: visible(text) for label, text in (("why", why), ("do", do)) if text}
    return Response(encode({**content, **(more or {})}), code, headers, MEDIA)
