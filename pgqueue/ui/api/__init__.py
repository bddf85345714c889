"""The HTTP API for jobs: an ASGI app that runs alone, or that any other ASGI app mounts.

::

    from pgqueue.ui import api

    app = api.create("postgresql://localhost/shop")      # uvicorn module:app
    site.mount("/queue", api.create(my_app))             # /queue/api/v1/jobs
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgqueue.app.app import App
from pgqueue.errors import PackageMissingError

if TYPE_CHECKING:
    from pgqueue.ui.access.access import Access
    from pgqueue.ui.api.server import Api


def create(
    queue: App | str | None = None,
    *,
    access: Access | None = None,
    prefix: str = "/api/v1",
    actions: bool = True,
    pool_size: int | None = None,
    most_waiting: int = 5000,
) -> Api:
    """Returns the API as an ASGI app.

    ``queue``: an App, so that only its tasks can be enqueued, and arguments are checked against their signatures. Or the DSN of the
    database; None: the DSN that the settings name. Then every task can be enqueued.
    ``access``: who is served. Without it, only programs on the same machine are served, and they only read.
    ``prefix``: the path of the API below the place where the app is mounted. ``pool_size``: the most connections, if ``queue`` is no App.
    ``actions``: whether requests can change anything, if the caller's role allows it. ``most_waiting``: how many requests with ``?wait=`` can
    wait at the same time.

    Raises PackageMissingError if starlette is not installed. Connects with the first request.
    """
    try:
        from pgqueue.ui.access.access import Access  # noqa: PLC0415
        from pgqueue.ui.api.server import Api  # noqa: PLC0415 - starlette is an extra
        from pgqueue.ui.api.service import Service  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise PackageMissingError(
            f"The HTTP API needs {error.name}.", do="pip install 'pgqueue-jobs[web]'"
        ) from error
    is_own = not isinstance(queue, App)
    app = queue if isinstance(queue, App) else App(queue, name="pgqueue.api", pool_size=pool_size)
    service = Service(app, is_own=is_own, most_waiting=most_waiting)
    return Api(service, access or Access(), prefix.rstrip("/"), actions=actions)
