"""Starlette, and what is built on it: 202 for accepted jobs, a route for their state, keys of requests, and answers to pgqueue's errors.

::

    queue = App()
    app = Starlette(lifespan=lifespan(queue), routes=[..., job_route(queue, may_see=of_the_same_user)])
    explain_errors(app)
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import NoMatchFound, Route

from pgqueue.app.app import App
from pgqueue.app.handle import JobHandle
from pgqueue.errors import InvalidSettingError, JobNotFoundError, PgQueueError
from pgqueue.integrations import answers
from pgqueue.integrations.asgi import lifespan
from pgqueue.model.job import Job
from pgqueue.ui.api.error_response import answer_to

__all__ = ["accepted", "explain_errors", "idempotency_key", "job_route", "lifespan"]

MaySee = Callable[[Any, Job], bool | Awaitable[bool]]
ROUTE = "pgqueue_job"  # the name of ``job_route``


def accepted(
    request: Request, handle: JobHandle, *, location: str | None = None, retry_after: int = answers.AGAIN
) -> JSONResponse:
    """Returns the answer 202 (Accepted) for a job, with Location and Retry-After. Call it after your transaction has committed.

    ``location``: where the state of the job can be read; by default, the path of ``job_route``. ``retry_after``: seconds. If a key found
    another job, the answer is about that job, and its ``created`` is false. Raises InvalidSettingError if there is neither.
    """
    answer = answers.accepted(handle, location or _path(request, handle.id), retry_after)
    return JSONResponse(answer.content, answer.code, answer.headers)


def _path(request: Request, job_id: int) -> str:
    try:
        return request.url_for(ROUTE, job_id=job_id).path
    except NoMatchFound:
        raise InvalidSettingError(
            "accepted() does not know where the state of a job can be read.",
            do="add job_route(queue, may_see=…) to the routes, or give accepted() a location",
        ) from None


def job_route(queue: App, *, may_see: MaySee, path: str = "/jobs/{job_id}") -> Route:
    """Returns a route that answers with the state of a job: id, state, attempt, progress, and the result of a completed job.

    ``may_see(request, job)``: whether the caller may see this job; it can be async. It is required, because ids of jobs can be guessed:
    compare, for instance, ``job.meta["user"]`` with the user of the request. A job that the caller may not see, a job that is gone, and a text
    that is no id all get the same answer, 404.
    """

    async def state(request: Request) -> Response:
        try:
            job = await queue.handle(answers.read_id(str(request.path_params["job_id"]))).ajob()
            allowed = may_see(request, job)
            if not (await allowed if inspect.isawaitable(allowed) else allowed):
                raise JobNotFoundError(job.id)
        except PgQueueError as error:
            return answer_to(error, request)
        answer = answers.state_of(job)
        return JSONResponse(answer.content, answer.code, answer.headers)

    return Route(path, state, name=ROUTE)


def idempotency_key(request: Request, caller: object, *, is_required: bool = True) -> str | None:
    """Returns the key for ``using(idempotency_key=…)`` from the header ``Idempotency-Key``.

    ``caller``: who sends the request, such as the id of a user. Callers cannot meet each other's keys. Raises InvalidRequestError (400) if
    the header is missing although required, or is no text of 1 to 255 printable characters.
    """
    given = request.headers.get(answers.HEADER)
    place = f"{request.method} {request.url.path}"
    return answers.idempotency_key(given, str(caller), place, is_required=is_required)


def explain_errors(app: Any) -> None:
    """Lets a Starlette or FastAPI application answer pgqueue's errors as application/problem+json (RFC 9457).

    If the database is away, the answer is 503 with Retry-After. The log has pgqueue's sentence, at most once in ten seconds for each code.
    """

    async def answer(request: Request, error: Exception) -> Response:
        return answer_to(error, request)

    app.add_exception_handler(PgQueueError, answer)
