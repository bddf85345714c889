"""The statements of claiming: those that find lanes with unclaimed jobs, and those that claim these jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

from pgqueue.database.statements.decoding import array, column, maybe_array, raw, statement
from pgqueue.sql import Row, Statement

Lane = tuple[str, int]  # a queue and a priority
Position = tuple[float, int]  # the place of a job in its lane: run_at (epoch seconds) and id


class TurnClaim(NamedTuple):
    """The jobs that ``claim_limited`` claimed from one lane.

    ``rows``: like the rows of ``claim``, in the order of the turns. ``turns``: for each row, the key whose turn it was.
    ``front``: a position in the lane, as the database writes it. No due job with a key is before this position. None: no job with a
    key was claimed.
    """

    rows: list[Row]
    turns: list[str]
    front: str | None


@dataclass(frozen=True, slots=True)
class LaneSurvey:
    """The result of ``survey_lanes``.

    ``lanes``: for each lane with unclaimed jobs, the seconds until its first job is due; negative if that job is already due.
    ``in_turns``: for each lane in which a job is due that is claimed by turns, the position of the first such job (text of the database).
    ``limited``: the queues with a limit that does not count by key; None in this list: such a limit applies to all queues.
    ``later``: seconds until a job with a key is due, a rate allows the next start, or a pause ends, whichever is first. None: there is no
    such time.
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
    """Finds which of the ``known`` lanes have jobs at or after the lane's position in ``since``, and the first lane in each of ``gaps``.

    A gap is a queue and two priorities. The queue can have lanes with priorities between these two that the worker does not know yet.
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
    """Returns the queues that have unclaimed jobs and whose names fit one of ``patterns``. * stands for any text, as in the option -Q."""
    like = [pattern.replace("_", r"\_").replace("*", "%") for pattern in patterns]
    return statement("match_queues", column, patterns=like)


def list_open_writers() -> Statement[list[tuple[str, float | None, float]]]:
    """Returns (virtual id, when it began, the time now) for each open transaction that has written jobs. The second is None if unknown.

    Both times are in epoch seconds, by the database's clock.
    """
    return statement("list_open_writers", lambda rows: [(row[0], row[1], row[2]) for row in rows])


def claim(
    worker_id: int,
    tasks: Sequence[str],
    lanes: Sequence[Lane],
    since: Sequence[Position],
    count: int,
) -> Statement[list[Row]]:
    """Claims up to ``count`` jobs from ``lanes``, in this order. In each lane, begins at the lane's position in ``since``.

    (0, 0) is the beginning of a lane. Each row contains the arguments of ``worker.attempt.Attempt``, not decoded yet.
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
    """Claims jobs from one lane under its limits: jobs with keys by turns, beginning with the key that follows ``after``.

    If ``after`` is None, claims jobs without a key.
    ``since``: the front of the lane, as ``survey_lanes`` or the last claim returned it; None: the beginning of the lane.
    ``only``: if it is not None, the statement claims only those of its jobs that are in ``only``.
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
    """Returns the ids of the jobs that ``claim_limited`` would claim, in the same order. Claims nothing."""
    claims = claim_limited(worker_id, tasks, lane, after, count, since, [])
    return Statement(claims.name, claims.text, claims.parameters, lambda rows: column(_turn_claim(rows).rows))


def find_lost_claims(worker_id: int, known: Sequence[int]) -> Statement[list[Row]]:
    """Returns the jobs that run under this worker in the database, but are not among ``known``. The rows are like those of ``claim``."""
    return statement("find_lost_claims", raw, worker_id=worker_id, known=array(known))


def choose_lost_claims(worker_id: int, known: Sequence[int]) -> Statement[list[int]]:
    """Returns the ids of the jobs that ``find_lost_claims`` would return."""
    return statement("choose_lost_claims", column, worker_id=worker_id, known=array(known))


def mark_busy(queues: list[str], seconds: float, mine: int = 0) -> Statement[int]:
    """Marks ``queues`` as busy. Returns the time until which they are marked, in milliseconds of the epoch; 0: it marked no queue.

    If ``seconds`` is 0, ends the mark ``mine``, which is what an earlier call returned. A later mark of another worker stays.
    """
    return statement(
        "mark_busy",
        lambda rows: max((row[1] for row in rows), default=0),
        queues=queues,
        seconds=seconds,
        mine=mine,
    )


def count_unclaimed(queues: list[str], tasks: list[str]) -> Statement[tuple[int, int]]:
    """Returns (number of due jobs, number of running jobs)."""
    return statement("count_unclaimed", lambda rows: (rows[0][0], rows[0][1]), queues=queues, tasks=tasks)
