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


class InvalidRequestError(PgQueueError):
    """``http_code``: the HTTP status code of the answer. ``listed``: each wrong field, as ``at`` and ``message``."""

    code = "PGQ-710"
    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        do: str = "",
        http_code: int = 400,
        headers: dict[str, str] | None = None,
        listed: list[dict[str, str]] | None = None,
    ) -> None:
        super().__init__(what, why=why, do=do)
        self.http_code = http_code
        self.headers = headers or {}
        self.listed = listed or []


class ServerBusyError(PgQueueError):
    code = "PGQ-711"
    exit_code = 3
