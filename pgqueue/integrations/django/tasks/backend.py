"""The backend: ``TASKS = {"default": {"BACKEND": "pgqueue.integrations.django.Backend"}}``.

A task is enqueued on Django's connection, so it exists if and only if the transaction commits. A worker, ``manage.py pgq work``, runs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from asgiref.sync import sync_to_async
from django.apps import apps
from django.core import checks
from django.utils import timezone

from pgqueue.errors import PgQueueError
from pgqueue.integrations.django import conf
from pgqueue.integrations.django.discovery import named_app
from pgqueue.integrations.django.tasks import declared, results
from pgqueue.integrations.django.tasks.framework import Framework, framework, preferred
from pgqueue.model.names import check_name
from pgqueue.model.retry import RetryPolicy
from pgqueue.text.nearest import rather

LOWEST, HIGHEST = (
    -100,
    100,
)  # the framework's priorities; a larger number runs first, and pgqueue's order is the opposite


class _Enqueues:
    """What the backends of both packages share. ``framework``: the package of the backend."""

    framework: Framework
    alias: str
    options: Mapping[str, Any]
    queues: set[str]
    is_pgqueue = True
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Stores the task in the transaction of Django's connection. Returns its result, whose id is the id of the job.

        Raises the framework's InvalidTask error for a task that this backend cannot run, TypeError for arguments that are not JSON, and
        the errors of pgqueue's ``enqueue``.
        """
        self.validate_task(task)
        now = timezone.now()
        result = results.made(self, task, 0, now, args, kwargs)  # it checks that the arguments are JSON
        handle = (
            declared.declared(named_app(), self, task)
            .using(**self._options(task, now))
            .enqueue(args=result.args, kwargs=result.kwargs)
        )
        results.change(result, id=str(handle.id))
        self.framework.signals.task_enqueued.send(type(self), task_result=result)
        return result

    async def aenqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """``enqueue`` for async callers, on the connection of Django's async code."""
        return await sync_to_async(self.enqueue, thread_sensitive=True)(task=task, args=args, kwargs=kwargs)

    def get_result(self, result_id: str) -> Any:
        """Returns the result with this id. Raises TaskResultDoesNotExist if there is no such job, or if it runs no task of the framework."""
        found = results.read(result_id)
        task = None if found is None else declared.declared_path(found[0].task, self.framework)
        if found is None or task is None:
            raise self.framework.exceptions.TaskResultDoesNotExist(result_id)
        return results.of_job(self, task, *found)

    async def aget_result(self, result_id: str) -> Any:
        """``get_result`` for async callers."""
        return await sync_to_async(self.get_result, thread_sensitive=True)(result_id=result_id)

    def validate_task(self, task: Any) -> None:
        """Raises the framework's InvalidTask error if the task cannot be stored or run by this backend."""
        super().validate_task(task)  # type: ignore[misc]
        try:
            check_name("task", task.module_path)
            check_name("queue", task.queue_name)
        except PgQueueError as error:
            raise self.framework.invalid(f"{error.what} {error.do or ''}".strip()) from error

    def check(self, **_: object) -> Iterator[Any]:
        """Yields what is wrong with the settings of this backend, for ``manage.py check``."""
        where = f"TASKS[{self.alias!r}]"
        if not apps.is_installed("pgqueue.integrations.django"):
            yield checks.Error(
                f"{where} uses pgqueue, which INSTALLED_APPS lacks.",
                hint='Add "pgqueue.integrations.django" to INSTALLED_APPS.',
                id="pgqueue.E007",
            )
        for name in self.options:
            if name not in declared.DEFAULTS:
                yield checks.Error(
                    f"{where} has the unknown option {name!r}.",
                    hint=rather(str(name), list(declared.DEFAULTS)),
                    id="pgqueue.E008",
                )
        for queue in sorted(self.queues):
            try:
                check_name("queue", queue)
            except PgQueueError as error:
                yield checks.Error(f"{where}: {error.what}", hint=error.do, id="pgqueue.E008")
        try:
            RetryPolicy.of(self.options.get("RETRY", 1))
            conf.alias()
        except PgQueueError as error:
            yield checks.Error(f"{where}: {error.what}", hint=error.do, id="pgqueue.E008")

    def _options(self, task: Any, now: datetime) -> dict[str, Any]:
        known: dict[str, Any] = {"enqueued_at": now.isoformat()}
        options: dict[str, Any] = {
            "queue": task.queue_name, "priority": -task.priority, "meta": {results.META: known}
        }  # fmt: skip
        if task.run_after is not None:
            run_after = task.run_after
            if timezone.is_naive(run_after):
                run_after = timezone.make_aware(run_after)
            known["run_after"] = task.run_after.isoformat()
            options["run_at"] = run_after
        return options


def _backend(name: str, frame: Framework) -> Any:
    """Returns the class of the backend for one of the two packages."""
    return type(
        name,
        (_Enqueues, frame.backends.BaseTaskBackend),
        {
            "framework": frame,
            "__module__": __name__,
            "__doc__": f"pgqueue's backend for {frame.root.__name__}.",
        },
    )


def __getattr__(name: str) -> Any:
    """Makes each class when it is first named, because only one of the two packages may be installed."""
    if name not in ("Backend", "BackportBackend"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = _backend(name, preferred() if name == "Backend" else framework("django_tasks"))
    globals()[name] = found
    return found
