"""What a worker tells the callbacks of ``@app.on(…)``. docs/logging.md compares the events with those of BullMQ."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar

from pgqueue.errors import InvalidOptionError
from pgqueue.model.declaring import Runs
from pgqueue.text.nearest import rather
from pgqueue.text.values import shown

WorkerEventName = Literal["completed", "failed", "error", "stalled"]
WORKER_EVENTS: tuple[WorkerEventName, ...] = ("completed", "failed", "error", "stalled")


@dataclass(frozen=True, slots=True)
class WorkerEvent:
    """Something that has happened in a worker. What is not known, or is about no job, is None.

    ``event``: completed; failed, for each failed attempt; stalled, if a job was taken back from a worker that died or lost its lease; or
    error, for a trouble of the worker itself, such as an outage of the database. ``state``: the state of the job after it: completed,
    retrying, dead or cancelled. ``seconds``: how long the attempt ran. ``delay``: seconds until the next attempt. ``error`` is a text
    without secret values.
    """

    event: WorkerEventName
    at: datetime
    worker_id: int | None = None
    job_id: int | None = None
    task: str | None = None
    queue: str | None = None
    attempt: int | None = None
    max_attempts: int | None = None
    state: str | None = None
    error: str | None = None
    seconds: float | None = None
    delay: float | None = None


Callback = Callable[[WorkerEvent], Awaitable[object] | object]
CB = TypeVar("CB", bound=Callback)


class Watched:
    """The base class of apps, with the decorator that declares callbacks."""

    def __init__(self) -> None:
        self.callbacks: dict[WorkerEventName, list[Callback]] = {}
        self._callback_runs = Runs()

    def on(self, event: WorkerEventName) -> Callable[[CB], CB]:
        """Declares a callback: ``@app.on("failed")`` on a def or async def that takes one ``WorkerEvent``.

        ``event``: completed, failed (each failed attempt), stalled (a job was taken back from a dead worker), or error (a trouble of the
        worker, such as an outage). The callback is called on a thread of its own, in the worker's process, at most once for each event.
        What it raises is only logged. For work that must happen, use hooks (``on_dead``), which run as jobs. Raises InvalidOptionError.
        """
        if event not in WORKER_EVENTS:
            raise InvalidOptionError(f"The event is {shown(event)}.", do=rather(event, WORKER_EVENTS))

        def declare(callback: CB) -> CB:
            try:
                inspect.signature(callback).bind("event")
            except (TypeError, ValueError):
                raise InvalidOptionError(
                    f"The callback is {shown(callback)}.", do="give a function of (event)"
                ) from None
            listed: list[Any] = self.callbacks.setdefault(event, [])
            self._callback_runs.put(listed, callback)
            return callback

        return declare
