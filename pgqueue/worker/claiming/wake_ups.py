"""The sleep of a claimer, which a wake-up ends."""

from __future__ import annotations

import asyncio
import random

from pgqueue.runtime.clock import monotonic


class WakeUps:
    """``tell_of_a_job``: whether a job was enqueued since this was last reset. ``stopping``: no further sleep begins."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.tell_of_a_job = False
        self.stopping = False

    def look_again(self) -> None:
        """Ends the sleep."""
        self._event.set()

    def note_job(self) -> None:
        """A job was enqueued."""
        self.tell_of_a_job = True
        self._event.set()

    def stop(self) -> None:
        self.stopping = True
        self._event.set()

    def clear(self) -> None:
        self._event.clear()

    async def sleep(self, seconds: float) -> bool:
        """Returns whether a wake-up ended the sleep."""
        if self.stopping:
            return True
        try:
            async with asyncio.timeout(seconds * random.uniform(0.9, 1.0)):  # noqa: S311 - jitter, not a secret
                return await self._event.wait()
        except TimeoutError:
            return False

    async def sleep_through(self, seconds: float) -> None:
        """Sleeps until the time is over, or until ``stop``. No wake-up ends this sleep, because wake-ups may come again and again."""
        end = monotonic() + seconds
        while not self.stopping and (left := end - monotonic()) > 0:
            self._event.clear()
            await self.sleep(left)
