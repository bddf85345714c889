"""Runs one attempt of a task of the framework in a worker: with its context, its signals, and its result as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.utils import timezone

from pgqueue.integrations.django.tasks import results
from pgqueue.model.job import Job
from pgqueue.model.outcome import Cancel, RateLimited, Snooze
from pgqueue.model.suspension import is_suspension

NO_FAILURES = (Snooze, RateLimited, Cancel)


class Running:
    """An attempt. The signal ``task_finished`` is sent when no attempt follows, just before the worker writes the outcome."""

    def __init__(self, backend: Any, task: Any, job: Job) -> None:
        self._backend, self._task, self._job = backend, task, job
        self._frame = backend.framework

    def run(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        result = results.of_attempt(self._backend, self._task, self._job)
        signals = self._frame.signals
        signals.task_started.send(type(self._backend), task_result=result)
        try:
            value = self._frame.base.normalize_json(self._task.func(*self._given(result, args), **kwargs))
        except BaseException as error:
            if self._failed(result, error):
                signals.task_finished.send(type(self._backend), task_result=result)
            raise
        self._succeeded(result, value)
        signals.task_finished.send(type(self._backend), task_result=result)
        return value

    async def arun(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """``run`` for a coroutine function."""
        result = await results.aof_attempt(self._backend, self._task, self._job)
        signals = self._frame.signals
        await signals.task_started.asend(type(self._backend), task_result=result)
        try:
            value = self._frame.base.normalize_json(
                await self._task.func(*self._given(result, args), **kwargs)
            )
        except BaseException as error:
            if self._failed(result, error):
                await signals.task_finished.asend(type(self._backend), task_result=result)
            raise
        self._succeeded(result, value)
        await signals.task_finished.asend(type(self._backend), task_result=result)
        return value

    def _given(self, result: Any, args: list[Any]) -> list[Any]:
        if not self._task.takes_context:
            return args
        context: Callable[..., Any] = self._frame.base.TaskContext
        return [context(task_result=result), *args]

    def _succeeded(self, result: Any, value: Any) -> None:
        results.change(
            result, status=self._states.SUCCESSFUL, finished_at=timezone.now(), _return_value=value
        )

    def _failed(self, result: Any, error: BaseException) -> bool:
        """Notes the error in the result. Returns whether the job has failed for good, as far as this attempt can say."""
        if isinstance(error, NO_FAILURES) or is_suspension(error):
            return False
        results.change(result, errors=[*result.errors, results.error_of(self._frame, error)])
        if self._job.attempt < self._job.max_attempts:
            return False
        results.change(result, status=self._states.FAILED, finished_at=timezone.now())
        return True

    @property
    def _states(self) -> Any:
        return self._frame.base.TaskResultStatus
