"""What only some claimed jobs have beside the rest. Pure."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Extra:
    """What only some jobs have: when (by ``time.monotonic``) they expire and must have ended, and what they said of their progress."""

    expires: float | None
    deadline: float | None
    progress: str | None

    @classmethod
    def of(cls, text: str) -> Extra:
        """From the seconds that are left, as ``claim.sql`` counts them."""
        left, now = json.loads(text), time.monotonic()
        expires, deadline = (
            None if left[name] is None else now + left[name] for name in ("expires", "deadline")
        )
        return cls(expires, deadline, left["progress"])

    def text(self) -> str:
        now = time.monotonic()
        left = {
            name: None if moment is None else moment - now
            for name, moment in (("expires", self.expires), ("deadline", self.deadline))
        }
        return json.dumps({**left, "progress": self.progress})

    def progressed(self) -> Any:
        """What Python cannot decode, though jsonb can hold it, stays text."""
        try:
            return None if self.progress is None else json.loads(self.progress)
        except (ValueError, RecursionError):
            return self.progress
