"""The statements of enqueuing: for one job, for many jobs by the SQL API, and for many jobs by COPY."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from pgqueue.database.statements.decoding import array, nothing, one, plain, statement
from pgqueue.model.new_job import Batch
from pgqueue.sql import Row, Statement, load_chosen

IN_JSON = ("meta", "trace_context")


class Stored(NamedTuple):
    """The result for one enqueued item. If ``conflict`` is not None, an existing job has the key of the item.

    Then ``conflict`` is a word that enqueue_many.sql explains, such as unique_key, and ``id`` and ``state`` are those of the existing job.
    If that job is finished, ``result`` and ``error`` are its result and its error.
    """

    id: int
    created: bool
    state: str | None
    conflict: str | None
    result: object = None
    error: str | None = None


def enqueue_many(batches: Sequence[Batch], *, declared: bool = True) -> Statement[list[Stored]]:
    """Returns one ``Stored`` for each job, in the order of the jobs. ``declared``: as in ``Batch.item``."""
    jobs = "[" + ",".join(batch.item(declared=declared) for batch in batches) + "]"
    return statement("enqueue_many", stored, jobs=jobs)


def insert_job(task: str, args: str, options: Mapping[str, object]) -> Statement[int]:
    """Enqueues a job without keys (``copy_lines.have_no_keys``). Returns the job's id."""
    return _insert("insert_job", task, args, options)


def insert_unique(task: str, args: str, options: Mapping[str, object]) -> Statement[int | None]:
    """Enqueues a job with a unique key and no other key (``copy_lines.have_a_unique_key``).

    Returns the job's id. None: another job has the key.
    """
    keys = {
        "unique_key": options.get("unique_key"),
        "unique": json.dumps(options.get("unique")),
        "unique_for": options.get("unique_for"),
    }
    return _insert("insert_unique", task, args, {**options, **keys})


def _insert(name: str, task: str, args: str, options: Mapping[str, object]) -> Statement[Any]:
    text = load_chosen(name, _chosen_lines(options.get("wake") is not False, *options))
    parameters = {**options, "task": task, "args": args}
    for option in IN_JSON:
        if option in options:
            parameters[option] = json.dumps(options[option])
    return Statement(name, text, parameters, one)


@cache
def _chosen_lines(wakes: bool, *options: str) -> frozenset[str]:
    """Returns the names of those optional lines of the SQL file that the statement needs."""
    later = "run_at" in options or "delay" in options
    chosen = {*options} if later else {*options, "now"}
    if wakes:
        chosen.add("wake_soon" if later else "wake_now")
    return frozenset(chosen)


class Reserved(NamedTuple):
    """Ids for jobs that a transaction is about to copy, the database's time, and the id of the transaction."""

    ids: Sequence[int]
    moment: datetime
    xid: str


def _reserved(rows: Sequence[Row]) -> Reserved:
    [(first, last, apart, moment, xid)] = rows
    ids = range(first, last + 1) if apart is None else [int(n) for n in apart[1:-1].split(",")]
    return Reserved(ids, moment, xid)


def reserve_ids(count: int) -> Statement[Reserved]:
    """Takes ``count`` ids from the sequence; ``count`` is at least 1."""
    return statement("reserve_ids", _reserved, count=count)


def find_copied(copied: Reserved) -> Statement[bool | None]:
    """Returns whether the transaction that copied these jobs was committed; None: it still runs, or the server does not know it any more."""
    few = array([copied.ids[0], copied.ids[-1]])
    return statement("find_copied", one, ids=few, xid=copied.xid, began_at=copied.moment)


def copy_jobs() -> Statement[None]:
    return statement("copy_jobs", nothing)


def wake(queues: list[str]) -> Statement[None]:
    return statement("wake", nothing, queues=queues)


def stored(rows: Sequence[Row]) -> list[Stored]:
    return [
        Stored._make(row)
        if row[4] is None and row[5] is None
        else Stored._make((*row[:4], plain(_text(row[4])), _text(row[5])))
        for row in rows
    ]


def _text(utf8: bytes | None) -> str | None:
    return None if utf8 is None else bytes(utf8).decode()
