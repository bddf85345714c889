"""What a process says of its health: whether it lives, whether it is ready, and whether it has started."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from pgqueue.database.migrate import check_server
from pgqueue.database.run import connect
from pgqueue.database.silence import within
from pgqueue.errors import PgQueueError
from pgqueue.worker.health.shared import SharedAnswer

# A probe waits at most this many seconds for the database. Kubernetes gives up after one second if a probe sets no other time.
ANSWER_WITHIN = 0.8
PATIENCE = (
    3.0  # a look at the database ends after this many seconds, even if no probe waits for it any longer
)


class Subject(NamedTuple):
    """The process whose health is asked about. Any thread can call these functions, and none of them waits.

    ``failing`` returns a sentence for each part that shows no sign of life. ``started``: whether the process has begun to work. ``at_work``:
    whether it has a lease now. ``draining``: whether it takes no more jobs. ``doing``: one line about its work, for people.
    """

    failing: Callable[[], Sequence[str]]
    started: Callable[[], bool]
    at_work: Callable[[], bool]
    draining: Callable[[], bool]
    doing: Callable[[], str]


class Finding(NamedTuple):
    """``failing``: what is wrong, in words. Empty: all is well. No word comes from a job, an address or an error of the server."""

    failing: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        return not self.failing

    def as_json(self) -> bytes:
        return json.dumps({"ok": self.is_good, "failing": self.failing}).encode() + b"\n"


class Health:
    """All methods are called on the loop of the health thread."""

    def __init__(self, subject: Subject, dsn: str) -> None:
        self.subject = subject
        self._database = SharedAnswer(partial(ask_database, dsn))

    def live(self) -> Finding:
        """Never asks the database, because a restart of this process does not help the database."""
        return Finding(tuple(self.subject.failing()))

    def startup(self) -> Finding:
        return Finding(() if self.subject.started() else ("the process has not begun to claim jobs",))

    async def ready(self) -> Finding:
        if not self.subject.started():
            return self.startup()
        failing = list(self.live().failing)
        if self.subject.draining():
            failing.append("the process drains")
        elif not self.subject.at_work():
            failing.append("the process takes no jobs now")
        trouble = await self._database.get(ANSWER_WITHIN)
        if trouble is None:
            trouble = f"the database has not answered within {ANSWER_WITHIN:g} s"
        if trouble:
            failing.append(trouble)
        return Finding(tuple(failing))


def ask_database(dsn: str) -> str:
    """Returns why a worker cannot work with this database: '' if it can, otherwise a sentence without any value of the database."""
    try:
        with (
            connect(dsn, name="pgqueue health", patience=PATIENCE) as connection,
            within(connection, PATIENCE),
        ):
            check_server(connection)
    except PgQueueError as error:
        return f"the database does not serve this worker: {error.code}"
    except Exception as error:  # noqa: BLE001 - it is an answer, too
        return f"the database does not serve this worker: {type(error).__name__}"
    return ""
