"""Claiming: finding the lanes where jobs wait, and claiming these jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

from pgqueue.database.statements.decoding import array, column, maybe_array, raw, statement
from pgqueue.sql import Row, Statement

Lane = tuple[str, int]  # a queue and a priority
Position = tuple[float, int]  # where a job stands in its lane: run_at (epoch seconds) and id


class TurnClaim(NamedTuple):
    """What a claim from one lane by turns took.

    ``rows`` are as of ``claim``, in the order of the turns. ``turns`` names for each row the key whose turn it was.
    ``front``: before this position (text of the database) the lane held no job with a key. None if nothing was claimed.
    """

    rows: list[Row]
    turns: list[str]
    front: str | None


@dataclass(frozen=True, slots=True)
class LaneSurvey:
    """What a look for lanes found.

    ``lanes``: seconds until the first job of each lane is due, negative if it is overdue.
    ``in_turns``: the lanes whose jobs have keys, with the position of the first job (text of the database).
    ``limited``: the queues under a limit that is not by key; None stands for all queues.
    ``later``: seconds until the next job with a key is due or a seat under a rate is free; None if neither is known.
    """

    lanes: dict[Lane, float]
    in_turns: dict[Lane, str]
    limited: list[str | None]
    later: float | None


def _survey(rows: Sequence[Row]) -> LaneSurvey:
    return LaneSurvey(
        {(queue, priority): due_in for queue, priority, due_in, kind, _ in rows if kind == "lane"},
        {(queue, priority): front for queue, priority, _, kind, front in rows if kind == "in_turns"},
        [queue for queue, _, _, kind, _ in rows if kind == "limited"],
        next((due_in for _, _, due_in, kind, _ in rows if kind == "later"), None),
    )


def _turn_claim(rows: Sequence[Row]) -> TurnClaim:
    ordered = sorted(rows, key=itemgetter(-2))
    return TurnClaim(
        [row[:-3] for row in ordered], [row[-3] for row in ordered], rows[0][-1] if rows else None
    )


def survey_lanes(
    known: Sequence[Lane], since: Sequence[Position], gaps: Sequence[tuple[str, int, int]]
) -> Statement[LaneSurvey]:
    """Looks which of the ``known`` lanes hold jobs from ``since`` on, and for the first lane in each of ``gaps``.

    A gap is a queue and two priorities; the lane lies between them.
    """
    return statement(
        "survey_lanes",
        _survey,
        queues=array([queue for queue, _ in known]),
        priorities=array([priority for _, priority in known]),
        since=array([moment for moment, _ in since]),
        since_ids=array([job_id for _, job_id in since]),
        gap_queues=array([queue for queue, _, _ in gaps]),
        lows=array([low for _, low, _ in gaps]),
        highs=array([high for _, _, high in gaps]),
    )


def match_queues(patterns: Sequence[str]) -> Statement[list[str]]:
    """The queues with unclaimed jobs that fit one of ``patterns``: names in which * stands for anything, as in -Q."""
    like = [pattern.replace("_", r"\_").replace("*", "%") for pattern in patterns]
    return statement("match_queues", column, patterns=like)


def list_open_writers() -> Statement[list[tuple[str, float | None, float]]]:
    """For each transaction that writes jobs: its name, when it began, and the time now (epoch seconds of the database)."""
    return statement("list_open_writers", lambda rows: [(row[0], row[1], row[2]) for row in rows])


def claim(
    worker_id: int,
    tasks: Sequence[str],
    lanes: Sequence[Lane],
    since: Sequence[Position],
    count: int,
) -> Statement[list[Row]]:
    """Claims from ``lanes`` in this order, from each lane the jobs from its position on; (0, 0) is the beginning.

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
    lane: Lane,
    after: str | None,
    count: int,
    since: str | None = None,
    only: Sequence[int] | None = None,
) -> Statement[TurnClaim]:
    """Claims from a lane under limits: from its keys in turn, starting after the key ``after``. If ``after`` is None: from its jobs without a key.

    ``since``: the front of the lane, as ``survey_lanes`` or the last claim returned it; None is the beginning.
    ``only``: of the jobs that it would claim, the statement claims only these; None: all of them.
    """
    return statement(
        "claim_limited",
        _turn_claim,
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
    lane: Lane,
    after: str | None,
    count: int,
    since: str | None,
) -> Statement[list[int]]:
    """The ids of the jobs that ``claim_limited`` would claim, in its order."""
    claims = claim_limited(worker_id, tasks, lane, after, count, since, [])
    return Statement(claims.name, claims.text, claims.parameters, lambda rows: column(_turn_claim(rows).rows))


def find_lost_claims(worker_id: int, known: Sequence[int]) -> Statement[list[Row]]:
    """The running jobs of this worker that are not among ``known``; rows as of ``claim``."""
    return statement("find_lost_claims", raw, worker_id=worker_id, known=array(known))


def choose_lost_claims(worker_id: int, known: Sequence[int]) -> Statement[list[int]]:
    """The ids of the jobs that ``find_lost_claims`` finds."""
    return statement("choose_lost_claims", column, worker_id=worker_id, known=array(known))


def mark_busy(queues: list[str], seconds: float, mine: int = 0) -> Statement[int]:
    """Until when (milliseconds of the epoch) the queues are marked now; 0 if no queue is."""
    return statement(
        "mark_busy",
        lambda rows: max((row[1] for row in rows), default=0),
        queues=queues,
        seconds=seconds,
        mine=mine,
    )


def count_unclaimed(queues: list[str], tasks: list[str]) -> Statement[tuple[int, int]]:
    """(number of due jobs, number of running jobs)."""
    return statement("count_unclaimed", lambda rows: (rows[0][0], rows[0][1]), queues=queues, tasks=tasks)
