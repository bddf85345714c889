"""Turns every error into an answer of the type application/problem+json (RFC 9457), with pgqueue's code and what to do. No framework is needed.

An answer never has a traceback, and says nothing about the server that only its operator should know: a fact with the error is emitted
instead, so that the error is in the server's log.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

from pgqueue.errors import (
    DatabaseError,
    InvalidBatchError,
    InvalidRequestError,
    JobFailedError,
    LockedError,
    PgQueueError,
    TakenIdError,
)
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.users import RequestFailed
from pgqueue.text.shown import visible
from pgqueue.ui.api.strict_json import encode
from pgqueue.ui.reading.failures import http_answer, known

MEDIA = "application/problem+json"
SILENCE = 10.0  # seconds
_reported: dict[str, float] = {}  # for each code of an error, when it was reported last


class Problem(NamedTuple):
    """An answer of the type MEDIA: its status code, its headers, and its content as JSON."""

    code: int
    headers: Mapping[str, str]
    body: bytes


def problem_of(error: BaseException, method: str, path: str) -> Problem:
    """Returns the answer for an error of a request. Emits a fact if the operator of the server must know of the error."""
    said = known(error)
    if said is None:
        emit(RequestFailed(method, path, error))
        return problem(
            500, "PGQ-001", "An unexpected error has ended the request.", do="look at the log of the server"
        )
    code, headers = http_answer(said)
    if code == 500:
        emit(RequestFailed(method, path, said))
        return problem(500, said.code, "The server has a wrong setting.", do="look at the log of the server")
    # The sentences of other errors of the database name the server, so they are only in the log.
    if isinstance(said, DatabaseError) and not isinstance(said, LockedError | TakenIdError):
        if _is_news(said.code):
            emit(RequestFailed(method, path, said))
        return problem(code, said.code, "The database cannot answer now.", do="try again", headers=headers)
    return told(said, code, headers)


def _is_news(code: str) -> bool:
    """Whether no error with this code was reported in the last SILENCE seconds. Otherwise, an outage would fill the log."""
    now = monotonic()
    if now - _reported.get(code, -SILENCE) < SILENCE:
        return False
    _reported[code] = now
    return True


def told(error: PgQueueError, code: int, headers: Mapping[str, str] | None = None) -> Problem:
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
    headers: Mapping[str, str] | None = None,
    more: dict[str, object] | None = None,
) -> Problem:
    """Returns an answer of the type application/problem+json."""
    content: dict[str, object] = {
        "type": f"urn:pgqueue:{error_code}",
        "title": HTTPStatus(code).phrase,
        "status": code,
        "code": error_code,
        "detail": visible(what),
    }
    content |= {label: visible(text) for label, text in (("why", why), ("do", do)) if text}
    return Problem(code, headers or {}, encode({**content, **(more or {})}))
