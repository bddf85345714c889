"""Many jobs as lines of COPY, which costs the server half of what an insert does. Pure.

Only for jobs without keys: COPY cannot tell a duplicate apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pgqueue.job import NewJob

SMALLEST = 100  # jobs for which three round trips pay
BLOCK = 500  # lines sent at once: the server works on them while the next are made
SOON = timedelta(seconds=1)  # a job due later is found by polling in time
KEYLESS = frozenset(
    {"queue", "priority", "run_at", "delay", "max_attempts", "timeout", "concurrency_key", "tags", "meta", "trace_context"}
)  # fmt: skip


def keyless(jobs: Sequence[NewJob]) -> bool:
    """Whether no job carries a key, nor any option that only the SQL API knows, or refuses."""
    checked = None
    for job in jobs:
        if job.options is not checked:
            checked = job.options  # the jobs of one batch share it
            if not KEYLESS.issuperset(checked):
                return False
    return True


def lines(jobs: Sequence[NewJob], ids: Sequence[int], moment: datetime) -> Iterator[str]:
    """Blocks of lines in the columns of ``copy_jobs.sql``; ``moment`` is the database's time."""
    of, tail = None, ""
    for start in range(0, len(jobs), BLOCK):
        block = []
        for job_id, job in zip(ids[start : start + BLOCK], jobs[start : start + BLOCK], strict=True):
            if job.options is not of:
                of, tail = job.options, _tail(job.options, moment)
            block.append(f"{job_id}\t{_text(job.task)}\t{_text(job.args)}{tail}")
        yield "".join(block)


def queues_to_wake(jobs: Sequence[NewJob], moment: datetime) -> list[str]:
    """The queues in which a job is due now or soon."""
    found: dict[str, None] = {}
    of = None
    for job in jobs:
        if job.options is not of:
            of = job.options
            if _run_at(of, moment) <= moment + SOON:
                found[str(of.get("queue") or "default")] = None
    return list(found)


def _run_at(options: Mapping[str, Any], moment: datetime) -> datetime:
    if options.get("run_at") is not None:
        return datetime.fromisoformat(options["run_at"])
    return moment + timedelta(seconds=max(options.get("delay") or 0.0, 0.0))


def _tail(options: Mapping[str, Any], moment: datetime) -> str:
    timeout, key = options.get("timeout"), options.get("concurrency_key")
    tags = ",".join('"' + _quoted(tag) + '"' for tag in options.get("tags") or ())
    trace_context = options.get("trace_context")
    values = [
        options.get("queue") or "default",
        str(options.get("priority") or 0),
        moment.isoformat(),
        _run_at(options, moment).isoformat(),
        str(options.get("max_attempts") or 6),
        None if timeout is None else f"{timeout!r} seconds",
        key,
        f"{{{tags}}}",
        json.dumps(options.get("meta") or {}),
        None if trace_context is None else json.dumps(trace_context),
    ]
    return "".join("\t\\N" if value is None else f"\t{_text(value)}" for value in values) + "\n"


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _text(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
