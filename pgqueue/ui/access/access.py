"""``Access`` decides about each HTTP request: who sends it, and whether it is served at all.

::

    access = Access(TokenFile("tokens.toml").tokens, hosts=["jobs.example.com"])
    who = await access.admit(scope)            # raises an AccessError; ``http_answer`` says with which code and headers
    who.require(Role.operator, "cancel jobs")

Without tokens and without ``authenticate``, only programs on this machine are served, as ``anonymous``: a viewer.
"""

from __future__ import annotations

import base64
import binascii
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime

from pgqueue.errors import (
    AccessError,
    ForeignRequestError,
    InvalidSettingError,
    NotAllowedError,
    NotAuthenticatedError,
    TooManyGuessesError,
    UnknownHostError,
)
from pgqueue.runtime.clock import monotonic
from pgqueue.ui.access.guesses import Guesses
from pgqueue.ui.access.origins import (
    LOOPBACK_NAMES,
    Scope,
    check_host,
    check_site,
    client_address,
    header,
    is_from_here,
    is_loopback,
)
from pgqueue.ui.access.tokens import LONGEST, Token, find
from pgqueue.ui.access.who import Who

Authenticate = Callable[[Scope], Who | Awaitable[Who | None] | None]
Tokens = Sequence[Token] | Callable[[], Sequence[Token]]

ANONYMOUS = Who("anonymous")  # a viewer
# What a server without actions says, on the page and in the API.
ONLY_READS, ALLOW = "This server only reads.", "start it with --allow-actions, or create it with actions=True"
# Chromium looks only at the first scheme of the header, so Basic comes first: otherwise it asks nobody to sign in.
CHALLENGE = 'Basic realm="pgqueue", charset="UTF-8", Bearer realm="pgqueue"'


class Access:
    """Who is served. Tokens, the host app's own ``authenticate``, or both; else only this machine.

    ``tokens``: a list, or ``TokenFile(…).tokens``. A caller sends a token as ``Authorization: Bearer TOKEN``, or by basic auth with the
    token's name as user and the token as password, for which a browser asks.
    ``authenticate``: gets the ASGI scope, and returns a Who, or None for an unknown caller. It can be async. Whatever it raises ends the
    request.
    ``hosts``: the names of this server, without a port, in addition to localhost. Requests for other names are refused.
    ``origins``: other web sites whose pages may send requests. ``anonymous``: who programs on this machine are if there are neither tokens
    nor ``authenticate``. None: nobody is served then.
    """

    def __init__(
        self,
        tokens: Tokens = (),
        *,
        authenticate: Authenticate | None = None,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        anonymous: Who | None = ANONYMOUS,
    ) -> None:
        self._tokens = tokens
        self._authenticate = authenticate
        self._hosts = (*LOOPBACK_NAMES, *hosts)
        self._origins = tuple(origins)
        self._anonymous = anonymous
        self._guesses = Guesses()

    @property
    def asks_who(self) -> bool:
        """Whether callers must say who they are. If not, only programs on this machine are served."""
        return self._authenticate is not None or bool(self._tokens)

    def check_bind(self, host: str, base_path: str = "") -> None:
        """Raises InvalidSettingError if a server on this address could be reached from elsewhere, but callers need not say who they are.

        A further host name and a ``base_path`` mean that a proxy is in front of the server. To the server, all callers of a proxy can look like
        programs on this machine.
        """
        if not self.asks_who and (base_path or len(self._hosts) > len(LOOPBACK_NAMES)):
            raise InvalidSettingError(
                "Without tokens, the server cannot be behind a proxy.",
                why="each caller of the proxy would count as a program on this machine",
                do="make a token with pgq api token and name its file",
            )
        if not self.asks_who and not is_loopback(host):
            raise InvalidSettingError(
                f"Without tokens, the server cannot listen on {host}.",
                why="other machines could reach it",
                do="make a token with pgq api token and name its file, or listen on 127.0.0.1",
            )

    async def admit(self, scope: Scope) -> Who:
        """Returns who sends the request. Raises an AccessError if the request is not served, and whatever ``authenticate`` raises.

        ``scope``: of ASGI's type http. Does no I/O, apart from reading the file of tokens again if it has changed.
        """
        check_host(scope, self._hosts)
        check_site(scope, self._origins)
        if self._authenticate is not None:
            answer = self._authenticate(scope)
            who = await answer if inspect.isawaitable(answer) else answer
            if who is not None:
                return _checked(who)
        if self._tokens:
            return self._by_token(scope)
        if not self.asks_who and self._anonymous is not None and is_from_here(scope):
            return self._anonymous
        raise NotAuthenticatedError(
            "This server does not know who sends the request.",
            why="" if self.asks_who else "it has no tokens, so it serves only programs on its own machine",
            do="" if self.asks_who else "make a token with pgq api token",
        )

    def _by_token(self, scope: Scope) -> Who:
        address, now = client_address(scope), monotonic()
        if (left := self._guesses.locked_for(address, now)) > 0:
            raise TooManyGuessesError(
                f"Too many wrong tokens came from {address or 'this address'}.",
                do=f"wait {left:.0f} seconds",
                seconds=left,
            )
        given = header(scope, b"authorization")
        if given is None:
            raise NotAuthenticatedError(
                "The request has no token.", do="send the header Authorization: Bearer TOKEN"
            )
        name, presented = _presented(given)
        tokens = self._tokens() if callable(self._tokens) else self._tokens
        found = find(presented, tokens, datetime.now(UTC))
        if found is None or (name is not None and name != found.who.name):
            self._guesses.note(address, now)
            raise NotAuthenticatedError(
                "The token is unknown, was removed or has expired.",
                do="send a token that pgq api token has made",
            )
        return found.who


def _checked(who: object) -> Who:
    if not isinstance(who, Who):
        raise InvalidSettingError(
            f"authenticate= returned a {type(who).__name__}.",
            do="return a Who, or None for an unknown caller",
        )
    return who


def _presented(authorization: str) -> tuple[str | None, str]:
    """Returns the user and the token in a header Authorization. The user is None for a bearer token; the token is empty if it is unreadable."""
    scheme, _, value = authorization.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return None, value
    if scheme.lower() != "basic" or len(value) > 2 * LONGEST:
        return None, ""
    try:
        name, colon, token = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None, ""
    return (name, token) if colon else (None, "")


CODES: dict[type[AccessError], int] = {
    NotAuthenticatedError: 401,
    NotAllowedError: 403,
    ForeignRequestError: 403,
    UnknownHostError: 421,
    TooManyGuessesError: 429,
}


def http_answer(error: AccessError) -> tuple[int, dict[str, str]]:
    """Returns the HTTP status code and the headers with which a server answers this error."""
    code = CODES[type(error)]
    if isinstance(error, TooManyGuessesError):
        return code, {"Retry-After": str(max(1, round(error.seconds + 0.5)))}
    return code, {"WWW-Authenticate": CHALLENGE} if code == 401 else {}
