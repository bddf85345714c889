"""The shops on FastAPI and Flask run as real servers beside a real worker: commit, rollback, savepoint, duplicates, many jobs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from psycopg import Connection

from tests.waiting import wait_until

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
ADA, BOB = {"X-User": "ada"}, {"X-User": "bob"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


@contextmanager
def served(name: str, dsn: str) -> Iterator[httpx.Client]:
    """Runs the server of an example, and its worker: the one inside FastAPI's process, and a process of its own for Flask."""
    port, folder = free_port(), EXAMPLES / name
    env = {
        **os.environ,
        "PGQUEUE_DSN": dsn,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), *sys.path])),
        "WITH_WORKER": "yes",
    }
    subprocess.run([sys.executable, "-m", "shop"], env=env, cwd=folder, check=True)
    words = {
        "fastapi_shop": [["uvicorn", "shop:app", "--port", str(port), "--log-level", "warning"]],
        "flask_shop": [
            ["flask", "--app", "shop", "run", "--port", str(port)],
            ["flask", "--app", "shop", "pgq", "work"],
        ],
    }[name]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", *one], env=env, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for one in words
    ]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:

            def answers() -> bool:
                try:
                    return client.get("/jobs/x").status_code == 404
                except httpx.TransportError:
                    return False

            wait_until(answers)
            yield client
    finally:
        for one in running:
            one.terminate()
        for one in running:
            one.communicate(timeout=30)


@pytest.mark.parametrize("name", ["fastapi_shop", "flask_shop"])
def test_an_order_and_its_job_are_one_transaction_that_ends_before_the_answer(
    name: str, dsn: str, db: Connection[Any]
) -> None:
    with served(name, dsn) as client:
        key = {"Idempotency-Key": '"8e03978e"'}
        placed = client.post("/orders", json={"id": 1, "total": 5}, headers=ADA | key)
        assert (placed.status_code, placed.json()["created"]) == (202, True)
        assert placed.headers["Retry-After"]
        again = client.post("/orders", json={"id": 1, "total": 5}, headers=ADA | key)
        assert (again.status_code, again.json()["created"]) == (202, False)
        assert again.headers["Location"] == placed.headers["Location"]
        other = client.post("/orders", json={"id": 2, "total": 5}, headers=ADA | key)
        assert (other.status_code, other.json()["code"]) == (422, "PGQ-407"), other.text
        bad = client.post("/orders", json={"id": 3, "total": 5}, headers=ADA | {"Idempotency-Key": "x" * 300})
        assert bad.status_code == 400
        # a job is seen only by its user, and what is no id is told like an unknown id
        job = placed.headers["Location"]
        wait_until(lambda: client.get(job, headers=ADA).json()["state"] == "completed")
        assert client.get(job, headers=BOB).status_code == 404
        for odd in ("/jobs/x", "/jobs/0", "/jobs/99999999999999999999", "/jobs/%C2%B2"):
            assert client.get(odd, headers=ADA).status_code == 404
        assert "'" not in client.get("/jobs/x").json()["detail"]
        cart = client.post("/carts", json=[{"id": n, "total": n - 11} for n in (10, 11, 12)], headers=ADA)
        assert cart.json() == {"stored": [12]}
        many = client.post("/imports", json=[{"id": n, "total": 1} for n in range(100, 200)], headers=ADA)
        assert (many.status_code, many.json()) == (201, {"jobs": 100})
        refused = client.post("/imports", json=[{"id": n, "total": -1} for n in range(300, 310)], headers=ADA)
        assert refused.status_code == 422
        expected = [(1,), (12,), *((n,) for n in range(100, 200))]
        assert db.execute("select id from orders order by id").fetchall() == expected
        of_jobs = "select (args ->> 'order_id')::int from pgqueue.jobs where task = 'send_receipt' order by 1"
        assert db.execute(of_jobs).fetchall() == expected
        # a commit that fails is no 202
        db.execute("alter table orders add constraint cheap check (total < 1000) not valid")
        dear = client.post("/orders", json={"id": 500, "total": 5000}, headers=ADA)
        assert dear.status_code == 500
        wait_until(lambda: db.execute("select count(*) from orders where receipt is null").fetchone() == (0,))
        unfinished = "select count(*) from pgqueue.jobs where state not in ('completed', 'cancelled')"
        wait_until(lambda: db.execute(unfinished).fetchone() == (0,))
        assert db.execute(of_jobs).fetchall() == expected
