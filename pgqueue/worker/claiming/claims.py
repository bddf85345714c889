"""Sends the statements that claim jobs, hands over the claimed jobs, and reports the results to the classes that claimer.py lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import ConnectionLost
from pgqueue.database.statements.claiming import Lane, TurnClaim
from pgqueue.runtime.clock import monotonic
from pgqueue.sql import Row
from pgqueue.telemetry.events import emit, has_subscribers
from pgqueue.telemetry.events.jobs import JobsClaimed, JobsTaken
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.claiming.claim_size import ClaimSize
from pgqueue.worker.claiming.in_flight import InFlight
from pgqueue.worker.claiming.lanes import Lanes
from pgqueue.worker.claiming.late_commits import LateCommits
from pgqueue.worker.claiming.lost_claims import LostClaims, jobs_of_lost_claims
from pgqueue.worker.claiming.pace import Pace
from pgqueue.worker.claiming.singly import Beginning, SingleClaims
from pgqueue.worker.claiming.turns import Turns
from pgqueue.worker.job_facts import emit_taken

URGENCY = attrgetter("priority", "run_at", "id")  # the most urgent attempt has the smallest of these


class Claims:
    """``hand_over`` is called with the attempts of each claim, the most urgent attempt first.

    If a claim fails, ``singly`` claims the same jobs in smaller parts.
    """

    def __init__(
        self,
        link: Link,
        tasks: list[str],
        in_flight: InFlight,
        hand_over: Callable[[list[Attempt]], None],
        *,
        lanes: Lanes,
        turns: Turns,
        pace: Pace,
        late_commits: LateCommits,
    ) -> None:
        self._link, self._tasks = link, tasks
        self._in_flight, self._hand_over = in_flight, hand_over
        self._lanes, self._turns, self._pace, self._late_commits = lanes, turns, pace, late_commits
        self.worker_id = 0
        self.size = ClaimSize()
        self.lost = LostClaims(link.limit, monotonic())
        self.singly = SingleClaims(link, tasks, self._take_turns, self._note_lost_answer)

    async def together(self, lanes: list[Lane], count: int) -> list[Attempt]:
        """Claims jobs without a key from several lanes by one statement. If a look behind is due, looks behind the cursors of all lanes."""
        begun = monotonic()
        look_behind = self._late_commits.is_look_behind_due(begun)
        if look_behind:
            self._lanes.cursors.look_behind()
        worker_id = self.worker_id
        claim = statements.claim(worker_id, self._tasks, lanes, self._lanes.cursors.since(lanes), count)
        try:
            rows = await self._link.once(claim)
        except ConnectionLost:
            await self._note_lost_answer()
            return []
        except Exception as error:  # noqa: BLE001 - it is raised again if every job fails
            beginnings = [Beginning(lane) for lane in lanes]
            return await self.singly.claim(worker_id, beginnings, count, claim, error)
        now = monotonic()
        took = now - begun
        emit(JobsClaimed(worker_id, len(rows), count, took, looked_behind=look_behind))
        is_all = look_behind and self._late_commits.note_look_behind(len(rows), took, now)
        attempts = self._took(claim.name, worker_id, rows, took, may_have_seats=False)
        self._lanes.cursors.advance(
            [((attempt.queue, attempt.priority), (attempt.run_at, attempt.id)) for attempt in attempts],
            monotonic(),
            exhausted=lanes if is_all or len(rows) < count else (),
        )
        return attempts

    async def from_one(self, lane: Lane, count: int, *, in_turns: bool) -> list[Attempt]:
        """Claims jobs from one lane, and respects limits. If ``in_turns``, claims jobs with keys. Otherwise claims jobs without a key."""
        begun, worker_id = monotonic(), self.worker_id
        after, front = self._turns.resume(lane) if in_turns else (None, None)
        claim = statements.claim_limited(worker_id, self._tasks, lane, after, count, front)
        try:
            found = await self._link.once(claim)
        except ConnectionLost:
            await self._note_lost_answer()
            return []
        except Exception as error:  # noqa: BLE001 - it is raised again if every job fails
            beginnings = [Beginning(lane, after, front)]
            return await self.singly.claim(worker_id, beginnings, count, claim, error)
        took = monotonic() - begun
        emit(JobsClaimed(worker_id, len(found.rows), count, took, looked_behind=False))
        self._note_turn(lane, found)
        return self._took(claim.name, worker_id, found.rows, took, may_have_seats=True)

    async def take_lost(self) -> None:
        """Asks the database for the jobs of lost claims, and hands these jobs over."""
        worker_id = self.worker_id
        self.lost.note_look(monotonic())
        self._take(worker_id, await jobs_of_lost_claims(self._link, worker_id, self._in_flight.attempts))

    async def _note_lost_answer(self) -> None:
        self.lost.note_lost_answer(monotonic())
        self._pace.survey_at_once()
        await self._link.wait_until_back()

    def _took(
        self, statement: str, worker_id: int, rows: list[Row], took: float, *, may_have_seats: bool
    ) -> list[Attempt]:
        self.size.measure(len(rows), took, has_urgent=self._lanes.has_urgent)
        if rows:
            self.singly.succeeded.add(statement)
        return self._take(worker_id, rows, may_have_seats=may_have_seats)

    def _take_turns(self, worker_id: int, lane: Lane, found: TurnClaim) -> list[Attempt]:
        self._note_turn(lane, found)
        return self._take(worker_id, found.rows)

    def _note_turn(self, lane: Lane, found: TurnClaim) -> None:
        if found.rows and found.front:
            self._turns.note_turn(lane, found.turns[-1], found.front)

    def _take(self, worker_id: int, rows: Iterable[Row], *, may_have_seats: bool = True) -> list[Attempt]:
        if worker_id != self.worker_id:
            return []  # the lease ended during the claim, so another worker rescues the jobs
        attempts = [Attempt(worker_id, row, may_have_seats=may_have_seats) for row in rows]
        attempts.sort(key=URGENCY)
        if attempts and has_subscribers(JobsTaken):
            emit_taken(worker_id, attempts)
        self._in_flight.add(attempts)
        self._hand_over(attempts)
        return attempts
