"""The tasks that a worker of an app performs: the app's tasks, and one hook task for each event of a task if the event has hooks.

pgqueue itself makes the hook tasks. The handler of a hook task calls the hooks.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from pgqueue.app.app import App
from pgqueue.config import WorkerSettings
from pgqueue.maintenance.alerting import messages
from pgqueue.maintenance.alerting.settings import AlertSettings
from pgqueue.model.groups import deciding
from pgqueue.model.hooks import QUEUE, Event, Failure, hook_name, job_told
from pgqueue.model.outcome import is_instruction
from pgqueue.model.redaction import NOTHING, Redaction
from pgqueue.model.shown_job import of_hook
from pgqueue.model.task import TaskSpec
from pgqueue.sql import JsonObject
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.users import HookFailed
from pgqueue.text.values import shown
from pgqueue.worker.running.threads import InterruptedByTimeout


def handlers(app: App) -> dict[str, TaskSpec]:
    """Returns the tasks that a worker of the app performs, by name. Raises InvalidNameError if the name of a hook task is too long."""
    found: dict[str, TaskSpec] = {}
    for name, task in app.tasks.items():
        events = app.events_of(name)
        found[name] = replace(task.spec, has_hooks=True) if "completed" in events else task.spec
        for event in events:
            hooks = [*task.hooks.get(event, ()), *app.hooks.get(event, ())]
            spec = hook_spec(hook_name(name, event), event, hooks, of_hook(task.spec.redaction))
            found[spec.name] = spec
    return found


def hook_names(app: App) -> list[str]:
    """Returns the names of the hook tasks. Statements that write outcomes enqueue jobs of these tasks."""
    return [hook_name(task, event) for task in app.tasks for event in app.events_of(task)]


def serving(settings: WorkerSettings, app: App, alert_settings: AlertSettings) -> WorkerSettings:
    """Adds pgqueue's own queues to the settings: one queue if the app has hooks, and another if ``alert_settings`` can send messages.

    If the settings already contain such a queue, the queue keeps the slots that the user has given it.
    """
    own = [QUEUE] if hook_names(app) else []
    own += [messages.QUEUE] if messages.alert_tasks(alert_settings) else []
    return replace(
        settings, queues={**settings.queues, **{name: None for name in own if name not in settings.queues}}
    )


def hook_spec(
    name: str, event: Event, hooks: list[Callable[..., object]], redacts: Redaction = NOTHING
) -> TaskSpec:
    """Makes a task that calls the hooks of an event one after the other. ``redacts``: what is secret in the arguments of its jobs.

    If one of the hooks is async, the handler of the task runs on the loop. Otherwise it runs on a thread.
    """
    call = _on_the_loop if any(inspect.iscoroutinefunction(hook) for hook in hooks) else _on_a_thread
    return TaskSpec(
        name=name, function=call(Hooks(name, event, hooks)), queue=QUEUE, keep="failures", executor="async",
        is_internal=True, redacts=redacts,
    )  # fmt: skip


class Hooks:
    """The hooks of one event. If a hook fails, its error is logged, and the next hooks are still called.

    If a hook raises an instruction (Retry, for instance), the next hooks are called, too. After that, the first instruction is raised.
    """

    def __init__(self, name: str, event: Event, hooks: list[Callable[..., object]]) -> None:
        self.name, self.event, self.hooks = name, event, hooks

    def given(
        self, job: JsonObject, reason: str, error: str | None, traceback: str | None
    ) -> tuple[object, ...]:
        told = job_told(job)
        return (told,) if self.event == "completed" else (told, Failure(reason, error or "", traceback))

    @contextmanager
    def guarded(
        self, hook: Callable[..., object], job: JsonObject, asked: list[BaseException]
    ) -> Iterator[None]:
        try:
            yield
        except (asyncio.CancelledError, InterruptedByTimeout):
            raise
        except BaseException as error:  # noqa: BLE001 - even if a hook raises SystemExit, the next hooks are called
            cause = deciding(error, is_instruction)
            if is_instruction(cause):
                asked.append(cause)
                return
            name = hook.__qualname__ if inspect.isfunction(hook) else shown(hook)
            emit(HookFailed(name, self.name, job.get("id"), error))


def _on_a_thread(hooks: Hooks) -> Callable[..., None]:
    def call_hooks(
        job: JsonObject, reason: str, error: str | None = None, traceback: str | None = None
    ) -> None:
        given = hooks.given(job, reason, error, traceback)
        asked: list[BaseException] = []
        for hook in hooks.hooks:
            with hooks.guarded(hook, job, asked):
                hook(*given)
        if asked:
            raise asked[0]

    return call_hooks


def _on_the_loop(hooks: Hooks) -> Callable[..., Awaitable[None]]:
    async def call_hooks(
        job: JsonObject, reason: str, error: str | None = None, traceback: str | None = None
    ) -> None:
        given = hooks.given(job, reason, error, traceback)
        asked: list[BaseException] = []
        for hook in hooks.hooks:
            with hooks.guarded(hook, job, asked):
                if inspect.iscoroutinefunction(hook):
                    await hook(*given)
                else:
                    await asyncio.to_thread(hook, *given)
        if asked:
            raise asked[0]

    return call_hooks
