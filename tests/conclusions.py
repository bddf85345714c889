"""The conclusion of an attempt as a string, so that tests can compare it."""

from __future__ import annotations

from pgqueue.model.outcome import Outcome
from pgqueue.worker.ending import Conclusion


def reason_of(conclusion: Conclusion) -> str:
    """Returns the reason, if the conclusion is an outcome. Otherwise returns the conclusion's name: LEASE_LOST or COMMITTED."""
    return conclusion.reason if isinstance(conclusion, Outcome) else conclusion.name
