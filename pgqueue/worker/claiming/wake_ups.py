"""Lets a claimer sleep until a wake-up comes or a time has passed."""

from __future__ import annotations

import asyncio
import random

from pgqueue.runtime.clock import monotonic


class WakeUps:
    """``tell_of_a_job``: whether a job was enqueued since the claimer last set this to False. If ``stopping``, no sleep begins."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.tell_of_a_job = False
        self.stopping = False
        self._turns, self._asleep_until = 0, 0.0

    def look_again(self) -> None:
        """Ends the sleep."""
        self._event.set()

    def note_job(self) -> None:
        """Called if a job was enqueued. Ends the sleep."""
        self.tell_of_a_job = True
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
