"""What people see while the database is away: an answer soon, no matter how the server fails, and the pages again when it is back."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from typing import Any

import httpx2
import psycopg
import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.telemetry.events import subscribed
from pgqueue.telemetry.events.database import PollingBegun
from pgqueue.ui.access.who import Role
from pgqueue.ui.acting import background
from tests.factories import ENDS_ITS_SESSION, add_jobs, enqueue
from tests.pooler import transaction_pooler
from tests.proxy import Proxy, proxy_to
from tests.waiting import wait_until
from tests.web.conftest import Server

Serve = Callable[..., Server]
Db = Connection[Any]
SOON = 3.5  # seconds; a page about an outage comes within 3 s, and this machine can be busy


@pytest.fixture
def proxy(dsn: str) -> Iterator[Proxy]:
    with proxy_to(dsn) as proxy:
        yield proxy


def freeze(proxy: Proxy) -> None:
    """No connection gets an answer any more, not even a new one."""
    proxy.silent, proxy.new_too = "", True


def failure(client: httpx2.Client, path: str) -> httpx2.Response:
    """Asks until the answer is a failure, because a page is kept for a moment. Every answer comes soon."""

    def ask() -> httpx2.Response | None:
        begun = time.monotonic()
        answer = client.get(path)
        assert time.monotonic() - begun < SOON
        return None if answer.status_code == 200 else answer

    return wait_until(ask)


@pytest.mark.parametrize("path", ["/queues", "/api/v1/queues"])
@pytest.mark.parametrize("fails", ["refuses", "is silent", "was silent from the beginning"])
def test_an_outage_is_said_soon_and_then_at_once_to_everybody(
    fails: str, path: str, proxy: Proxy, serve: Serve
):
    site = serve(dsn=proxy.dsn)
    client = site.as_(Role.viewer, Accept="application/json" if path.startswith("/api") else "text/html")
    if fails == "was silent from the beginning":
        freeze(proxy)
    else:
        assert client.get(path).status_code == 200
        freeze(proxy) if fails == "is silent" else proxy.close()
    answer = failure(client, path)
    assert answer.status_code == 503, answer.text
    if path.startswith("/api"):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"]
    else:
        assert 'http-equiv="refresh"' in answer.text
        assert answer.headers["retry-after"]
        assert "PGQ-103" in answer.text
    with ThreadPoolExecutor(20) as many:
        begun = time.monotonic()
        answers = list(many.map(lambda _: client.get(path), range(40)))
    assert {answer.status_code for answer in answers} == {503}
    assert time.monotonic() - begun < SOON


@pytest.mark.parametrize("path", ["/queues", "/api/v1/queues"])
def test_a_page_is_there_again_soon_after_a_silent_server_is_back(path: str, proxy: Proxy, serve: Serve):
    site = serve(dsn=proxy.dsn)
    client = site.as_(Role.viewer)
    assert client.get(path).status_code == 200
    freeze(proxy)
    assert failure(client, path).status_code == 503
    proxy.silent = None
    wait_until(lambda: client.get(path).status_code == 200, 10)


def test_behind_a_pooler_a_page_changes_by_itself_and_leaves_nothing_in_the_sessions(
    dsn: str, db: Db, serve: Serve
):
    said: list[Any] = []
    with transaction_pooler(dsn) as pooled, subscribed(PollingBegun, said.append):
        site = serve(dsn=pooled, tokens=False)
        for queue in ("mail", "news"):  # twice, because the second tab shares the connection of the first
            [address] = re.findall(r'data-live="([^"]+)"', site.as_().get("/queues").text)
            with site.as_().stream("GET", unescape(address)) as answer:
                lines = answer.iter_lines()
                enqueue(db, queue=queue)
                assert "event: changed" in lines
        with psycopg.connect(pooled) as session:
            # Each transaction begins with a value of transaction_read_only of its own.
            left = session.execute(
                "select name from pg_settings where source = 'session' and name <> 'transaction_read_only'"
                " union all select name from pg_prepared_statements union all select pg_listening_channels()"
            ).fetchall()
        assert left == []
    assert said == [PollingBegun("live pages")]


def test_an_action_that_loses_its_connection_says_what_was_done_and_its_row_ends_at_once(
    db: Db, serve: Serve
):
    site = serve(actions=True)
    add_jobs(db, count=1200)
    db.execute(ENDS_ITS_SESSION)
    answer = site.act("cancel", q="", all="yes", confirmed="yes")
    assert answer.status_code == 503, answer.text
    assert "500 jobs had been changed before" in answer.text
    assert "pgq audit show" in answer.text
    wait_until(lambda: "it stopped before its end" in site.as_(Role.admin).get("/audit").text)
    [row] = [one for one in run(db, statements.list_audit()) if one.slices]
    assert (row.ended, row.changed) == (True, 500)
    assert "terminating connection" in str(row.stopped)


def test_an_operation_of_the_api_that_loses_its_connection_ends_with_the_reason(db: Db, serve: Serve):
    client = serve(actions=True).as_(Role.admin, Accept="application/json")
    add_jobs(db, count=1200)
    db.execute(ENDS_ITS_SESSION)
    begun = client.post("/api/v1/operations", json={"action": "cancel", "jobs": {"queue": "default"}})
    path = f"/api/v1/operations/{begun.json()['id']}" if begun.status_code == 202 else "/api/v1/operations/1"
    shown = wait_until(lambda: (found := client.get(path).json())["ended"] and found)
    assert shown["changed"] == 500
    assert "terminating connection" in shown["stopped"]


def test_the_page_and_the_api_of_one_server_share_the_limit_of_actions_at_the_same_time(
    dsn: str, db: Db, serve: Serve, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(background, "MOST_AT_ONCE", 1)
    site = serve(actions=True)
    client = site.as_(Role.admin, Accept="application/json")
    job, *_ = add_jobs(db, count=2)
    wanted = {"action": "cancel", "jobs": {"queue": "default"}}
    with ThreadPoolExecutor(1) as pool, psycopg.connect(dsn) as other:
        other.execute("lock pgqueue.audit in access exclusive mode")
        begun = pool.submit(client.post, "/api/v1/operations", json=wanted)
        wait_until(lambda: db.execute("select from pg_locks where not granted").fetchone() is not None)
        for answer in (site.act("run_now", id=job), client.post("/api/v1/operations", json=wanted)):
            assert (answer.status_code, "PGQ-711" in answer.text) == (503, True)
            assert answer.headers["retry-after"]
            assert 'http-equiv="refresh"' not in answer.text, (
                "a browser would load an address that only takes forms"
            )
        other.rollback()
        assert begun.result(20).status_code == 202


def test_an_undo_that_does_nothing_says_why(db: Db, serve: Serve):
    site = serve(actions=True)
    job = enqueue(db)
    [audit] = re.findall(r"done=(\d+)", site.act("run_now", id=job).headers["location"])
    db.execute("update pgqueue.jobs_live set run_at = now() + interval '1 day' where id = %s", [job])
    answer = site.act("undo", audit=audit)
    assert (answer.status_code, "1 (it has moved on)" in answer.text) == (409, True), answer.text
    assert "nothing undone: 1 (it has moved on)" in site.as_(Role.admin).get("/audit").text
