"""Enqueuing: one job, many by the SQL API, many by COPY."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pgqueue.job import Batch
from pgqueue.rows import Stored
from pgqueue.sql import Row, Statement
from pgqueue.statements.making import in_ascii, nothing, one, statement, stored


def enqueue_many(batches: Sequence[Batch], *, escaped: bool = False) -> Statement[list[Stored]]:
    """One row a job, in order. ``escaped``: in ASCII, for a connection whose encoding lacks a character."""
    jobs = "[" + ",".join(batch.item() for batch in batches) + "]"
    return statement("enqueue_many", stored, jobs=in_ascii(jobs) if escaped else jobs)


def insert_job(task: str, args: str, options: Mapping[str, Any]) -> Statement[int]:
    """For a job without keys (``bulk.keyless``). Its id."""
    meta, trace_context = options.get("meta"), options.get("trace_context")
    return statement(
        "insert_job",
        one,
        task=task,
        args=args,
        queue=options.get("queue"),
        priority=options.get("priority"),
        run_at=options.get("run_at"),
        delay=options.get("delay"),
        max_attempts=options.get("max_attempts"),
        timeout=options.get("timeout"),
        concurrency_key=options.get("concurrency_key"),
        weight=options.get("weight"),
        ordering=options.get("ordering"),
        tags=options.get("tags"),
        wake=options.get("wake"),
        meta=None if meta is None else json.dumps(meta),
        trace_context=None if trace_context is None else json.dumps(trace_context),
    )


def insert_unique(task: str, args: str, options: Mapping[str, Any]) -> Statement[int | None]:
    """For a job of which only a unique key is to be seen to (``bulk.is_unique``). Its id; None: the key is held."""
    return statement(
        "insert_unique",
        one,
        **insert_job(task, args, options).parameters,
        unique_key=options.get("unique_key"),
        unique=json.dumps(options.get("unique")),
        unique_for=options.get("unique_for"),
    )


def _reserved(rows: Sequence[Row]) -> tuple[Sequence[int], datetime]:
    [(first, last, apart, moment)] = rows
    return range(first, last + 1) if apart is None else [int(n) for n in apart[1:-1].split(",")], moment


def reserve_ids(count: int) -> Statement[tuple[Sequence[int], datetime]]:
    """(ids, the database's time). ``count`` is at least 1."""
    return statement("reserve_ids", _reserved, count=count)


def copy_jobs() -> Statement[None]:
    return statement("copy_jobs", nothing)


def wake(queues: list[str]) -> Statement[None]:
    return statement("wake", nothing, queues=queues)
