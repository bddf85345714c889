"""Wakes jobs whose wait for a signal is over because of its time-out, also in queues that no worker serves."""

from __future__ import annotations

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.sifting import sift_jobs
from pgqueue.maintenance.searches import search_forever
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.maintenance import WaitsTimedOut

WAITS_PAUSE = 1.0  # seconds between two searches; so a job goes on at most 1.5 s after its time-out
WAITS_AT_ONCE = 500


async def time_out_waits_forever(link: Link) -> None:
    """Calls ``time_out_waits_once`` again and again until it is cancelled."""
    await search_forever("the search for waits that are over", time_out_waits_once, link, WAITS_PAUSE)


async def time_out_waits_once(link: Link) -> bool:
    """Makes up to WAITS_AT_ONCE jobs pending whose time-out has passed. Returns whether there can be more such jobs."""
    woken = await sift_jobs(
        link.once,
        statements.time_out_waits(WAITS_AT_ONCE),
        statements.choose_timed_out(WAITS_AT_ONCE),
        lambda only: statements.time_out_waits(WAITS_AT_ONCE, only),
    )
    if woken:
        emit(WaitsTimedOut(tuple(woken)))
    return len(woken) >= WAITS_AT_ONCE
