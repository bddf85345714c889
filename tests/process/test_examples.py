"""The example programs of the documentation run as their readers run them: as processes, on a real database, with a real worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from tests import command_line

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
SAID = [
    "order 1: committed with its job",
    "order 2: rolled back with its job",
    "order 4: rolled back to the savepoint, order 3 stays",
    "a second receipt for order 3: job 2 is there already",
    "200 jobs in a few round trips",
]


@pytest.mark.parametrize("name", ["asyncpg_shop", "sqlalchemy_shop"])
def test_an_order_and_its_job_are_one_transaction(name: str, dsn: str, db: Connection[Any]) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        env={**os.environ, "PGQUEUE_DSN": dsn, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert [*said[:3], *said[4:]] == [*SAID[:3], *SAID[4:]]
    assert "is there already" in said[3]
    assert db.execute("select id from orders where id < 100 order by id").fetchall() == [(1,), (3,)]
    of_orders = "select (args ->> 'order_id')::int from pgqueue.jobs where (args ->> 'order_id')::int < 100 order by 1"
    assert db.execute(of_orders).fetchall() == [(1,), (3,)]
    worked = command_line.pgq("work", "-A", f"{name}:app", "--drain", cwd=EXAMPLES, dsn=dsn)
    assert worked.returncode == 0, worked.stderr
    left = db.execute("select count(*) from orders where not receipt_sent").fetchone()
    states = db.execute("select state, count(*) from pgqueue.jobs group by state").fetchall()
    assert (left, states) == ((0,), [("completed", 202)])
