"""After a claim of many jobs has failed, claims them in parts, so that one job that cannot be claimed does not hold up the others.

The statement is tried on halves of its jobs (sifting.py). A job that fails while the same statement claims others is put aside. If all
jobs of a lane fail, nothing tells yet whose fault that is: the lane rests, and the other lanes go on.
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

LANE_REST = 0.5  # if nothing could be claimed from a lane: seconds for which it rests


class Beginning(NamedTuple):
    """Where a claim from a lane begins: ``after`` this key, and at this ``front``. Both are None for jobs without a key."""

    lane: Lane
    after: str | None = None
    front: str | None = None


class Choice(NamedTuple):
    """A job that a claim would take. ``asked``: how many jobs that claim asked for."""

    beginning: Beginning
    asked: int
    job_id: int


@dataclass(frozen=True, slots=True)
class Failure:
    """The claim of all jobs from these beginnings failed, and nothing tells yet whose fault that is. If the jobs are many, ``jobs`` is empty."""

    beginnings: Sequence[Beginning]
    jobs: Sequence[Choice]
    statement: str
    error: Exception


class SingleClaims:
    """``take`` is called with what a claim took. ``note_lost_answer`` is called after a claim without an answer.

    The other attributes are about one turn of the claimer. ``claimed``: how many jobs were claimed here. ``failures``: claims that failed,
    while nothing told whose fault that is. ``succeeded``: the statements that claimed a job.
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
        """Those of ``lanes`` that do not rest."""
        if not self._resting:
            return lanes
        now = monotonic()
        self._resting = {lane: until for lane, until in self._resting.items() if until > now}
        return [lane for lane in lanes if (lane, in_turns) not in self._resting]

    @property
    def was_needed(self) -> bool:
        """Whether a claim failed in this turn."""
        return self.claimed > 0 or bool(self.failures)

    @property
    def few_failed(self) -> bool:
        """Whether a claim failed for only a few jobs. That says nothing of other jobs."""
        return any(failure.jobs for failure in self.failures)

    async def claim(
        self,
        worker_id: int,
        beginnings: Sequence[Beginning],
        count: int,
        whole: Statement[object],
        error: Exception,
    ) -> list[Attempt]:
        """The statement ``whole`` has failed with ``error``: claims its jobs in parts. Returns the attempts, the least urgent one last.

        If all jobs fail, or if there is no job, adds to ``failures``. Later ``end_turn`` decides whose fault it is.
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
        except Exception as failure:  # noqa: BLE001 - the turn raises it if nothing else was claimed
            if len(choices) == 1:  # the whole statement failed on this job, too
                self.failures.append(Failure(beginnings, choices, whole.name, error))
            else:
                few = choices if len(choices) <= PROBES and not claimed else []
                self.failures.append(Failure(beginnings, few, "claim_limited", failure))
        return sorted(claimed, key=attrgetter("priority"))

    async def _claim_only(self, worker_id: int, choices: Sequence[Choice], claimed: list[Attempt]) -> None:
        """Adds the attempts to ``claimed``, because jobs of one lane are taken even if the next lane fails."""
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
        """The jobs that the failed claim would have taken. Raises ``error`` if there is none."""
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
        """If a statement failed for some jobs and succeeded for others, puts the failed jobs aside. Lets the lanes of all other failures rest."""
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
