"""Finds out what became of a COMMIT whose answer did not arrive. Asks on other connections until the database answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from psycopg import Connection

from pgqueue.database.outage import CONFLICTS, is_lost
from pgqueue.database.run import connect
from pgqueue.errors import PgQueueError
from pgqueue.runtime.clock import monotonic

A = TypeVar("A")

PATIENCE = (
    30.0  # the question is repeated for at most this many seconds, for example while the server restarts
)
TRY = 5.0  # in each try, opening the connection can take this many seconds, and so can a wait for a lock
PAUSE = 0.2  # seconds between two tries


def ask(dsn: str, question: Callable[[Connection], A | None]) -> A | None:
    """Returns the answer to ``question``. None: within PATIENCE seconds no try gave an answer, because it failed or returned None."""
    until = monotonic() + PATIENCE
    while monotonic() < until:
        try:
            with connect(dsn, name="pgqueue in doubt", patience=TRY, lock=TRY) as connection:
                if (answer := question(connection)) is not None:
                    return answer
        except Exception as error:
            if not (is_lost(error) or isinstance(error, CONFLICTS | PgQueueError)):
                raise
        time.sleep(PAUSE)
    return None
