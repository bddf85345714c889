"""Looks for dead jobs, for queues that stand still and for queues that are late. Raises and resolves alerts about them.

A queue stands still if none of its due jobs is claimed. A queue is late if one of its jobs has been due for longer than the queue's
max_age.

The search runs about once in each heartbeat. While an old snapshot keeps vacuum from removing dead entries of indexes, a search reads many
such entries and takes long. The pause after a long search is longer, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import forever
from pgqueue.database.sifting import sift
from pgqueue.maintenance.alerting.messages import TASKS
from pgqueue.maintenance.alerting.settings import AlertSettings
from pgqueue.model.alert import AlertChange, Cause, DeadTask, Front
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.maintenance import AlertNotRaised, AlertOpened, AlertResolved

TIMES_ITS_DURATION = 20  # a pause is at least this many times as long as the search before it
CALM_LOOKS = 3  # an alert is resolved if this many searches in a row do not find its cause

# Here, the due jobs of a queue are divided by their priority and their concurrency_key. The key is None for jobs without a key.
Lane = tuple[int, str | None]


class Watch:
    """Looks for causes of alerts again and again, about every ``every`` seconds."""

    def __init__(self, link: Link, settings: AlertSettings, every: float) -> None:
        self._link, self._settings, self._every = link, settings, every
        self._queues = Standstill()
        self._until = 0.0

    async def run(self) -> None:
        """Looks again and again until it is cancelled."""
        self._queues = Standstill()
        # Until this time, raise_alerts runs even if no cause is found, so that it resolves alerts that the former leader raised.
        self._until = monotonic() + 2 * CALM_LOOKS * self._every
        try:
            await forever("the watch for alerts", self._turn)
        finally:
            await self._link.close()

    async def _turn(self) -> float:
        begun = monotonic()
        await self.look(begun)
        return max(self._every, TIMES_ITS_DURATION * (monotonic() - begun))

    async def look(self, now: float) -> None:
        fronts = await self._link.once(statements.watch_queues())
        dead = await self._link.once(statements.watch_dead())
        causes = [
            *(dead_cause(task) for task in dead),
            *late_causes(fronts, self._settings.max_age),
            *stalled_causes(fronts, self._queues.seen(fronts, now), self._settings.stalled_after),
        ]
        if causes:
            self._until = now + 2 * CALM_LOOKS * self._every
        if now > self._until:
            return
        remind = self._settings.remind_every or None

        async def run(part: Sequence[Cause]) -> list[list[AlertChange]]:
            calm, tasks = CALM_LOOKS * self._every, sorted(TASKS.values())
            return [await self._link.once(statements.raise_alerts(part, tasks, calm=calm, remind=remind))]

        async def give_up(cause: Cause, error: Exception) -> None:
            emit(AlertNotRaised(cause.kind, cause.subject, error))

        changes = await sift(causes, run, give_up)
        for change in chain.from_iterable(changes):
            emit((AlertOpened if change.opened else AlertResolved)(change.id, change.text))


@dataclass
class Unmoved:
    """The fronts (first due jobs) of a queue, for each priority and key. No front has moved to a later job since the time ``since``."""

    fronts: dict[Lane, tuple[float, int]]
    since: float


class Standstill:
    """Remembers the fronts of each queue from one search to the next.

    If the next search finds a later job as the front, or no front, the job that was the front before counts as claimed.
    """

    def __init__(self) -> None:
        self._queues: dict[str, Unmoved] = {}

    def seen(self, fronts: Sequence[Front], now: float) -> dict[str, float]:
        """Returns, for each queue with due jobs, how many seconds ago a job was last claimed from it."""
        found: dict[str, dict[Lane, tuple[float, int]]] = {}
        for front in fronts:
            found.setdefault(front.queue, {})[front.priority, front.key] = (front.run_at, front.job_id)
        self._queues = {queue: self._compared(queue, lanes, now) for queue, lanes in found.items()}
        return {queue: now - unmoved.since for queue, unmoved in self._queues.items()}

    def _compared(self, queue: str, lanes: dict[Lane, tuple[float, int]], now: float) -> Unmoved:
        former = self._queues.get(queue)
        if former is None or any(
            name not in lanes or lanes[name] > place for name, place in former.fronts.items()
        ):
            return Unmoved(lanes, now)
        return Unmoved(lanes, former.since)


def dead_cause(dead: DeadTask) -> Cause:
    what = f"1 job of {dead.task} is" if dead.count == 1 else f"{dead.count} jobs of {dead.task} are"
    error = f": {dead.error.splitlines()[0]:.200}" if dead.error else ""
    return Cause(
        "dead", dead.task, f"{what} dead, the last is {dead.job_id}{error}", dead.queue, dead.job_id, dead.count,
        dead.first_at,
    )  # fmt: skip


def late_causes(fronts: Sequence[Front], limit: float | None) -> list[Cause]:
    """Returns a cause for each queue whose oldest job has been due for longer than its max_age. ``limit`` replaces a missing max_age."""
    causes = []
    for front in _oldest(fronts):
        allowed = front.max_age or limit
        if allowed and front.age > allowed:
            text = f"job {front.job_id} of queue {front.queue} has been due for {_span(front.age)}; the limit is {_span(allowed)}"
            causes.append(Cause("late", front.queue, text, front.queue, front.job_id))
    return causes


def stalled_causes(fronts: Sequence[Front], unmoved: dict[str, float], after: float) -> list[Cause]:
    """Returns one cause for each queue that stands still.

    A queue stands still if its oldest due job has been due for more than ``after`` seconds, and if at least one of two things is true: no
    job has been claimed from the queue for more than ``after`` seconds, or no living worker both serves the queue and knows the task of the
    oldest job, and accepts its version.
    """
    causes = []
    for front in _oldest(fronts) if after else ():
        if front.age <= after or (
            front.task_served and front.version is None and unmoved[front.queue] <= after
        ):
            continue
        if not front.queue_served:
            why = "no living worker serves it"
        elif not front.task_served:
            why = f"no living worker of this queue knows the task {front.task}"
        elif front.version is not None:
            why = f"no living worker of this queue accepts version {front.version} of the task {front.task}"
        else:
            why = f"nothing has been claimed for {_span(unmoved[front.queue])}"
        text = f"queue {front.queue} stands still: job {front.job_id} has been due for {_span(front.age)}, and {why}"
        causes.append(Cause("stalled", front.queue, text, front.queue, front.job_id))
    return causes


def _oldest(fronts: Sequence[Front]) -> list[Front]:
    """Returns the oldest front of each queue. In ``fronts``, it is the first front of its queue."""
    found: dict[str, Front] = {}
    for front in fronts:
        found.setdefault(front.queue, front)
    return list(found.values())


def _span(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.3g} s"
