"""What each surface tells its caller about an error: which error of pgqueue it is, and with which status code HTTP answers it."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg

from pgqueue.database.outage import one_line, shown_to_a_person
from pgqueue.errors import (
    AccessError,
    ActionNotUndoneError,
    BatchClosedError,
    CommitUnconfirmedError,
    DatabaseError,
    DuplicateJobError,
    IdempotencyConflictError,
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
from pgqueue.ui.access import access

# The code of an answer is that of the first class here to which the error belongs. Every other error is the fault of the server: 500.
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
# Seconds after which a caller should try again: the server can serve it by then (503), or one of its own requests has ended (429).
AGAIN = {503: "5", 429: "30"}


def known(error: BaseException) -> PgQueueError | None:
    """Returns the error of pgqueue for this error. None: it is a bug."""
    if isinstance(error, PgQueueError):
        return error
    if isinstance(error, psycopg.errors.QueryCanceled):
        return ServerBusyError(
            "The database did not answer within the time limit.",
            do="ask for less, such as one queue or one task",
        )
    if isinstance(error, psycopg.OperationalError):  # such as a full disk
        return shown_to_a_person(error) or DatabaseError(
            "The database cannot do this now.", why=one_line(error), do="try it again in a moment"
        )
    return shown_to_a_person(error) if isinstance(error, psycopg.Error) else None


def http_answer(error: PgQueueError) -> tuple[int, Mapping[str, str]]:
    """Returns the status code and the headers with which HTTP answers this error."""
    if isinstance(error, AccessError):
        return access.http_answer(error)
    if isinstance(error, InvalidRequestError):
        code, headers = error.http_code, error.headers
    else:
        code, headers = next((code for kind, code in CODES if isinstance(error, kind)), 500), {}
    return code, {"Retry-After": AGAIN[code], **headers} if code in AGAIN else headers


def too_many(what: str, do: str) -> InvalidRequestError:
    """Returns the error for a caller that has reached a limit of its own. A limit of the server is a ServerBusyError."""
    return InvalidRequestError(what, do=do, http_code=429)
