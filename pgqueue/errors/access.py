"""Errors by which the web page and the HTTP API refuse a request."""

from __future__ import annotations

from pgqueue.errors.base import PgQueueError


class AccessError(PgQueueError):
    exit_code = 11


class NotAuthenticatedError(AccessError):
    code = "PGQ-701"


class NotAllowedError(AccessError):
    code = "PGQ-702"


class TooManyGuessesError(AccessError):
    """``seconds``: for how long the address is still locked out."""

    code = "PGQ-703"

    def __init__(self, what: str, *, do: str, seconds: float) -> None:
        super().__init__(what, do=do)
        self.seconds = seconds


class ForeignRequestError(AccessError):
    code = "PGQ-704"


class UnknownHostError(AccessError):
    code = "PGQ-705"
