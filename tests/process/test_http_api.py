"""The HTTP API in a process of its own: clients that race, a thousand clients that wait, and a server of the database that restarts."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import psycopg
import pytest

from pgqueue.database import migrate, statements
from pgqueue.database.run import run
from pgqueue.dev import embedded
from pgqueue.ui import api
from pgqueue.ui.access.who import Role
from tests.factories import add_jobs, look
from tests.http_servers import Client, Tokens, served, served_apart
from tests.servers import SETTINGS, directory_for_servers
from tests.waiting import until, wait_until
from tests.worker_by_hand import Hand

WAITING = 1000


@pytest.fixture
def tokens():
    return Tokens()


def complete_all(db, ids):
    """Completes these jobs as a worker does: with a NOTIFY for each, because a program waits for them."""
    hand = Hand(db, ["t"])
    done = 0
    while claimed := hand.claim(200):
        items = sorted((attempt.id, attempt.lease_id, True) for attempt in claimed)
        done += len(run(db, statements.complete(hand.id, items)))
    assert done == len(ids)


def transactions(db):
    """Returns how many transactions the database has seen, without those of this connection that asks."""
    return db.execute(
        "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()"
    ).fetchone()[0]


def test_a_retry_and_a_cancel_that_race_leave_one_consistent_job(dsn, db, tokens, tmp_path):
    token = tokens.add("racer", Role.operator)
    with served_apart(dsn, tokens.write(tmp_path / "tokens.toml")) as port:
        for _ in range(10):
            [job_id] = add_jobs(db)
            start = threading.Barrier(4)

            def send(verb, job_id=job_id, start=start):
                with Client(port, token) as client:
                    start.wait()
                    return client.post(f"/jobs/{job_id}/{verb}").status_code

            with ThreadPoolExecutor(4) as pool:
                codes = list(pool.map(send, ["cancel", "retry", "cancel", "retry"]))
            assert set(codes) <= {200, 202, 409}
            assert look(db, job_id) in ("pending", "cancelled")


def test_two_clients_that_send_one_key_to_two_servers_get_one_job(dsn, db, tokens, tmp_path):
    token = tokens.add("racer")
    path = tokens.write(tmp_path / "tokens.toml")
    with served_apart(dsn, path) as one, served_apart(dsn, path) as other:
        for number in range(20):
            start = threading.Barrier(2)

            def send(port, number=number, start=start):
                with Client(port, token) as client:
                    start.wait()
                    return client.post(
                        "/jobs", json={"task": "pay"}, headers={"Idempotency-Key": f"k{number}"}
                    ).json()

            with ThreadPoolExecutor(2) as pool:
                answers = list(pool.map(send, [one, other]))
            assert answers[0]["id"] == answers[1]["id"]
            assert sorted(answer["created"] for answer in answers) == [False, True]


WAITS = """
    create function public.wait() returns trigger language plpgsql as $$
        begin
            if new.changed > 0 and exists (select from pgqueue.audit where changed > 0) then
                perform pg_advisory_xact_lock(1);
            end if;
            return new;
        end $$;
    create trigger waits before insert on pgqueue.audit for each row execute function public.wait()
"""


@pytest.mark.parametrize("with_page", [False, True])
def test_an_operation_that_a_stop_of_the_server_interrupts_ends_with_the_reason(
    dsn, db, tokens, tmp_path, with_page
):
    token, path = tokens.add(), tokens.write(tmp_path / "tokens.toml")
    add_jobs(db, count=1200)
    db.execute(WAITS)
    db.execute("select pg_advisory_lock(1)")
    with served_apart(dsn, path, with_page=with_page) as port, Client(port, token) as client:
        begun = client.post("/operations", json={"action": "cancel", "jobs": {"queue": "default"}})
        wait_until(lambda: db.execute("select from pg_locks where not granted").fetchone() is not None)
    [row] = run(db, statements.list_audit(audit_id=int(begun.json()["id"])))
    assert (row.ended, row.changed, row.stopped) == (True, 500, "it was interrupted")


@pytest.mark.timeout(300)
def test_a_thousand_waiting_clients_cost_one_listening_connection_and_few_queries(dsn, db, tokens, tmp_path):
    token = tokens.add()
    ids = add_jobs(db, count=WAITING)

    async def waits(port):
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=120,
            limits=httpx2.Limits(max_connections=WAITING), trust_env=False,
        ) as client:  # fmt: skip
            before = transactions(db)
            waiting = [
                asyncio.create_task(client.get(f"/jobs/{job_id}", params={"wait": 30})) for job_id in ids
            ]
            await until(lambda: transactions(db) >= before + WAITING)  # each request has read its job once
            while await rate_of(db, 1) > 50:
                pass
            rate = await rate_of(db, 3)
            sessions = dict(db.execute(
                "select application_name, count(*) from pg_stat_activity where datname = current_database()"
                " and application_name like 'pgqueue%' group by 1"
            ).fetchall())  # fmt: skip
            begun = time.monotonic()
            await asyncio.to_thread(complete_all, db, ids)
            states = [answer.json()["state"] for answer in await asyncio.gather(*waiting)]
            return sessions, rate, states, time.monotonic() - begun

    with served_apart(dsn, tokens.write(tmp_path / "tokens.toml")) as port:
        sessions, rate, states, seconds = asyncio.run(waits(port))
    print(f"{sessions}, {rate:.1f} transactions/s, answered in {seconds:.2f} s")
    assert sessions["pgqueue wait"] == 1
    assert sum(sessions.values()) <= 12
    assert rate <= 6  # two statements a second; the others are those of the server itself and of this test
    assert states.count("completed") == WAITING
    assert seconds < 20


async def rate_of(db, seconds):
    before, begun = transactions(db), time.monotonic()
    await until(lambda: time.monotonic() - begun > seconds)
    return (transactions(db) - before) / (time.monotonic() - begun)


@pytest.mark.timeout(300)
def test_a_restart_of_postgres_ends_no_wait_and_other_requests_get_503_until_it_is_back(tokens):
    token = tokens.add()
    with directory_for_servers() as directory:
        server = embedded.start(directory / "server", settings=SETTINGS)
        try:
            migrate.upgrade(server.dsn)
            with psycopg.connect(server.dsn, autocommit=True) as db:
                ids = add_jobs(db, count=20)
            with (
                served(made := api.create(server.dsn, access=tokens.access())) as port,
                ThreadPoolExecutor(21) as pool,
                Client(port, token) as client,
            ):
                waiting = [pool.submit(client.get, f"/jobs/{job_id}", params={"wait": 30}) for job_id in ids]
                wait_until(lambda: made._service.waits == len(ids))
                server.stop()
                down = client.get("/queues")
                assert (down.status_code, down.headers["retry-after"]) == (503, "5")
                server = embedded.start(directory / "server", settings=SETTINGS)
                wait_until(lambda: client.get("/queues").status_code == 200)
                with psycopg.connect(server.dsn, autocommit=True) as db:
                    complete_all(db, ids)
                answers = [answer.result(60) for answer in waiting]
            assert [(answer.status_code, answer.json().get("state", answer.text)) for answer in answers] == [
                (200, "completed")
            ] * 20
        finally:
            server.stop()
