"""Finds out whether a handler's COMMIT was made, if the answer to the COMMIT did not arrive. Asks the database on another connection.

The transaction in doubt deleted or locked the job's row before its COMMIT was sent. So a statement that locks this row waits until the
server has ended that transaction. If the row still exists after this wait, the COMMIT was not made. Otherwise a second statement checks
whether the job is completed under this lease. One statement alone is not enough: it would read the snapshot from its beginning, in which
the job still ran.
"""

from __future__ import annotations

from enum import Enum

from psycopg import Connection

from pgqueue.database import in_doubt, statements
from pgqueue.database.run import run
from pgqueue.worker.attempt import Attempt


class Fate(Enum):
    """What became of a COMMIT whose answer did not arrive."""

    MADE = "the COMMIT was made, and the job is completed"
    NOT_MADE = "the COMMIT was not made, and the job is still this attempt's"
    LOST = "the COMMIT was not made, and the lease of the job is lost"
    UNKNOWN = "the database gave no answer for PATIENCE seconds"


def ask(dsn: str, attempt: Attempt) -> Fate:
    """Returns what became of the COMMIT.

    Waits for an answer of the database, but at most ``PATIENCE`` seconds (see database/in_doubt.py).
    """

    def question(connection: Connection) -> Fate:
        if run(connection, statements.lock_running_job(attempt.worker_id, attempt.id, attempt.lease_id)):
            return Fate.NOT_MADE
        committed = run(connection, statements.find_committed([(attempt.id, attempt.lease_id)]))
        return Fate.MADE if committed else Fate.LOST

    return in_doubt.ask(dsn, question) or Fate.UNKNOWN
