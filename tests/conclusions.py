"""What an attempt came to, as tests compare it."""

from __future__ import annotations

from pgqueue.model.outcome import Outcome
from pgqueue.worker.ending import Conclusion


def reason_of(conclusion: Conclusion) -> str:
    """The reason of the outcome. If there is no outcome, why: LEASE_LOST or COMMITTED."""
    return conclusion.reason if isinstance(conclusion, Outcome) else conclusion.name
