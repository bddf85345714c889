"""Finds the jobs of lost claims: claims that the server committed, but whose answer did not arrive.

The jobs of such a claim belong to this worker, so no other worker rescues them as long as this worker lives. Therefore the worker itself
looks for them. The server can also commit such a claim some time after the connection broke. ``LostClaims``, which does no I/O, decides
when to look, and ``jobs_of_lost_claims`` asks the database.
"""

from __future__ import annotations

from collections.abc import Collection

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.sifting import sift_jobs
from pgqueue.sql import Row

# If a claim got no answer, the server can still commit it up to this many seconds after the claim's time limit.
DOUBT = 5.0
LOOK_FOR_LOST = 60.0  # every this many seconds, the worker looks for claims that were committed even later


class LostClaims:
    """``longest_claim``: the time limit of a claim, in seconds.

    ``next_look``: when the worker looks for jobs of lost claims even if no answer was lost.
    """

    def __init__(self, longest_claim: float, now: float) -> None:
        self._longest_claim = longest_claim
        self._in_doubt_until = 0.0
        self.next_look = now + LOOK_FOR_LOST

    def note_lost_answer(self, now: float) -> None:
        """Called if a claim got no answer. As long as the server can still commit that claim, each survey looks for its jobs."""
        self._in_doubt_until = now + self._longest_claim + DOUBT

    def is_overdue(self, now: float) -> bool:
        return now >= self.next_look

    def is_due(self, now: float) -> bool:
        return now < self._in_doubt_until or self.is_overdue(now)

    def note_look(self, now: float) -> None:
        self.next_look = now + LOOK_FOR_LOST


async def jobs_of_lost_claims(link: Link, worker_id: int, known: Collection[int]) -> list[Row]:
    """Returns the running jobs of this worker whose ids are not in ``known``, as rows like those of a claim."""
    known = list(known)
    ids = statements.choose_lost_claims(worker_id, known)
    others = await link.run(ids)
    if not others:
        return []
    return await sift_jobs(
        link.run,
        statements.find_lost_claims(worker_id, known),
        ids,
        lambda part: statements.find_lost_claims(worker_id, [*known, *(set(others) - set(part))]),
        worker_id,
    )
