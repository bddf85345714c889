"""A Postgres server for all of a mutation run, with a database that others are copied from. Ends with its stdin."""

from __future__ import annotations

import sys

from pgqueue.database import migrate
from tests.servers import create_database, test_server

TEMPLATE = "pgqueue_mutants"

with test_server() as dsn:
    migrate.upgrade(create_database(dsn, TEMPLATE))
    print(dsn, flush=True)
    sys.stdin.read()
