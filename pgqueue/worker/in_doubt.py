"""Finds out whether a handler's COMMIT was made, if the answer to the COMMIT did not arrive. Asks the database on another connection.

The transaction in doubt deleted or locked the job's row before its COMMIT was sent. So a statement that locks this row waits until the
server has ended that transaction. If the row still exists after this wait, the COMMIT was not made. Otherwise a second statement checks
whether the job is completed under this lease. One statement alone is not enough: it would read the snapshot from its beginning, in which
the job still ran.
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

PATIENCE = 30.0  # ``ask`` gives up after this many seconds, for example if the server does not restart
TRY = 5.0  # in each try, opening the connection can take this many seconds, and so can the wait for the lock
PAUSE = 0.2  # seconds between two tries


class Answer(Enum):
    MADE = "the COMMIT was made, and the job is completed"
    NOT_MADE = "the COMMIT was not made, and the job is still this attempt's"
    LOST = "the COMMIT was not made, and the lease of the job is lost"
    UNKNOWN = "the database gave no answer for PATIENCE seconds"


def ask(dsn: str, attempt: Attempt) -> Answer:
    """Asks again and again until the database answers, but for at most PATIENCE seconds. Returns the answer, or UNKNOWN."""
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
