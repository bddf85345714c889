"""If a claim of many jobs fails, claims the same jobs in smaller parts. So one job that cannot be claimed does not delay the other jobs.

The statement is tried for one half of its jobs and then for the other, then for halves of these halves, and so on (sifting.py). If it
fails for one job but claims other jobs, the failing job is made dead or is left out of later claims. If it fails for all jobs of a lane,
the cause can be the jobs, the lane or the server. In this case, no job is made dead or left out alone: claims leave out the whole lane for
LANE_REST seconds, and go on with the other lanes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import ConnectionLost, may_pass
from pgqueue.database.sifting import PROBES, judge, make_dead, pass_over, sift
from pgqueue.database.statements.claiming import Lane, TurnClaim
from pgqueue.runtime.clock import monotonic
from pgqueue.sql import Statement
from pgqueue.worker.attempt import Attempt

LANE_REST = (
    0.5  # if all claims from a lane failed, the lane rests for this many seconds: claims leave this lane out
)


class Beginning(NamedTuple):
    """The arguments of a claim from one lane. ``after``: the key whose turn was last. ``front``: see turns.py. Both are None for jobs without a key."""

    lane: Lane
    after: str | None = None
    front: str | None = None


class Choice(NamedTuple):
    """A job that a failed claim would have taken. ``asked``: the number of jobs that the claim asked for."""

    beginning: Beginning
    asked: int
    job_id: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A claim failed for all jobs from these beginnings, so it is not yet known whether the jobs are the cause.

    ``jobs`` contains these jobs if they are few, and is empty if they are many.
    """

    beginnings: Sequence[Beginning]
    jobs: Sequence[Choice]
    statement: str
    error: Exception


class SingleClaims:
    """``take`` is called with the result of a claim. ``note_lost_answer`` is called after a claim without an answer.

    The public attributes are about one round of the claimer's loop. ``claimed``: how many jobs this class claimed. ``failures``: failed claims
    whose cause is not yet known. ``succeeded``: the names of the statements that claimed at least one job.
    """

    def __init__(
        self,
        link: Link,
        tasks: list[str],
        take: Callable[[int, Lane, TurnClaim], list[Attempt]],
        note_lost_answer: Callable[[], Awaitable[None]],
    ) -> None:
        self._link, self._tasks, self._take, self._note_lost_answer = link, tasks, take, note_lost_answer
        self._resting: dict[tuple[Lane, bool], float] = {}
        self.begin_turn()

    def begin_turn(self) -> None:
        self.claimed = 0
        self.failures: list[Failure] = []
        self.succeeded: set[str] = set()

    def awake(self, lanes: list[Lane], *, in_turns: bool = False) -> list[Lane]:
        """Returns the lanes of ``lanes`` that do not rest now."""
        if not self._resting:
            return lanes
        now = monotonic()
        self._resting = {lane: until for lane, until in self._resting.items() if until > now}
        return [lane for lane in lanes if (lane, in_turns) not in self._resting]

    @property
    def was_needed(self) -> bool:
        """Returns whether a claim failed in this round."""
        return self.claimed > 0 or bool(self.failures)

    @property
    def few_failed(self) -> bool:
        """Returns whether one of the failed claims would have taken only a few jobs. If so, claims of other jobs can still succeed."""
        return any(failure.jobs for failure in self.failures)

    async def claim(
        self,
        worker_id: int,
        beginnings: Sequence[Beginning],
        count: int,
        whole: Statement[object],
        error: Exception,
    ) -> list[Attempt]:
        """Claims the jobs of a failed claim in parts. ``whole``: the statement that failed with ``error``.

        Returns the attempts, with the least urgent attempt at the end. If all jobs fail, or if there is no job, adds a Failure to
        ``failures``. Later, ``end_turn`` decides whether the jobs are the cause.
        """
        choices: list[Choice] = []
        claimed: list[Attempt] = []

        async def run(part: Sequence[Choice]) -> list[Attempt]:
            before = len(claimed)
            await self._claim_only(worker_id, part, claimed)
            return claimed[before:]

        try:
            choices += await self._choose(worker_id, beginnings, count, error)
            await sift(choices, run, partial(self._give_up, worker_id), self._leave)
        except ConnectionLost:
            await self._note_lost_answer()
        except Exception as failure:  # noqa: BLE001 - the claimer raises it if no job was claimed
            if len(choices) == 1:  # the whole statement had only this job, so its own error is the right one
                self.failures.append(Failure(beginnings, choices, whole.name, error))
            else:
                few = choices if len(choices) <= PROBES and not claimed else []
                self.failures.append(Failure(beginnings, few, "claim_limited", failure))
        return sorted(claimed, key=attrgetter("priority"))

    async def _claim_only(self, worker_id: int, choices: Sequence[Choice], claimed: list[Attempt]) -> None:
        """Claims only these jobs, lane after lane. Adds the attempts to ``claimed``, so that they are kept even if the next lane fails."""
        for (beginning, asked), jobs in groupby(choices, key=attrgetter("beginning", "asked")):
            lane, after, front = beginning
            only = [job.job_id for job in jobs]
            claim = statements.claim_limited(worker_id, self._tasks, lane, after, asked, front, only)
            taken = self._take(worker_id, lane, await self._link.once(claim))
            self.claimed += len(taken)
            claimed += taken
            if taken:
                self.succeeded.add(claim.name)

    async def _choose(
        self, worker_id: int, beginnings: Sequence[Beginning], count: int, error: Exception
    ) -> list[Choice]:
        """Returns the jobs that the failed claim would have taken. Raises ``error`` if there is no such job."""
        choices: list[Choice] = []
        for beginning in beginnings:
            lane, after, front = beginning
            if asked := count - len(choices):
                choice = statements.choose_limited(worker_id, self._tasks, lane, after, asked, front)
                choices += [Choice(beginning, asked, job_id) for job_id in await self._link.once(choice)]
        if not choices:
            raise error
        return choices

    async def end_turn(self, worker_id: int) -> None:
        """Decides about the ``failures`` of this round.

        If the same statement claimed other jobs in this round, the failed jobs are the cause. Each of them is made dead, or is left out of
        later claims. In all other cases, the lanes of the failure rest: claims leave them out for LANE_REST seconds.
        """
        failures, self.failures = self.failures, []
        for failure in failures:
            guilty = failure.jobs if failure.statement in self.succeeded else []
            await judge(
                [(job, failure.error) for job in guilty], partial(self._give_up, worker_id), self._leave
            )
            if not guilty:
                self.failures.append(failure)
            if not guilty or may_pass(failure.error):
                until = monotonic() + LANE_REST
                self._resting |= {(lane, after is not None): until for lane, after, _ in failure.beginnings}

    async def _give_up(self, worker_id: int, job: Choice, error: Exception) -> None:
        await make_dead(self._link.once, job.job_id, worker_id, error)

    async def _leave(self, job: Choice, error: Exception) -> None:
        pass_over(self._link.once, job.job_id, error)
