"""Enqueuing: one job, many by the SQL API, many by COPY."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from pgqueue.job import Batch
from pgqueue.rows import Stored
from pgqueue.sql import Row, Statement, load_chosen
from pgqueue.statements.making import nothing, one, statement, stored

IN_JSON = ("meta", "trace_context")


def enqueue_many(batches: Sequence[Batch]) -> Statement[list[Stored]]:
    """One row a job, in order."""
    jobs = "[" + ",".join(batch.item() for batch in batches) + "]"
    return statement("enqueue_many", stored, jobs=jobs)


def insert_job(task: str, args: str, options: Mapping[str, Any]) -> Statement[int]:
    """For a job without keys (``bulk.keyless``). Its id."""
    return _insert("insert_job", task, args, options)


def insert_unique(task: str, args: str, options: Mapping[str, Any]) -> Statement[int | None]:
    """For a job of which only a unique key is to be seen to (``bulk.is_unique``). Its id; None: the key is held."""
    keys = {
        "unique_key": options.get("unique_key"),
        "unique": json.dumps(options.get("unique")),
        "unique_for": options.get("unique_for"),
    }
    return _insert("insert_unique", task, args, {**options, **keys})


def _insert(name: str, task: str, args: str, options: Mapping[str, Any]) -> Statement[Any]:
    text = load_chosen(name, _chosen_lines(options.get("wake") is not False, *options))
    parameters = {**options, "task": task, "args": args}
    for option in IN_JSON:
        if option in options:
            parameters[option] = json.dumps(options[option])
    return Statement(name, text, parameters, one)


@cache
def _chosen_lines(wakes: bool, *options: str) -> frozenset[str]:
    """What the optional lines of a statement name."""
    later = "run_at" in options or "delay" in options
    chosen = {*options} if later else {*options, "now"}
    if wakes:
        chosen.add("wake_soon" if later else "wake_now")
    return frozenset(chosen)


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
