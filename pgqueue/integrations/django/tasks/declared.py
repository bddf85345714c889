"""Makes a task of pgqueue of each task that the project declares with the Tasks framework. Its name is the path of the function."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from pgqueue.app.app import App
from pgqueue.app.enqueue import Task
from pgqueue.integrations.django.tasks import framework
from pgqueue.integrations.django.tasks.running import Running
from pgqueue.model.job import Job

# The options of a backend that become options of its tasks. Django's framework promises no retries, so the default is one attempt.
DEFAULTS: dict[str, Any] = {"RETRY": 1, "TIMEOUT": None, "EXECUTOR": None}


def declare_all(app: App) -> None:
    """Declares every task of every imported module whose backend is pgqueue's."""
    for task in _imported():
        backend = task.get_backend()
        if getattr(backend, "is_pgqueue", False):
            declared(app, backend, task)


def declared(app: App, backend: Any, task: Any) -> Task[..., Any]:
    """Returns the task of pgqueue that runs ``task``, and declares it in the app if it is not known yet."""
    path = task.module_path
    known = app.tasks.get(path)
    if known is not None:
        if getattr(known.spec.function, "django", None) == (task.func, backend.alias):
            return known
        del (
            app.tasks[path],
            app.store.specs[path],
        )  # the module was loaded again, or the settings have changed in a test
    chosen = {**DEFAULTS, **backend.options}
    return app.task(
        name=path,
        queue=task.queue_name,
        priority=-task.priority,
        retry=chosen["RETRY"],
        timeout=chosen["TIMEOUT"],
        executor=chosen["EXECUTOR"],
    )(_handler(backend, task))


def declared_path(path: str, frame: framework.Framework) -> Any:
    """Returns the task of the framework that an imported module declares under this path; None if there is none."""
    module, _, name = path.rpartition(".")
    found: Any = getattr(sys.modules.get(module), name, None)
    return found if frame.is_task(found) and found.module_path == path else None


def _handler(backend: Any, task: Any) -> Callable[..., Any]:
    """Returns the function that a worker calls for the jobs of ``task``."""
    call: Any
    if inspect.iscoroutinefunction(task.func):

        async def run_async(job: Job, args: list[Any], kwargs: dict[str, Any]) -> Any:
            return await Running(backend, task, job).arun(args, kwargs)

        call = run_async
    else:

        def run(job: Job, args: list[Any], kwargs: dict[str, Any]) -> Any:
            return Running(backend, task, job).run(args, kwargs)

        call = run
    call.__doc__, call.django = task.func.__doc__, (task.func, backend.alias)
    handler: Callable[..., Any | Awaitable[Any]] = call
    return handler


def _imported() -> list[Any]:
    """Returns each task that is a global of an imported module, once."""
    frames = framework.loaded()
    found: dict[str, Any] = {}
    for module in list(sys.modules.values()):
        for value in list(getattr(module, "__dict__", {}).values()):
            if any(frame.is_task(value) for frame in frames):
                found.setdefault(value.module_path, value)
    return list(found.values())
