"""Claiming: where there is work, and taking it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

from pgqueue.database.statements.decoding import array, column, maybe_array, raw, statement
from pgqueue.sql import Row, Statement


class Round(NamedTuple):
    """What a claim by turns found, in their order: rows of ``claim``, the key whose turn each was, and a place in front of which none is left."""

    rows: list[Sequence[Any]]
    turns: list[str]
    since: str | None


@dataclass(frozen=True, slots=True)
class Lanes:
    """What there is to claim. ``lanes``: queue and priority, with the seconds until the first job is due (negative: overdue).

    ``keyed``: lanes of jobs with keys, with the place of the first one. ``limited``: queues under limits that are not by key, None for any. ``later``: seconds until
    the next job with a key is due, or a seat under a rate is free; None if neither is known.
    """

    lanes: dict[tuple[str, int], float]
    keyed: dict[tuple[str, int], str]
    limited: list[str | None]
    later: float | None


def _lanes(rows: Sequence[Row]) -> Lanes:
    return Lanes(
        {(queue, priority): due_in for queue, priority, due_in, kind, _ in rows if kind == "lane"},
        {(queue, priority): place for queue, priority, _, kind, place in rows if kind == "keyed"},
        [queue for queue, _, _, kind, _ in rows if kind == "limited"],
        next((due_in for _, _, due_in, kind, _ in rows if kind == "later"), None),
    )


def _round(rows: Sequence[Row]) -> Round:
    ordered = sorted(rows, key=itemgetter(-2))
    return Round([row[:-3] for row in ordered], [row[-3] for row in ordered], rows[0][-1] if rows else None)


def lanes(
    known: Sequence[tuple[str, int]],
    since: Sequence[tuple[float, int]],
    gaps: Sequence[tuple[str, int, int]],
) -> Statement[Lanes]:
    """Those of ``known`` that hold jobs from ``since`` on (as of ``claim``), and the first in each of ``gaps`` (queue, low, high; exclusive)."""
    return statement(
        "lanes",
        _lanes,
        queues=array([queue for queue, _ in known]),
        priorities=array([priority for _, priority in known]),
        since=array([moment for moment, _ in since]),
        since_ids=array([job_id for _, job_id in since]),
        gap_queues=array([queue for queue, _, _ in gaps]),
        lows=array([low for _, low, _ in gaps]),
        highs=array([high for _, _, high in gaps]),
    )


def match_queues(patterns: Sequence[str]) -> Statement[list[str]]:
    """``patterns`` as in -Q: a name in which * stands for anything."""
    like = [pattern.replace("_", r"\_").replace("*", "%") for pattern in patterns]
    return statement("match_queues", column, patterns=like)


def open_writers() -> Statement[list[tuple[str, float | None, float]]]:
    """What names the transaction, when it began, and the time now (epoch seconds of the database)."""
    return statement("open_writers", lambda rows: [(row[0], row[1], row[2]) for row in rows])


def claim(
    worker_id: int,
    tasks: Sequence[str],
    lanes: Sequence[tuple[str, int]],
    since: Sequence[tuple[float, int]],
    count: int,
) -> Statement[list[Row]]:
    """Claims from ``lanes`` in this order, each from a place on: run_at (epoch seconds) and id; (0, 0) is the beginning.

    Rows are ``worker.attempt.Attempt``'s arguments, undecoded.
    """
    return statement(
        "claim",
        raw,
        worker_id=worker_id,
        tasks=array(tasks),
        queues=array([queue for queue, _ in lanes]),
        priorities=array([priority for _, priority in lanes]),
        since=array([moment for moment, _ in since]),
        since_ids=array([job_id for _, job_id in since]),
        count=count,
    )


def claim_limited(
    worker_id: int,
    tasks: Sequence[str],
    lane: tuple[str, int],
    after: str | None,
    count: int,
    since: str | None = None,
    only: Sequence[int] | None = None,
) -> Statement[Round]:
    """Claims from a lane under limits: by turns of its keys from the one after ``after`` on, or, None, its jobs without a key.

    ``since``: a place in front of which nothing is, as ``lanes`` and the last claim told; None is the beginning.
    ``only``: of what it would claim, those jobs alone; None: all of it.
    """
    return statement(
        "claim_limited",
        _round,
        worker_id=worker_id,
        tasks=list(tasks),
        queue=lane[0],
        priority=lane[1],
        after=after,
        count=count,
        since=since,
        only=maybe_array(only),
    )


def choose_limited(
    worker_id: int,
    tasks: Sequence[str],
    lane: tuple[str, int],
    after: str | None,
    count: int,
    since: str | None,
) -> Statement[list[int]]:
    """The ids of what ``claim_limited`` would claim, in its order."""
    claims = claim_limited(worker_id, tasks, lane, after, count, since, [])
    return Statement(claims.name, claims.text, claims.parameters, lambda rows: column(_round(rows).rows))


def held(worker_id: int, known: Sequence[int]) -> Statement[list[Row]]:
    """Jobs of this worker that are not among ``known``; rows as of ``claim``."""
    return statement("held", raw, worker_id=worker_id, known=array(known))


def choose_held(worker_id: int, known: Sequence[int]) -> Statement[list[int]]:
    """The ids of these jobs."""
    return statement("choose_held", column, worker_id=worker_id, known=array(known))


def mark_busy(queues: list[str], seconds: float, mine: int = 0) -> Statement[int]:
    """Until when (milliseconds of the epoch) the queues are marked now; 0 if none is."""
    return statement(
        "mark_busy",
        lambda rows: max((row[1] for row in rows), default=0),
        queues=queues,
        seconds=seconds,
        mine=mine,
    )


def count_unclaimed(queues: list[str], tasks: list[str]) -> Statement[tuple[int, int]]:
    """(due, running)."""
    return statement("count_unclaimed", lambda rows: (rows[0][0], rows[0][1]), queues=queues, tasks=tasks)
