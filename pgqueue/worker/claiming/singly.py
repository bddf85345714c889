"""Claims jobs in parts, after a claim of many has failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import ConnectionLost, may_pass
from pgqueue.database.sifting import PROBES, bury, judge, pass_over, sift
from pgqueue.database.statements.claiming import Round
from pgqueue.runtime.clock import monotonic
from pgqueue.sql import Statement
from pgqueue.worker.claiming.lanes import Name

DEAF_PAUSE = 0.5  # seconds in which no wake-up is heard, and lanes rest in which nothing could be claimed
LONGEST_PAUSE = (
    5.0  # seconds until jobs are claimed again that fail when no other is there; a wake-up ends it
)

Place = tuple[Name, str | None, str | None]  # a lane, the key whose turn was last, and where to begin
Chosen = tuple[Place, int, int]  # a job, and of how many that were asked for it is one


@dataclass(frozen=True, slots=True)
class Failure:
    """All jobs of these lanes failed, so that nothing yet tells whose fault it is. ``jobs``: empty if they are many."""

    lanes: Sequence[Place]
    jobs: Sequence[Chosen]
    statement: str
    error: Exception


class SingleClaims:
    """``take`` is called with what was claimed, and returns it; ``doubt`` is called after a claim without an answer.

    ``taken``: how many jobs this turn claimed. ``failed``: jobs whose claim failed when no other job was there to compare with.
    ``succeeded``: the statements that claimed something in this turn.
    """

    def __init__(
        self,
        link: Link,
        tasks: list[str],
        take: Callable[[int, Name, Round], Sequence[Any]],
        doubt: Callable[[], Awaitable[None]],
    ) -> None:
        self._link, self._tasks, self._take, self._doubt = link, tasks, take, doubt
        self._resting: dict[tuple[Name, bool], float] = {}
        self.begin()

    def begin(self) -> None:
        self.taken = 0
        self.failed: list[Failure] = []
        self.succeeded: set[str] = set()

    def awake(self, lanes: list[Name], *, keyed: bool = False) -> list[Name]:
        """Without the lanes that rest."""
        if self._resting:
            now = monotonic()
            self._resting = {lane: until for lane, until in self._resting.items() if until > now}
        return [lane for lane in lanes if (lane, keyed) not in self._resting] if self._resting else lanes

    async def claim(
        self, worker_id: int, lanes: Sequence[Place], count: int, whole: Statement[Any], error: Exception
    ) -> int:
        """Returns how many were claimed, after the statement ``whole`` has failed with ``error``.

        What fails with all jobs, or with none there, is noted: ``end`` decides whose fault it is.
        """
        before = self.taken
        chosen: list[Chosen] = []

        async def run(part: Sequence[Chosen]) -> list[Any]:
            found: list[Any] = []
            for (place, asked), jobs in groupby(part, key=itemgetter(0, 1)):
                lane, after, since = place
                only = [job_id for _, _, job_id in jobs]
                claim = statements.claim_limited(worker_id, self._tasks, lane, after, asked, since, only)
                taken = self._take(worker_id, lane, await self._link.once(claim))
                self.taken += len(taken)
                found += taken
                if taken:
                    self.succeeded.add(claim.name)
            return found

        try:
            chosen += await self._choose(worker_id, lanes, count, error)
            await sift(chosen, run, partial(self._give_up, worker_id), self._leave)
        except ConnectionLost:
            await self._doubt()
        except Exception as failure:  # noqa: BLE001 - the turn raises it if nothing else was claimed
            if len(chosen) == 1:  # on which the whole statement failed, too
                self.failed.append(Failure(lanes, chosen, whole.name, error))
            else:
                few = chosen if len(chosen) <= PROBES and self.taken == before else []
                self.failed.append(Failure(lanes, few, "claim_limited", failure))
        return self.taken - before

    async def _choose(
        self, worker_id: int, lanes: Sequence[Place], count: int, error: Exception
    ) -> list[Chosen]:
        """Raises ``error`` if there is nothing to claim."""
        chosen: list[Chosen] = []
        for place in lanes:
            lane, after, since = place
            if asked := count - len(chosen):
                choice = statements.choose_limited(worker_id, self._tasks, lane, after, asked, since)
                chosen += [(place, asked, job_id) for job_id in await self._link.once(choice)]
        if not chosen:
            raise error
        return chosen

    async def end(self, worker_id: int) -> None:
        """Puts aside what ``failed`` in a statement that ``succeeded`` for other jobs. Keeps all else, and lets those lanes rest."""
        failed, self.failed = self.failed, []
        for failure in failed:
            guilty = failure.jobs if failure.statement in self.succeeded else []
            await judge(
                [(job, failure.error) for job in guilty], partial(self._give_up, worker_id), self._leave
            )
            if not guilty:
                self.failed.append(failure)
            if not guilty or may_pass(failure.error):
                until = monotonic() + DEAF_PAUSE
                self._resting |= {(lane, after is not None): until for lane, after, _ in failure.lanes}

    async def _give_up(self, worker_id: int, job: Chosen, error: Exception) -> None:
        await bury(self._link.once, job[-1], worker_id, error)

    async def _leave(self, job: Chosen, error: Exception) -> None:
        pass_over(self._link.once, job[-1], error)
