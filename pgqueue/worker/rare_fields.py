"""The rare fields of claimed jobs: fields that only some jobs have, such as a deadline or tags. This module does no I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from pgqueue.runtime.clock import monotonic
from pgqueue.sql import JsonObject


@dataclass(slots=True)
class RareFields:
    """The rare fields of one job. ``expires`` and ``deadline`` are times of the clock ``time.monotonic``.

    ``deadline_at`` is the deadline in epoch seconds, by the database's clock. ``progress`` is the last progress of the former attempts.
    ``progress`` and ``meta`` are JSON text. The enqueuer chose ``unique_key``, ``tags`` and ``meta``. ``stored_by_pgqueue``: whether pgqueue
    itself has stored the job. ``workflow_id``: the workflow of which the job is a node. ``version``: the version of the job's checkpoints.
    """

    expires: float | None
    deadline: float | None
    progress: str | None
    deadline_at: float | None = None
    unique_key: str | None = None
    tags: tuple[str, ...] = ()
    meta: str = "{}"
    stored_by_pgqueue: bool = False
    workflow_id: int | None = None
    version: int | None = None

    @classmethod
    def of(cls, text: str) -> RareFields:
        """Makes the fields from the text that ``claim.sql`` returns. In this text, expiry and deadline are given as seconds from now."""
        said, now = json.loads(text), monotonic()
        expires, deadline = (
            None if said[name] is None else now + said[name] for name in ("expires", "deadline")
        )
        return cls(
            expires, deadline, said["progress"], said["deadline_at"], said["unique_key"], tuple(said["tags"]),
            said["meta"], bool(said["stored_by_pgqueue"]), said["workflow_id"], said["version"],
        )  # fmt: skip

    def text(self) -> str:
        now = monotonic()
        left = {
            name: None if moment is None else moment - now
            for name, moment in (("expires", self.expires), ("deadline", self.deadline))
        }
        return json.dumps({
            **left, "progress": self.progress, "deadline_at": self.deadline_at, "unique_key": self.unique_key,
            "tags": self.tags, "meta": self.meta, "stored_by_pgqueue": self.stored_by_pgqueue,
            "workflow_id": self.workflow_id, "version": self.version,
        })  # fmt: skip

    def progressed(self) -> object:
        return None if self.progress is None else _decoded(self.progress)

    def facts(self) -> JsonObject:
        """Returns the fields that a ``Job`` object also has, under the names that they have in ``Job``."""
        moment = None if self.deadline_at is None else datetime.fromtimestamp(self.deadline_at, UTC)
        return {
            "deadline_at": moment, "unique_key": self.unique_key,
            "tags": self.tags, "meta": _decoded(self.meta), "progressed": self.progressed(),
            "version": self.version,
        }  # fmt: skip


def _decoded(text: str) -> object:
    """Decodes a JSON text. Postgres accepts some JSON texts that Python cannot decode. For such a text, returns the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
