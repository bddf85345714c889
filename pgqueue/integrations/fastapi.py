"""FastAPI: everything of ``pgqueue.integrations.starlette``, as dependencies where that helps.

::

    queue = App()
    app = FastAPI(lifespan=lifespan(queue))
    explain_errors(app)
    app.include_router(job_router(queue, may_see=of_the_same_user))

A dependency that commits must end before the answer is sent: ``Depends(session, scope="function")``. With FastAPI's default, ``scope="request"``,
the commit follows the answer, so a caller could read 202 although the job was never stored.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request

from pgqueue.app.app import App
from pgqueue.integrations.asgi import lifespan
from pgqueue.integrations.starlette import MaySee, accepted, explain_errors, job_route
from pgqueue.integrations.starlette import idempotency_key as of_request

__all__ = ["accepted", "explain_errors", "idempotency_key", "job_router", "lifespan"]


def job_router(queue: App, *, may_see: MaySee, path: str = "/jobs/{job_id}") -> APIRouter:
    """Returns a router with ``job_route``, for ``app.include_router``."""
    return APIRouter(routes=[job_route(queue, may_see=may_see, path=path)])


def idempotency_key(
    caller: Callable[[Request], object], *, is_required: bool = True
) -> Callable[[Request], str | None]:
    """Returns a dependency: ``key: Annotated[str, Depends(idempotency_key(lambda request: request.state.user.id))]``."""

    def key(request: Request) -> str | None:
        return of_request(request, caller(request), is_required=is_required)

    return key
