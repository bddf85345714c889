"""The path under which a proxy shows the page. The proxy can take this prefix off the path of a request, or pass the path on as it is."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from pgqueue.errors import InvalidSettingError
from pgqueue.text.values import shown
from pgqueue.ui.reading.pages import PAGES

PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+", re.ASCII)
# The first parts of the app's own paths. With one of them as the prefix, /jobs could be the page of all jobs, or the overview.
OWN = {page.path.split("/")[1] for page in PAGES} | {"static", "live", "actions", "api"}


def checked_prefix(given: str, what: str) -> str:
    """Returns the prefix without a slash at its end. Raises InvalidSettingError if no proxy can show the page there."""
    prefix = given.rstrip("/")
    if prefix and not PREFIX.fullmatch(prefix):
        raise InvalidSettingError(
            f"{what} is {shown(given)}.",
            do=f"begin it with a slash, and use letters and digits: {what} /queue",
        )
    if prefix and prefix.split("/")[1] in OWN:
        raise InvalidSettingError(
            f"{what} is {shown(given)}, which is also the path of a page.",
            do=f"choose another, such as {what} /queue",
        )
    return prefix


class Under:
    """Serves the app under a prefix, whether or not the path of a request still has it."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app, self._prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = str(scope["path"])
            if path == self._prefix or path.startswith(self._prefix + "/"):
                path = path.removeprefix(self._prefix) or "/"
            scope = {**scope, "root_path": self._prefix, "path": self._prefix + path}
            scope.pop("raw_path", None)  # it would be another path
        await self._app(scope, receive, send)
