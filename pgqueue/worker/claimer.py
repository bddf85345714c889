"""Claims jobs for free slots, and knows when to ask again.

Lanes: a queue and a priority are one lane, found by a loose index scan (``lanes.sql``) and remembered.
Cursor: of each lane the claimer remembers how far it has claimed and starts there, because rows behind are dead index
entries that nobody can remove while some session holds an old snapshot. It is only a hint: a sweep from the start happens
at every claim while that is cheap, else every max(1 s, 20 times its own duration), and finds what committed late.
Waking: an idle worker waits for a wake-up or its poll. One that keeps finding work marks its queues busy, which spares
enqueuers the NOTIFY (a database-wide lock at commit), and polls every few milliseconds instead.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from pgqueue import statements
from pgqueue.config import WorkerSettings
from pgqueue.connections import TROUBLE, Link
from pgqueue.worker.attempt import Attempt, InFlight

MARGIN = 0.2  # seconds a cursor stays behind the last claimed run_at
CHEAP_SWEEP = 0.002
CHEAP_ROW = 0.00004
BUSY_HITS = 250  # claims that found work within a second
FULL_HITS = 3  # the same, if they filled all slots
BUSY_MARK = 2.0
BUSY_PATIENCE = 0.2  # seconds without work after which a worker is idle
QUICK, SLOWER = 0.002, 1.6
DOUBT = 65.0  # seconds in which a claim whose answer was lost may still be committed: a bit more than its time-out

log = logging.getLogger("pgqueue")


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
        self.worker_id = 0
        self.wake_up = asyncio.Event()
        self.stopping = False
        self.drained = asyncio.Event()
        self._cursors: dict[tuple[str, int], float] = {}
        self._turn = 0
        self._next_sweep = self._next_lanes = 0.0
        self._due_in = 0.0
        self._wants_room = False
        self._doubtful_until = 0.0
        self._hits: list[float] = []
        self._busy_since = self._marked_at = 0.0
        self._last_work = 0.0
        self._pause = QUICK

    def stop(self) -> None:
        """No claim begins after this; one that is under way is finished and handed over."""
        self.stopping = True
        self.wake_up.set()

    def make_room(self) -> None:
        """Slots are free again: a reason to look only for who has left jobs behind for want of slots."""
        if self._wants_room:
            self.wake_up.set()

    async def run(self) -> None:
        while not self.stopping:
            self.wake_up.clear()
            room = self._in_flight.room(self._prefetch())
            self._wants_room = not room
            if not room:
                await self.wake_up.wait()
                continue
            found = await self._claim(room)
            if found:
                self._note_work(full=self._wants_room)
                await self._mark_busy()
                if found >= room:
                    continue
            await self._wait(bool(found))
        await self._clear_busy()

    async def _claim(self, room: int) -> int:
        if not self._cursors:
            await self._find_lanes()
        found = 0
        for queues, limit in self._groups():
            count = room - found if limit is None else min(room - found, limit)
            lanes = sorted(
                (lane for lane in self._cursors if lane[0] in queues),
                key=lambda lane: (lane[1], (queues.index(lane[0]) + self._turn) % len(queues)),
            )
            claimed = (
                await self._claim_lanes(lanes, count) if count > 0 and lanes and not self.stopping else 0
            )
            found += claimed
            self._wants_room |= bool(lanes) and claimed >= count
        self._turn += 1
        if time.monotonic() >= self._next_lanes:
            await self._find_lanes()
        return found

    def _groups(self) -> list[tuple[list[str], int | None]]:
        """Queues that share the worker's slots are claimed together; one with slots of its own, alone."""
        shared = [queue for queue, limit in self._settings.queues.items() if limit is None]
        groups: list[tuple[list[str], int | None]] = [(shared, None)] if shared else []
        groups += [
            ([q], self._in_flight.queue_room(q)) for q, n in self._settings.queues.items() if n is not None
        ]
        return groups

    async def _find_lanes(self) -> None:
        begun = time.monotonic()
        if begun < self._doubtful_until and not self.stopping:
            known = list(self._in_flight.attempts)
            self._take(self.worker_id, await self._link.run(statements.held(self.worker_id, known)))
        lanes = await self._link.run(statements.lanes(list(self._settings.queues)))
        for lane in lanes:
            self._cursors.setdefault((lane.queue, lane.priority), 0.0)
        self._due_in = min((lane.due_in for lane in lanes), default=3600.0)
        self._next_lanes = time.monotonic() + max(1.0, 20 * (time.monotonic() - begun))

    async def _claim_lanes(self, lanes: list[tuple[str, int]], count: int) -> int:
        begun = time.monotonic()
        sweep = begun >= self._next_sweep
        since = [0.0 if sweep else self._cursors[lane] for lane in lanes]
        worker_id = self.worker_id
        try:
            rows = await self._link.once(statements.claim(worker_id, self._tasks, lanes, since, count))
        except TROUBLE:
            # It may have been committed, or may yet be: those jobs are ours, and nobody rescues them while we live.
            self._doubtful_until = time.monotonic() + DOUBT
            self._next_lanes = 0.0
            await self._link.wait_until_back()
            return 0
        took = time.monotonic() - begun
        log.debug(
            "claimed %d of %d in %.2f ms%s", len(rows), count, took * 1000, ", a sweep" if sweep else ""
        )
        if sweep:
            cheap = took < CHEAP_SWEEP + CHEAP_ROW * len(rows)
            self._next_sweep = 0.0 if cheap else time.monotonic() + max(1.0, 20 * took)
        if not rows:
            return 0
        attempts = self._take(worker_id, rows)
        for attempt in attempts:
            lane = (attempt.queue, attempt.priority)
            self._cursors[lane] = max(self._cursors[lane], attempt.run_at - MARGIN)
        return len(attempts)

    def _take(self, worker_id: int, rows: Sequence[Any]) -> list[Attempt]:
        attempts = [Attempt(worker_id, row) for row in rows]
        attempts.sort(key=lambda attempt: (attempt.priority, attempt.run_at, attempt.id))
        self._in_flight.add(attempts)
        self._hand_over(attempts)
        return attempts

    # ---------------------------------------------------------------- waiting

    def _note_work(self, *, full: bool) -> None:
        now = self._last_work = time.monotonic()
        self._pause = QUICK
        self._hits = [hit for hit in self._hits[-BUSY_HITS:] if now - hit < 1.0] + [now]
        if not self._busy_since and ((full and len(self._hits) > FULL_HITS) or len(self._hits) > BUSY_HITS):
            self._busy_since = now

    async def _wait(self, found: bool) -> None:
        """Until a wake-up, or until it is time to look again."""
        if self._busy_since:
            if time.monotonic() - self._last_work < BUSY_PATIENCE:
                await self._sleep(self._pause)
                self._pause = min(self._pause * SLOWER, 0.05)
            else:  # from now on enqueuers wake us; the next claim finds what came from those who had read the flag before
                await self._clear_busy()
        elif not found or await self._sleep(self._settings.poll) is False:
            await self._idle()

    async def _idle(self) -> None:
        """Nothing is due in the lanes we know: until one is, at one cheap query a poll."""
        while not self.stopping:
            await self._find_lanes()
            if self._settings.drain and not len(self._in_flight) and await self._is_drained():
                self.drained.set()
            if self._due_in <= 0:  # not claimable all the same: locked, paused, or of a task we do not know
                await self._sleep(self._pause)
                self._pause = min(self._pause * SLOWER, self._settings.poll)
                return
            if await self._sleep(min(self._settings.poll, self._due_in)):
                return

    async def _is_drained(self) -> bool:
        due, _running = await self._link.run(
            statements.count_unclaimed(list(self._settings.queues), self._tasks)
        )
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

    async def _mark_busy(self) -> None:
        now = time.monotonic()
        if self._busy_since and self._settings.listen and now - self._marked_at > BUSY_MARK / 2:
            self._marked_at = now
            await self._link.run(statements.mark_busy(list(self._settings.queues), BUSY_MARK))

    async def _clear_busy(self) -> None:
        if self._busy_since:
            self._busy_since = self._marked_at = 0.0
            self._hits.clear()
            self._pause = QUICK
            if self._settings.listen:
                await self._link.run(statements.mark_busy(list(self._settings.queues), 0.0))
