"""Claims jobs for free slots, and knows when to ask again.

Lanes: a queue and a priority are one lane, found by a loose index scan (``lanes.sql``); ``lanes.py`` says where to look.
Sweep: the look behind the cursors of the lanes, for what committed late. At every claim while that is cheap, else at once when a transaction
ends that had been writing jobs for long, and every max(1 s, 200 times its own duration) for the rest: jobs given a run_at in the past.
Size: no claim takes so many jobs that an urgent one would wait for its end.
Looking: while short jobs fill all room, more urgent lanes are still looked into every few milliseconds: an urgent job waits neither
for a settle that makes room nor behind what was claimed before it.
Waking: an idle worker waits for a wake-up or its poll; one that is busy (busy.py) polls every few milliseconds instead.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

from pgqueue.config import WorkerSettings
from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import ConnectionLost, Trouble
from pgqueue.database.statements.claiming import Round
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.jobs import JobsClaimed
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.busy import Busy
from pgqueue.worker.claiming.in_flight import InFlight
from pgqueue.worker.claiming.lanes import LAG, START, Lanes, Name
from pgqueue.worker.claiming.long_writers import WATCH, LongWriters
from pgqueue.worker.claiming.lost_claims import LostClaims
from pgqueue.worker.claiming.served_queues import ServedQueues
from pgqueue.worker.claiming.singly import DEAF_PAUSE, LONGEST_PAUSE, Place, SingleClaims
from pgqueue.worker.claiming.turns import Turns

CHEAP_SWEEP = 0.002  # seconds
SPARING = 200  # times its duration between two dear sweeps, so that not one job in a hundred waits for one
CHEAP_ROW = 0.000015  # seconds
LONGEST_CLAIM, SHORT_CLAIM = 0.025, 0.003  # seconds; the shorter where jobs of several priorities are about
SMALLEST, LARGEST = 100, 1000  # jobs that a claim may take at most, according to how long they take
LOOK = 0.004  # seconds between two looks for urgent jobs while there is no room
EXTRA = 20  # jobs that these may take between two ordinary claims
SPARED = 0.012  # seconds after a wake-up within which enqueuers spare the next (10 ms: wake.sql)
QUICK, SLOWER = 0.002, 1.6  # seconds of the first pause of a busy worker; the factor to the next
HEARD = 1.8  # times the poll, where wake-ups are known to arrive
LANES = 0.05  # seconds between two looks for lanes while there is work


class Claimer:
    def __init__(
        self,
        link: Link,
        settings: WorkerSettings,
        tasks: list[str],
        in_flight: InFlight,
        hand_over: Callable[[list[Attempt]], None],
        prefetch: Callable[[], int],
    ) -> None:
        self._link, self._settings, self._tasks = link, settings, tasks
        self._in_flight, self._hand_over, self._prefetch = in_flight, hand_over, prefetch
        self._served = ServedQueues(settings.queues)
        self._lanes = Lanes(self._served, settings.patience)
        self._turns = Turns(self._served)
        self.worker_id = 0
        self.hears_wake_ups = False  # wake-ups arrive
        self.wake_up = asyncio.Event()
        self.stopping = False
        self.drained = asyncio.Event()
        self._woken = False
        self._next_sweep = self._next_lanes = self._next_watch = 0.0
        self._writers = LongWriters(link)
        self._due_in = self._later = 0.0
        self._most = SMALLEST
        self._extra = EXTRA
        # The priority of the least urgent job: of the last ordinary claim, of the last claim.
        self._filling = self._last_priority = 0
        self._wants_room = self._more = False
        self._singly = SingleClaims(link, tasks, self._take_round, self._doubt)
        self._trouble = Trouble("the claim")
        self._lost = LostClaims(link)
        self._busy = Busy(link, self._lanes.queues, listen=settings.listen)
        self._pause = QUICK

    def stop(self) -> None:
        """No claim begins after this; one that is under way is finished and handed over."""
        self.stopping = True
        self.wake_up.set()

    def wake(self) -> None:
        """A job was enqueued."""
        self._woken = True
        self.wake_up.set()

    def make_room(self) -> None:
        """Slots are free again: a reason to look only if jobs were left behind for want of slots, or if the last job of a drain has ended."""
        if self._wants_room or (self._settings.drain and not self._in_flight):
            self.wake_up.set()

    async def run(self) -> None:
        while not self.stopping:
            try:
                await self._turn()
                self._trouble.over()
            except Exception as error:  # noqa: BLE001 - it is logged
                pause = self._trouble.after(error)
                # Few jobs that failed say nothing of others, which may come.
                lone = any(failure.jobs for failure in self._singly.failed)
                await self._rest(min(pause, DEAF_PAUSE) if lone else pause)
                if lone:
                    await self._sleep(min(pause, LONGEST_PAUSE))
        await self._busy.clear()

    async def _turn(self) -> None:
        self.wake_up.clear()
        self._singly.begin()
        if monotonic() >= self._lost.next_look:
            await self._take_lost_claims()
        room = self._in_flight.room(self._prefetch())
        self._wants_room = not room
        if not room:
            await self._wait_for_room()
            return
        found = await self._claim(room)
        if found:
            self._pause = QUICK
            await self._busy.note_work(full=self._wants_room)
            if self._wants_room or self._more or self._lanes.sweeping:
                return
        await self._wait(bool(found))

    async def _rest(self, seconds: float) -> None:
        """Sleeps through wake-ups, which may come again and again."""
        end = monotonic() + seconds
        while not self.stopping and (left := end - monotonic()) > 0:
            self.wake_up.clear()
            await self._sleep(left)

    async def _take_lost_claims(self) -> None:
        worker_id = self.worker_id
        self._take(worker_id, await self._lost.find(worker_id, list(self._in_flight.attempts)))

    async def _wait_for_room(self) -> None:
        urgent: list[Name] = []
        if self._extra > 0 and self._prefetch() > 0:
            lanes = self._singly.awake(self._lanes.all())
            urgent = [
                lane
                for lane in lanes
                if lane[1] < self._filling and self._in_flight.queue_room(lane[0]) is None
            ]
        if not urgent:
            await self._sleep(max(self._lost.next_look - monotonic(), LOOK))
        elif not await self._sleep(LOOK):
            self._extra -= await self._claim_lanes(urgent, self._extra)
            await self._singly.end(self.worker_id)

    async def _claim(self, room: int) -> int:
        if not self._lanes and not self._turns:
            await self._find_lanes()
        self._extra, self._more = EXTRA, False
        found = 0
        for keys, limit in self._groups():
            left = room - found if limit is None else min(room - found, limit)
            for errand in self._turns.errands(self._lanes.in_turn(keys), keys):
                count = min(left, self._most)
                claimed = 0
                lanes = self._singly.awake(errand.lanes, keyed=errand.way == "keyed")
                if lanes and count > 0 and not self.stopping:
                    if errand.way == "plain":
                        claimed = await self._claim_lanes(lanes, count)
                        self._filling = self._last_priority if claimed else self._filling
                    else:
                        claimed = await self._claim_limited(lanes[0], errand.way == "keyed", count)
                        self._more |= claimed > 0  # a round of the keys may leave room
                found, left = found + claimed, left - claimed
                self._wants_room |= claimed >= count
        self._more |= self._singly.taken > 0 or bool(self._singly.failed)  # what is put aside leaves room
        await self._singly.end(self.worker_id)
        if monotonic() >= self._next_lanes:
            await self._find_lanes()
        for failure in self._singly.failed:
            if not found:
                raise failure.error
            self._trouble.after(failure.error)  # other lanes go on
        return found

    def _groups(self) -> list[tuple[list[str], int | None]]:
        """Queues that share the worker's slots are claimed together; one with slots of its own, alone."""
        shared = [key for key, limit in self._settings.queues.items() if limit is None]
        groups: list[tuple[list[str], int | None]] = [(shared, None)] if shared else []
        own = [key for key, limit in self._settings.queues.items() if limit is not None]
        groups += [([key], self._in_flight.queue_room(key)) for key in own]
        return groups

    async def _find_lanes(self) -> bool:
        """Whether there is a lane that was not known before."""
        begun = monotonic()
        if self._lost.is_due and not self.stopping:
            await self._take_lost_claims()
        if self._served.patterns:
            self._lanes.matched = await self._link.run(statements.match_queues(self._served.patterns))
        swept = begun >= self._next_sweep
        known = self._lanes.all()
        since = [START] * len(known) if swept else self._lanes.since(known)
        there = await self._link.run(statements.lanes(known, since, self._lanes.gaps()))
        new = self._lanes.see(there.lanes, begun)
        new |= self._turns.see(there.keyed, there.limited)
        self._lanes.wait({lane: -due_in for lane, due_in in there.lanes.items()})
        self._due_in = min(there.lanes.values(), default=3600.0)
        self._later = 3600.0 if there.later is None else max(there.later, 0.001)
        now = monotonic()
        self._next_lanes = now + max(LANES, 20 * (now - begun))
        if swept and now - begun > CHEAP_SWEEP and self._due_in > 0:
            self._next_sweep = now + max(1.0, SPARING * (now - begun))
        elif not swept and now >= self._next_watch and self._lanes.moved:
            self._next_watch = now + WATCH
            if (began := await self._writers.ended()) is not None:
                self._lanes.sweep(began - LAG)
        return new

    async def _claim_lanes(self, lanes: list[Name], count: int) -> int:
        begun = monotonic()
        whole = begun >= self._next_sweep
        if whole:
            self._lanes.sweep()
        worker_id = self.worker_id
        claim = statements.claim(worker_id, self._tasks, lanes, self._lanes.since(lanes), count)
        try:
            rows = await self._link.once(claim)
        except ConnectionLost:
            await self._doubt()
            return 0
        except Exception as error:  # noqa: BLE001 - it is raised again if every job fails
            places: list[Place] = [(lane, None, None) for lane in lanes]
            return await self._singly.claim(worker_id, places, count, claim, error)
        took = monotonic() - begun
        emit(JobsClaimed(worker_id, len(rows), count, took, looked_behind=whole))
        cheap = took < CHEAP_SWEEP + CHEAP_ROW * len(rows)
        if whole:
            self._next_sweep = 0.0 if cheap else monotonic() + max(1.0, SPARING * took)
        self._measure(len(rows), took)
        if rows:
            self._singly.succeeded.add(claim.name)
        attempts = self._take(worker_id, rows, may_hold_seats=False)
        self._last_priority = attempts[-1].priority if attempts else 0
        self._lanes.advance(
            [((attempt.queue, attempt.priority), (attempt.run_at, attempt.id)) for attempt in attempts],
            monotonic(),
            exhausted=lanes if len(rows) < count or (whole and cheap) else (),
        )
        return len(attempts)

    def _measure(self, found: int, took: float) -> None:
        """The next claims take as many as fit into the time that one may last."""
        if found >= SMALLEST:
            longest = SHORT_CLAIM if self._lanes.urgency else LONGEST_CLAIM
            self._most = max(SMALLEST, min((self._most + int(found * longest / took)) // 2, LARGEST))

    async def _claim_limited(self, lane: Name, keyed: bool, count: int) -> int:
        worker_id, begun = self.worker_id, monotonic()
        after, since = self._turns.place(lane) if keyed else (None, None)
        claim = statements.claim_limited(worker_id, self._tasks, lane, after, count, since)
        try:
            found = await self._link.once(claim)
        except ConnectionLost:
            await self._doubt()
            return 0
        except Exception as error:  # noqa: BLE001 - it is raised again if every job fails
            return await self._singly.claim(worker_id, [(lane, after, since)], count, claim, error)
        took = monotonic() - begun
        emit(JobsClaimed(worker_id, len(found.rows), count, took, looked_behind=False))
        self._measure(len(found.rows), took)
        if found.rows:
            self._singly.succeeded.add(claim.name)
        return len(self._take_round(worker_id, lane, found))

    def _take_round(self, worker_id: int, lane: Name, found: Round) -> list[Attempt]:
        if found.rows and found.since:
            self._turns.took(lane, found.turns[-1], found.since)
        return self._take(worker_id, found.rows)

    async def _doubt(self) -> None:
        """A claim without an answer may have been committed, or may yet be: those jobs are ours, and are not rescued while we live."""
        self._lost.doubt()
        self._next_lanes = 0.0
        await self._link.wait_until_back()

    def _take(self, worker_id: int, rows: Sequence[Any], *, may_hold_seats: bool = True) -> list[Attempt]:
        if worker_id != self.worker_id:
            return []  # the lease ended while it claimed: they are rescued with it
        attempts = [Attempt(worker_id, row, may_hold_seats=may_hold_seats) for row in rows]
        attempts.sort(key=lambda attempt: (attempt.priority, attempt.run_at, attempt.id))
        self._in_flight.add(attempts)
        self._hand_over(attempts)
        return attempts

    # ---------------------------------------------------------------- waiting

    async def _wait(self, found: bool) -> None:
        """Until a wake-up, or until it is time to look again."""
        if self._busy:
            if not self._busy.is_over:
                await self._sleep(self._pause)
                self._pause = min(self._pause * SLOWER, 0.05)
            else:  # from now on enqueuers wake us; the next claim finds what came from those who had read the flag before
                self._pause = QUICK
                await self._busy.clear()
        elif self._woken:
            self._woken = False
            await self._sleep(SPARED)
        elif not found or await self._sleep(self._settings.poll) is False:
            await self._idle()

    async def _idle(self) -> None:
        """Nothing is due in the lanes we know: until one is, at one cheap query a poll."""
        while not self.stopping:
            new = await self._find_lanes()
            if self._settings.drain and not len(self._in_flight) and await self._is_drained():
                self.drained.set()
            if self._due_in <= 0 or self._turns:
                if not new:  # not claimable: locked, paused, limited, or of a task we do not know
                    await self._sleep(min(self._pause, self._later))
                    self._pause = min(self._pause * SLOWER, self._settings.poll)
                return
            poll = self._settings.poll * (HEARD if self.hears_wake_ups else 1.0)
            if await self._sleep(min(poll, self._due_in, self._later)):
                return

    async def _is_drained(self) -> bool:
        due, _running = await self._link.run(statements.count_unclaimed(self._lanes.queues(), self._tasks))
        return due == 0

    async def _sleep(self, seconds: float) -> bool:
        """Whether a wake-up ended it."""
        if self.stopping:
            return True
        try:
            async with asyncio.timeout(seconds * random.uniform(0.9, 1.0)):  # noqa: S311 - jitter, not a secret
                return await self.wake_up.wait()
        except TimeoutError:
            return False
