"""Looks for jobs in the transaction of a test, and words what is there if it is not what the test expects."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic_core import to_jsonable_python

from pgqueue.integrations.testing.drained import name_of_task
from pgqueue.model.job import Job
from pgqueue.model.units import seconds
from pgqueue.text.counted import count

NEAR = timedelta(seconds=1)
MOST_SHOWN = 20
SHOWN_ARGS = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a test expects of a job. None: anything. ``args``: a part of the arguments, at any depth of objects."""

    task: str | None = None
    args: Mapping[str, object] | None = None
    queue: str | None = None
    run_at: datetime | timedelta | float | str | None = None
    priority: int | None = None
    state: str | None = None
    tags: Sequence[str] | None = None

    @classmethod
    def of(cls, task: object, **wanted: object) -> Wanted:
        unknown = wanted.keys() - {"args", "queue", "run_at", "priority", "state", "tags"}
        if unknown:
            msg = f"there is no {', '.join(sorted(unknown))} to compare: give args, queue, run_at, priority, state or tags"
            raise TypeError(msg)
        return cls(None if task is None else name_of_task(task), **wanted)  # type: ignore[arg-type]

    def misfit(self, job: Job, now: datetime) -> str | None:
        """Returns the first thing that is not as expected; None: the job fits."""
        for name in ("task", "queue", "priority", "state"):
            wanted, found = getattr(self, name), getattr(job, name)
            if wanted is not None and wanted != found:
                return f"its {name} is {found!r}"
        if self.tags is not None and not set(self.tags) <= set(job.tags):
            return f"its tags are {list(job.tags)}"
        if (
            self.args is not None
            and (path := difference(to_jsonable_python(self.args), job.args)) is not None
        ):
            return path
        if self.run_at is not None and abs(job.run_at - _moment(self.run_at, now)) > NEAR:
            return f"it is due at {job.run_at:%Y-%m-%d %H:%M:%S %Z}"
        return None

    def __str__(self) -> str:
        parts = [self.task or "any task"]
        parts += [
            f"{name}={getattr(self, name)!r}"
            for name in ("args", "queue", "run_at", "priority", "state", "tags")
            if getattr(self, name) is not None
        ]
        return ", ".join(parts)


def difference(wanted: object, found: object, path: str = "args") -> str | None:
    """Returns where ``found`` does not contain ``wanted``; None: it does. Objects can have more keys than wanted, at each depth."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for name, value in wanted.items():
            if name not in found:
                return f"{path} has no {name!r}"
            if (said := difference(value, found[name], f"{path}[{name!r}]")) is not None:
                return said
        return None
    return None if wanted == found else f"{path} is {found!r}"


def _moment(run_at: datetime | timedelta | float | str, now: datetime) -> datetime:
    if isinstance(run_at, datetime):
        return run_at if run_at.tzinfo else run_at.astimezone()
    return now + timedelta(seconds=seconds(run_at, "run_at"))


def shown(jobs: Sequence[Job], now: datetime) -> str:
    """Returns a line for each job: what a test compares."""
    if not jobs:
        return "No job is enqueued."
    lines = [f"Enqueued are {count(len(jobs), 'job')}:"]
    lines += [f"  {_line(job, now)}" for job in jobs[:MOST_SHOWN]]
    if len(jobs) > MOST_SHOWN:
        lines.append(f"  … and {len(jobs) - MOST_SHOWN} more")
    return "\n".join(lines)


def _line(job: Job, now: datetime) -> str:
    args = json.dumps(job.args, ensure_ascii=False)
    args = args if len(args) <= SHOWN_ARGS else args[:SHOWN_ARGS] + "…"
    left = (job.run_at - now).total_seconds()
    due = f" due in {left:.0f} s" if left > 1 and job.state in ("pending", "retrying") else ""
    return f"{job.id} {job.task} {args} queue={job.queue} {job.state}{due}"
