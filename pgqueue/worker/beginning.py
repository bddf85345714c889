"""Runs the statements that must come before a worker's first claim."""

from __future__ import annotations

import threading

from pgqueue.config import WorkerSettings
from pgqueue.database import statements
from pgqueue.database.driver_errors import explained
from pgqueue.database.link import retry_connecting
from pgqueue.database.migrate import check_server
from pgqueue.database.run import check_sessions, connect, run
from pgqueue.database.silence import within
from pgqueue.maintenance.declarations import Declarations
from pgqueue.maintenance.partitions import DAYS_AHEAD
from pgqueue.worker.lease import Lease

BEGINNING = 60.0  # the time limit, in seconds, for each statement before the worker has its first lease


def begin(
    dsn: str, declarations: Declarations, lease: Lease, settings: WorkerSettings, asked: threading.Event
) -> None:
    """Checks the database, stores what the code declares, and takes the first lease.

    If the database cannot be reached, tries again for the seconds of --wait-for-db, or until a stop is ``asked``. Raises a DatabaseError with the reason.
    """
    for attempt in retry_connecting(settings.wait_for_db, asked):
        with attempt, explained(dsn or " "):
            check_sessions(dsn)
            with connect(dsn) as connection, within(connection, BEGINNING):
                check_server(connection)
                run(connection, statements.add_partitions(DAYS_AHEAD))
                declarations.begin(connection)
                lease.take(connection)
