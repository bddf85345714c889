"""Finds out what became of a handler's COMMIT whose answer did not arrive. It asks the database, on another connection, and guesses nothing.

The transaction in doubt has deleted the job's row before its COMMIT was sent. So a statement that locks this row waits until the server
has ended that transaction. If the row is there then, the COMMIT was not made. If not, a second statement, with a new snapshot, looks
whether the job is completed under this lease. One statement would not do: it would look with the snapshot of its beginning, in which the
job still ran.
"""

from __future__ import annotations

import time
from enum import Enum

from pgqueue.database import statements
from pgqueue.database.outage import CONFLICTS, is_lost
from pgqueue.database.run import connect, run
from pgqueue.errors import PgQueueError
from pgqueue.runtime.clock import monotonic
from pgqueue.worker.attempt import Attempt

PATIENCE = 30.0  # seconds for which it asks in all, for instance while the server restarts
TRY = 5.0  # seconds for one connection, and for the wait for the lock
PAUSE = 0.2  # seconds between two tries


class Answer(Enum):
    MADE = "the COMMIT was made, and the job is completed"
    NOT_MADE = "the COMMIT was not made, and the job is still this attempt's"
    LOST = "the COMMIT was not made, and the lease of the job is lost"
    UNKNOWN = "the database gave no answer in time"


def ask(dsn: str, attempt: Attempt) -> Answer:
    """Asks until the database answers, for at most PATIENCE seconds."""
    until = monotonic() + PATIENCE
    while monotonic() < until:
        try:
            return _ask(dsn, attempt)
        except Exception as error:
            if not (is_lost(error) or isinstance(error, CONFLICTS | PgQueueError)):
                raise
            time.sleep(PAUSE)
    return Answer.UNKNOWN


def _ask(dsn: str, attempt: Attempt) -> Answer:
    with connect(dsn, name="pgqueue in doubt", patience=TRY, lock=TRY) as connection:
        if run(connection, statements.lock_running_job(attempt.worker_id, attempt.id, attempt.lease_id)):
            return Answer.NOT_MADE
        committed = run(connection, statements.find_committed([(attempt.id, attempt.lease_id)]))
        return Answer.MADE if committed else Answer.LOST
