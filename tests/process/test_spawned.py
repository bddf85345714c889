"""The tasks of a module that runs as the main program, in a process that multiprocessing has spawned.

In such a process Python calls the module ``__mp_main__``. Jobs of the module's tasks must still be stored under the module's own name.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from psycopg import Connection

RUN = """
import multiprocessing
from pgqueue import App
app = App()

@app.task
def f(n: int) -> int:
    return n

def produce(n):
    f.enqueue(n=n)
    app.close()
    return f, f.using(priority=1)

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        [(task, bound)] = pool.map(produce, [1])
        assert task is f and bound.spec is f.spec
        assert pool.map(f, [2]) == [2]
"""


def test_a_spawned_process_stores_jobs_under_the_modules_name(tmp_path: Path, dsn: str, db: Connection[Any]):
    (tmp_path / "spawned_run.py").write_text(RUN)
    subprocess.run(
        [sys.executable, "-m", "spawned_run"], cwd=tmp_path, check=True, env={**os.environ, "PGQUEUE_DSN": dsn}, timeout=60,
    )  # fmt: skip
    assert db.execute("select task, args from pgqueue.jobs").fetchall() == [("spawned_run.f", {"n": 1})]
