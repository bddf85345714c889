"""An error as an answer of Starlette."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from pgqueue.ui.api.problems import MEDIA, problem_of


def answer_to(error: BaseException, request: Request) -> Response:
    """Returns the answer for an error (``problem_of``)."""
    found = problem_of(error, request.method, request.url.path)
    return Response(found.body, found.code, found.headers, MEDIA)
