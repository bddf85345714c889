"""Many jobs as lines of COPY, which costs the server half of what an insert does. Pure.

Only for jobs without keys: COPY cannot tell a duplicate apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pgqueue.config import is_reserved
from pgqueue.job import Batch

SMALLEST = 100  # jobs for which three round trips pay
BLOCK = 500  # lines sent at once: the server works on them while the next are made
SOON = timedelta(seconds=1)  # a job due later is found by polling in time
KEYLESS = frozenset(
    {"queue", "priority", "run_at", "delay", "max_attempts", "timeout", "concurrency_key", "weight", "ordering",
     "tags", "meta", "trace_context", "wake"}
)  # fmt: skip

# Whatever a conflict calls for, mostly there is none.
UNIQUE = KEYLESS | {"unique_key", "unique", "unique_for", "on_conflict"}


def keyless(batches: Sequence[Batch]) -> bool:
    """Whether no job carries a key, nor anything else that only the SQL API knows, or refuses."""
    return all(
        batch.keys is None and KEYLESS.issuperset(batch.options) and not is_reserved(batch.task)
        for batch in batches
    )


def is_unique(batches: Sequence[Batch]) -> bool:
    """Whether this is one job with a unique key and nothing else that only the SQL API knows."""
    [batch, *more] = batches
    return (
        not more and len(batch.args) == 1 and UNIQUE.issuperset(batch.options) and not is_reserved(batch.task)
    )


def lines(batches: Sequence[Batch], ids: Sequence[int], moment: datetime) -> Iterator[str]:
    """Blocks of lines in the columns of ``copy_jobs.sql``; ``moment`` is the database's time."""
    numbers = iter(ids)
    for batch in batches:
        task, tail = _text(batch.task), _tail(batch.options, moment)
        for start in range(0, len(batch.args), BLOCK):
            yield "".join(
                f"{next(numbers)}\t{task}\t{_text(args)}{tail}" for args in batch.args[start : start + BLOCK]
            )


def queues_to_wake(batches: Sequence[Batch], moment: datetime) -> list[str]:
    """The queues in which a job is due now or soon."""
    soon = [
        batch.options
        for batch in batches
        if batch.options.get("wake") is not False and _run_at(batch.options, moment) <= moment + SOON
    ]
    return list(dict.fromkeys(str(options.get("queue") or "default") for options in soon))


def _run_at(options: Mapping[str, Any], moment: datetime) -> datetime:
    if options.get("run_at") is not None:
        return datetime.fromisoformat(options["run_at"])
    return moment + timedelta(seconds=max(options.get("delay") or 0.0, 0.0))


def _tail(options: Mapping[str, Any], moment: datetime) -> str:
    timeout, weight = options.get("timeout"), options.get("weight")
    tags = ",".join('"' + _quoted(tag) + '"' for tag in options.get("tags") or ())
    trace_context = options.get("trace_context")
    values = [
        options.get("queue") or "default",
        str(options.get("priority") or 0),
        moment.isoformat(),
        _run_at(options, moment).isoformat(),
        str(options.get("max_attempts") or 6),
        None if timeout is None else f"{timeout!r} seconds",
        options.get("concurrency_key"),
        None if weight is None else str(weight),
        options.get("ordering"),
        f"{{{tags}}}",
        json.dumps(options.get("meta") or {}),
        None if trace_context is None else json.dumps(trace_context),
    ]
    return "".join("\t\\N" if value is None else f"\t{_text(value)}" for value in values) + "\n"


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _text(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
