"""A Postgres server for a whole run of mutants, with a template database that tests copy. Ends when its stdin is closed."""

from __future__ import annotations

import sys

from pgqueue.database import migrate
from tests.servers import create_database, test_server

TEMPLATE = "pgqueue_mutants"

with test_server() as dsn:
    migrate.upgrade(create_database(dsn, TEMPLATE))
    print(dsn, flush=True)
    sys.stdin.read()
