"""Lets a claimer sleep until a wake-up comes or a time has passed."""

from __future__ import annotations

import asyncio
import math
import random

from pgqueue.runtime.clock import monotonic

# Enqueuers send no second wake-up within 10 ms (wake.sql), so the worker claims once more this many seconds after a wake-up. A transaction
# that sent none can also commit later than that, for example while the disk is slow. So the worker looks once more, at the later time.
AFTER_WAKE_UP, LATER = 0.012, 0.05


class WakeUps:
    """If ``stopping``, no sleep begins.

    After a wake-up, one more claim and one more survey become due (AFTER_WAKE_UP, LATER). They stay due if another event, such as the end of
    a job, ends the sleep before.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._claim_at = self._survey_at = math.inf
        self.stopping = False
        self._turns, self._asleep_until = 0, 0.0

    def look_again(self) -> None:
        """Ends the sleep."""
        self._event.set()

    def note_job(self) -> None:
        """Called if a job was enqueued. Ends the sleep."""
        self._claim_at, self._survey_at = monotonic() + AFTER_WAKE_UP, monotonic() + LATER
        self._event.set()

    def stop(self) -> None:
        self.stopping = True
        self._event.set()

    def clear(self) -> None:
        self._event.clear()

    async def sleep(self, seconds: float) -> bool:
        """Sleeps for at most ``seconds``. Returns whether a wake-up ended the sleep."""
        if self.stopping:
            return True
        self.note_turn()
        self._asleep_until = monotonic() + seconds
        try:
            async with asyncio.timeout(seconds * random.uniform(0.9, 1.0)):  # noqa: S311 - jitter, not a secret
                return await self._event.wait()
        except TimeoutError:
            return False
        finally:
            self._asleep_until = 0.0

    @property
    def is_claim_expected(self) -> bool:
        return self._claim_at < math.inf

    async def sleep_until_claim(self) -> None:
        at = self._claim_at
        if not await self.sleep(max(at - monotonic(), 0.0)) and self._claim_at == at:
            self._claim_at = math.inf

    async def sleep_until_survey(self, seconds: float) -> bool:
        """Sleeps for at most ``seconds``, or until the survey after a wake-up is due. Returns whether a wake-up ended the sleep."""
        at = self._survey_at
        left = max(at - monotonic(), 0.0)
        is_woken = await self.sleep(min(seconds, left))
        if left <= seconds and not is_woken and self._survey_at == at:  # a wake-up may come as the sleep ends
            self._survey_at = math.inf
        return is_woken

    def note_turn(self) -> None:
        """Called as often as the claimer takes a step, so that ``mark`` changes."""
        self._turns += 1

    def mark(self) -> int | None:
        """Returns a number that grows as long as the claimer turns. None while it sleeps, and before and after its work."""
        rests = self.stopping or not self._turns or monotonic() < self._asleep_until
        return None if rests else self._turns

    async def sleep_through(self, seconds: float) -> None:
        """Sleeps until the time is over or ``stop`` is called. Wake-ups do not end this sleep, because they can come in quick succession."""
        end = monotonic() + seconds
        while not self.stopping and (left := end - monotonic()) > 0:
            self._event.clear()
            await self.sleep(left)
