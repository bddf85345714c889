"""Claims jobs for free slots again and again, in a loop. docs/internals/claiming.md explains how a claim works.

Classes that do no I/O make the decisions:

- ``lanes.py``, ``cursors.py``: which lanes can have due jobs, and at which position of each lane a claim begins to scan;
- ``turns.py``: which lanes need a claim of their own, because of limits or keys;
- ``claim_size.py``: how many jobs a claim is allowed to take;
- ``urgent_allowance.py``: how many urgent jobs are claimed although no slot is free;
- ``pace.py``: how long to wait before the next claim;
- ``late_commits.py``: when to look for jobs whose transactions committed late;
- ``lost_claims.py``: when to look for jobs whose claim got no answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from pgqueue.config import WorkerSettings
from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import Trouble
from pgqueue.database.statements.claiming import Lane
from pgqueue.runtime.clock import monotonic
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.busy import Busy
from pgqueue.worker.claiming.claims import Claims
from pgqueue.worker.claiming.cursors import START
from pgqueue.worker.claiming.in_flight import InFlight
from pgqueue.worker.claiming.lanes import Lanes
from pgqueue.worker.claiming.late_commits import LateCommits
from pgqueue.worker.claiming.pace import Pace
from pgqueue.worker.claiming.served_queues import ServedQueues
from pgqueue.worker.claiming.singly import LANE_REST
from pgqueue.worker.claiming.turns import PlannedClaim, Turns
from pgqueue.worker.claiming.urgent_allowance import URGENT_LOOK, UrgentAllowance
from pgqueue.worker.claiming.wake_ups import WakeUps

# The longest pause, in seconds, after a failed claim if only a few jobs were due. A wake-up ends this pause.
LONGEST_LONE_PAUSE = 5.0
QUIET_PAUSE = 5.0  # seconds between two turns of a claimer that takes no jobs


class Claimer:
    """``hand_over`` is called with the claimed attempts. ``ahead`` returns how many jobs are claimed in addition to the free slots.

    If the settings ask for a drain, the event ``drained`` is set when no job is left to claim and no job runs.
    """

    def __init__(
        self,
        link: Link,
        settings: WorkerSettings,
        tasks: list[str],
        in_flight: InFlight,
        hand_over: Callable[[list[Attempt]], None],
        ahead: Callable[[], int],
    ) -> None:
        self._link, self._settings, self._tasks = link, settings, tasks
        self._in_flight, self._ahead = in_flight, ahead
        self._served = ServedQueues(settings.queues)
        self._lanes = Lanes(self._served, settings.patience)
        self._turns = Turns(self._served)
        self._late_commits = LateCommits()
        self.pace = Pace(settings.poll)
        self._claims = Claims(
            link, tasks, in_flight, hand_over,
            lanes=self._lanes, turns=self._turns, pace=self.pace, late_commits=self._late_commits,
        )  # fmt: skip
        self._urgent_allowance = UrgentAllowance()
        self._busy = Busy(link, self._lanes.queues, listen=settings.listen)
        self._trouble = Trouble("the claim")
        self._wake_ups = WakeUps()
        self.drained = asyncio.Event()
        self._wants_room = False  # jobs were left behind because no slot was free
        self._has_more = False  # the last claims can have left due jobs behind although slots are free
        self.is_quiet = False  # whether a person has asked the worker to take no more jobs
        self._rounds = 0  # how often the groups of queues were put in order

    @property
    def worker_id(self) -> int:
        return self._claims.worker_id

    @worker_id.setter
    def worker_id(self, worker_id: int) -> None:
        self._claims.worker_id = worker_id

    # ---------------------------------------------------------------- calls from other parts of the worker

    def stop(self) -> None:
        """After this call, no claim begins. If a claim is under way, its jobs are still handed over."""
        self._wake_ups.stop()

    def be_quiet(self) -> None:
        """After this call, no claim begins, but the claimer does not end. If a claim is under way, its jobs are still handed over."""
        self.is_quiet = True
        self._wake_ups.look_again()

    def wake(self) -> None:
        """Called if a job was enqueued."""
        self._wake_ups.note_job()

    def look_again(self) -> None:
        """Called if a job can be due again, for example after a retry without a delay."""
        self._wake_ups.look_again()

    def make_room(self) -> None:
        """Called if jobs have ended. Looks for jobs if a claim left jobs behind and there is room now, or if a drain is perhaps over."""
        is_drained = self._settings.drain and not self._in_flight
        if is_drained or (self._wants_room and self._in_flight.room(self._ahead())):
            self._wake_ups.look_again()

    def mark(self) -> int | None:
        """Returns a number that grows as long as the claimer turns. None while it rests. Any thread can call it."""
        return self._wake_ups.mark()

    async def claim_now(self) -> int:
        """Looks for due jobs in all lanes from their beginnings, and claims jobs for the free slots. Returns their number. Never waits.

        A drain of a test calls this in place of ``run``.
        """
        self._late_commits.next_look_behind = 0.0
        self._claims.singly.begin_turn()
        while await self._survey():
            pass
        return await self._claim(self._in_flight.room(self._ahead()))

    # ---------------------------------------------------------------- the loop

    async def run(self) -> None:
        while not self._wake_ups.stopping:
            try:
                await self._turn()
                self._trouble.over()
            except Exception as error:  # noqa: BLE001 - it is logged
                await self._rest_after(error)
        await self._busy.clear()

    async def _turn(self) -> None:
        self._wake_ups.clear()
        self._claims.singly.begin_turn()
        if self._claims.lost.is_overdue(monotonic()):
            await self._claims.take_lost()
        if self.is_quiet:
            await self._wake_ups.sleep(QUIET_PAUSE)
            return
        room = self._in_flight.room(self._ahead())
        self._wants_room = not room
        if not room:
            await self._look_for_urgent_jobs()
            return
        claimed = await self._claim(room)
        if claimed:
            self.pace.note_work()
            await self._busy.note_work(full=self._wants_room)
            if self._wants_room or self._has_more or self._lanes.cursors.is_looking_behind:
                return
        await self._wait(found=claimed > 0)

    async def _rest_after(self, error: Exception) -> None:
        pause = self._trouble.after(error)
        if (
            self._claims.singly.few_failed
        ):  # jobs that are enqueued now can perhaps be claimed, so a wake-up ends the pause
            await self._wake_ups.sleep_through(min(pause, LANE_REST))
            await self._wake_ups.sleep(min(pause, LONGEST_LONE_PAUSE))
        else:
            await self._wake_ups.sleep_through(pause)

    # ---------------------------------------------------------------- claiming

    async def _claim(self, room: int) -> int:
        """Claims at most ``room`` jobs. Returns the number of claimed jobs."""
        if not self._lanes and not self._turns:
            await self._survey()
        self._urgent_allowance.renew()
        self._has_more = False
        claimed = 0
        for serving, slots in self._groups():
            left = room - claimed
            claimed += await self._claim_group(serving, left if slots is None else min(left, slots))
        self._has_more |= (
            self._claims.singly.was_needed
        )  # other jobs can be claimed in place of the failed ones
        await self._claims.singly.end_turn(self.worker_id)
        if self.pace.is_survey_due(monotonic()):
            await self._survey()
        for failure in self._claims.singly.failures:
            if not claimed:
                raise failure.error
            self._trouble.after(
                failure.error
            )  # the error is only logged, because jobs of other lanes were claimed
        return claimed

    def _groups(self) -> list[tuple[list[str], int | None]]:
        """Returns groups of queues, each with the number of its free slots.

        All queues that share the worker's slots form one group, which has None instead of a number. Each queue with slots of its own forms
        a group of its own. Each time, another group is the first one, so that no group takes all free slots again and again.
        """
        queues = self._settings.queues
        shared = [name for name, slots in queues.items() if slots is None]
        groups: list[tuple[list[str], int | None]] = [(shared, None)] if shared else []
        own = [name for name, slots in queues.items() if slots is not None]
        groups += [([name], self._in_flight.queue_room(name)) for name in own]
        first = self._rounds % len(groups) if groups else 0
        self._rounds += 1
        return groups[first:] + groups[:first]

    async def _claim_group(self, serving: Collection[str], room: int) -> int:
        claimed = 0
        for plan in self._turns.plan(self._lanes.in_order(serving), serving):
            count = min(room - claimed, self._claims.size.jobs)
            lanes = self._claims.singly.awake(plan.lanes, in_turns=plan.way == "in turns")
            taken = 0
            if lanes and count > 0 and not self._wake_ups.stopping:
                taken = await self._claim_planned(plan, lanes, count)
            claimed += taken
            self._wants_room |= taken >= count
        return claimed

    async def _claim_planned(self, plan: PlannedClaim, lanes: list[Lane], count: int) -> int:
        self._wake_ups.note_turn()
        if plan.way == "together":
            attempts = await self._claims.together(lanes, count)
            self._urgent_allowance.note_ordinary_claim(attempts)
        else:
            attempts = await self._claims.from_one(lanes[0], count, in_turns=plan.way == "in turns")
            self._has_more |= bool(attempts)  # a claim from one lane can leave due jobs there
        return len(attempts)

    async def _look_for_urgent_jobs(self) -> None:
        """Called if no slot is free. Nevertheless claims a few jobs if they are more urgent than the jobs that fill the slots."""
        lanes = self._urgent_lanes()
        if not lanes:
            await self._wake_ups.sleep(max(self._claims.lost.next_look - monotonic(), URGENT_LOOK))
        elif not await self._wake_ups.sleep(URGENT_LOOK):
            attempts = await self._claims.together(lanes, self._urgent_allowance.left)
            self._urgent_allowance.spend(len(attempts))
            await self._claims.singly.end_turn(self.worker_id)

    def _urgent_lanes(self) -> list[Lane]:
        if (
            self._ahead() <= 0
        ):  # the running jobs take long, so a claimed urgent job would wait long for a slot
            return []
        lanes = self._urgent_allowance.more_urgent(self._claims.singly.awake(self._lanes.all()))
        return [lane for lane in lanes if self._in_flight.queue_room(lane[0]) is None]

    # ---------------------------------------------------------------- finding lanes

    async def _survey(self) -> bool:
        """Asks the database which lanes have jobs. Returns whether there is a lane that was not known before."""
        self._wake_ups.note_turn()
        begun = monotonic()
        if self._claims.lost.is_due(begun) and not self._wake_ups.stopping:
            await self._claims.take_lost()
        if self._served.patterns:
            self._lanes.matched = await self._link.run(statements.match_queues(self._served.patterns))
        look_behind = self._late_commits.is_look_behind_due(begun)
        known = self._lanes.all()
        since = [START] * len(known) if look_behind else self._lanes.cursors.since(known)
        survey = await self._link.run(statements.survey_lanes(known, since, self._lanes.gaps()))
        is_new = self._lanes.see(survey.lanes, begun)
        is_new |= self._turns.see(survey.in_turns, survey.limited)
        self._lanes.note_waits({lane: -due_in for lane, due_in in survey.lanes.items()})
        now = monotonic()
        self.pace.note_survey(survey, now - begun, now)
        if not look_behind:
            await self._watch_writers(now)
        elif not self.pace.is_work_due:
            self._late_commits.note_survey_from_start(now - begun, now)
        return is_new

    async def _watch_writers(self, now: float) -> None:
        """If a long transaction that wrote jobs has ended, makes the next claims look behind the cursors for these jobs.

        This is needed only while a look behind is expensive. If it is cheap, every claim looks behind anyway.
        """
        if not self._late_commits.is_watch_due(now) or not self._lanes.cursors.have_moved:
            return
        self._late_commits.begin_watch(now)
        writers = await self._link.run(statements.list_open_writers())
        since = self._late_commits.first_that_ended(writers)
        if since is not None:
            self._lanes.cursors.look_behind(since)

    # ---------------------------------------------------------------- waiting

    async def _wait(self, *, found: bool) -> None:
        """Waits for a wake-up, or until it is time for the next claim. ``found``: whether the last claim took jobs."""
        if self._busy:
            if not self._busy.is_over:
                await self._wake_ups.sleep(self.pace.busy_pause())
            else:
                self.pace.note_work()
                await self._busy.clear()
                self._wake_ups.note_job()  # because an enqueuer that has seen the mark sends no wake-up when it commits
        elif self._wake_ups.is_claim_expected:
            await self._wake_ups.sleep_until_claim()
        elif not found or not await self._wake_ups.sleep_until_survey(self._settings.poll):
            await self._idle()

    async def _idle(self) -> None:
        """Waits until a job is due. Until then, each poll sends only one cheap query."""
        while not self._wake_ups.stopping:
            is_new = await self._survey()
            if self._settings.drain and not self._in_flight and await self._is_drained():
                self.drained.set()
            if self.pace.is_work_due or self._turns:
                if not is_new:
                    await self._wake_ups.sleep_until_survey(self.pace.blocked_pause())
                return
            if await self._wake_ups.sleep_until_survey(self.pace.idle_pause()):
                return

    async def _is_drained(self) -> bool:
        due, _running = await self._link.run(statements.count_unclaimed(self._lanes.queues(), self._tasks))
        return due == 0
