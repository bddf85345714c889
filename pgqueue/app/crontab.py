"""``@app.cron``: the schedules that an app's code declares. A worker makes them into rows when it starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import ParamSpec, TypeVar

from pgqueue.app.enqueue import Task
from pgqueue.errors import InvalidArgumentsError, InvalidScheduleError
from pgqueue.model.new_job import NewJob
from pgqueue.model.schedule import Missed, Overlap, Schedule, make
from pgqueue.text.values import shown

P = ParamSpec("P")
R = TypeVar("R")


class Crontab:
    """The base class of ``App`` that keeps the app's schedules, by name."""

    def __init__(self) -> None:
        self.schedules: dict[str, Schedule] = {}
        self._scheduled: dict[str, Task[..., object]] = {}

    def cron(
        self,
        expression: str | None = None,
        /,
        *,
        every: float | str | timedelta | None = None,
        at: datetime | None = None,
        name: str | None = None,
        tz: str = "UTC",
        overlap: Overlap = "queue",
        missed: Missed = "once",
        missed_cap: int = 100,
        jitter: float | str | timedelta = 0,
        anchor: datetime | None = None,
        args: Mapping[str, object] | None = None,
        **options: object,
    ) -> Callable[[Task[P, R]], Task[P, R]]:
        """Declares a schedule of a task: ``@app.cron("0 9 * * MON-FRI", tz="Europe/Warsaw")`` above ``@app.task``.

        Instead of the expression, give ``every`` or ``at``. ``every`` (seconds, a timedelta, or a text such as "5m") counts
        from ``anchor`` (default: when the row is made). ``at`` is the only time at which it fires. ``name``: the default is the task's
        name.
        ``args``: the arguments of each job. ``jitter``: each job runs up to this much later.
        ``overlap`` says what to do if the previous run has not ended: "queue" (the new run waits), "skip", "cancel-old", or
        "allow" (both run). ``missed`` says what to do with fire times that passed more than a minute ago while no worker
        ran: "once" (enqueue the last one), "skip" (enqueue none), or "all" (enqueue the last ``missed_cap`` at most).
        The further options are those of ``using``.

        Raises InvalidScheduleError, InvalidArgumentsError, or what ``using`` raises.
        """

        def declare(task: Task[P, R]) -> Task[P, R]:
            if not isinstance(task, Task):
                raise InvalidScheduleError(
                    f"@app.cron stands on {getattr(task, '__qualname__', task)!s:.80}, which is no task.",
                    do="put @app.cron(…) above @app.task",
                )
            if args is not None and not isinstance(args, Mapping):
                raise InvalidArgumentsError(f"args is {shown(args)}.", do='give a dict: args={"name": "Ada"}')
            job_of: Callable[..., NewJob] = task.using(**options).job
            job = job_of(**(args or {}))
            key = {} if job.unique_key is None else {"unique_key": job.unique_key}
            made = make(
                name or task.name, task.name, cron=expression, every=every, at=at, tz=tz, overlap=overlap, missed=missed,
                missed_cap=missed_cap, jitter=jitter, anchor=anchor, args=job.args, options={**job.options, **key},
            )  # fmt: skip
            former = self._scheduled.get(made.name)
            if former is not None and (former is task or former.name != task.name):
                raise InvalidScheduleError(
                    f"Two schedules are named {made.name!r}.",
                    do="give one of the schedules another name: name=…",
                )
            self.schedules[made.name] = made
            self._scheduled[made.name] = task
            return task

        return declare
