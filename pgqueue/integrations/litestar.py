"""Litestar: a lifespan, 202 for accepted jobs, a route for their state, and keys of requests.

::

    queue = App()
    app = Litestar([..., job_handler(queue, may_see=of_the_same_user)], lifespan=[lifespan(queue)], exception_handlers=ERRORS)
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from pgqueue.app.app import App
from pgqueue.app.handle import JobHandle
from pgqueue.errors import JobNotFoundError, PgQueueError
from pgqueue.integrations import answers
from pgqueue.integrations.asgi import lifespan
from pgqueue.model.job import Job
from pgqueue.ui.api.problems import MEDIA, problem_of

__all__ = ["ERRORS", "accepted", "idempotency_key", "job_handler", "lifespan"]

Requested = Request[Any, Any, Any]


def accepted(
    handle: JobHandle, location: str, *, retry_after: int = answers.AGAIN
) -> Response[dict[str, object]]:
    """Returns the answer 202 (Accepted) for a job. ``location``: where its state can be read. ``retry_after``: seconds."""
    answer = answers.accepted(handle, location, retry_after)
    return Response(answer.content, status_code=answer.code, headers=answer.headers)


def job_handler(
    queue: App, *, may_see: Callable[[Any, Job], bool | Awaitable[bool]], path: str = "/jobs"
) -> HTTPRouteHandler:
    """Returns a handler for ``GET {path}/{job_id}``. See ``pgqueue.integrations.starlette.job_route``."""

    @get(f"{path}/{{job_id:str}}", name="pgqueue_job")
    async def state(request: Requested) -> Response[dict[str, object]]:
        job = await queue.handle(answers.read_id(str(request.path_params["job_id"]))).ajob()
        allowed = may_see(request, job)
        if not (await allowed if inspect.isawaitable(allowed) else allowed):
            raise JobNotFoundError(job.id)
        answer = answers.state_of(job)
        return Response(answer.content, status_code=answer.code, headers=answer.headers)

    return state


def idempotency_key(request: Requested, caller: object, *, is_required: bool = True) -> str | None:
    """Returns the key for ``using(idempotency_key=…)``. See ``pgqueue.integrations.starlette.idempotency_key``."""
    given = request.headers.get(answers.HEADER)
    return answers.idempotency_key(
        given, str(caller), f"{request.method} {request.url.path}", is_required=is_required
    )


def _answer(request: Requested, error: PgQueueError) -> Response[bytes]:
    found = problem_of(error, request.method, request.url.path)
    return Response(found.body, status_code=found.code, headers=dict(found.headers), media_type=MEDIA)


ERRORS: dict[Any, Any] = {PgQueueError: _answer}  # for ``exception_handlers``
