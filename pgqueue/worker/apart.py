"""Claims what can be claimed after a claim of many jobs has failed, perhaps because of one of them, and puts that one aside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from operator import itemgetter

from pgqueue import statements
from pgqueue.connections import Link
from pgqueue.outage import ConnectionLost
from pgqueue.rows import Round
from pgqueue.sifting import PROBES, put_aside, sift
from pgqueue.worker.lanes import Name

Place = tuple[Name, str | None, str | None]  # a lane, the key whose turn was last, and where to begin
Chosen = tuple[Place, int, int]  # a job, and of how many that were asked for it is one
AT_LEAST, AT_MOST = (
    0.5,
    5.0,
)  # seconds until jobs are claimed again that fail alone; a wake-up ends the longer pause


class Apart:
    """``take`` is called with what was claimed, and tells how many jobs that is; ``doubt`` after a claim without an answer.

    Of one turn of the claimer: ``taken`` jobs, and those on which claims ``failed`` though no other was there to tell whose fault it is.
    """

    def __init__(
        self,
        link: Link,
        tasks: list[str],
        take: Callable[[int, Name, Round], int],
        doubt: Callable[[], Awaitable[None]],
    ) -> None:
        self._link, self._tasks, self._take, self._doubt = link, tasks, take, doubt
        self.begin()

    def begin(self) -> None:
        self.taken = 0
        self.failed: dict[int, Exception] = {}

    async def claim(self, worker_id: int, lanes: Sequence[Place], count: int, error: Exception) -> int:
        """Returns how many; raises ``error`` if there is nothing to claim, and what all of many jobs fail with."""
        before = self.taken

        async def run(part: Sequence[Chosen]) -> list[int]:
            for (place, asked), jobs in groupby(part, key=itemgetter(0, 1)):
                lane, after, since = place
                only = [job_id for _, _, job_id in jobs]
                claim = statements.claim_limited(worker_id, self._tasks, lane, after, asked, since, only)
                self.taken += self._take(worker_id, lane, await self._link.once(claim))
            return []

        async def give_up(item: Chosen, failure: Exception) -> None:
            await put_aside(self._link.once, item[-1], worker_id, failure)

        chosen = await self._choose(worker_id, lanes, count)
        if not chosen:
            raise error
        try:
            await sift(chosen, run, give_up)
        except ConnectionLost:
            await self._doubt()
        except Exception as failure:
            if len(chosen) > PROBES:
                raise
            self.failed |= {job_id: failure for _, _, job_id in chosen}
        return self.taken - before

    async def _choose(self, worker_id: int, lanes: Sequence[Place], count: int) -> list[Chosen]:
        chosen: list[Chosen] = []
        for place in lanes:
            lane, after, since = place
            if asked := count - len(chosen):
                choice = statements.choose_limited(worker_id, self._tasks, lane, after, asked, since)
                chosen += [(place, asked, job_id) for job_id in await self._link.once(choice)]
        return chosen

    async def end(self, worker_id: int, *, others_succeed: bool) -> None:
        """Puts aside what failed alone, or raises its error if nothing else was claimed."""
        for job_id, failure in self.failed.items():
            if not others_succeed:
                raise failure
            await put_aside(self._link.once, job_id, worker_id, failure)
