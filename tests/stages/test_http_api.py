"""The routes of the HTTP API, served by uvicorn on a real database: what each answers, to whom, and what it changes."""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pgqueue import App
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import PackageMissingError
from pgqueue.model.outcome import Outcome
from pgqueue.model.progress import Progress
from pgqueue.ui import api
from pgqueue.ui.access.access import Access
from pgqueue.ui.access.who import Role
from pgqueue.ui.api import jobs, problems
from pgqueue.ui.api import service as limits
from tests.factories import add_jobs, look
from tests.http_servers import Client, Tokens, served
from tests.waiting import wait_until
from tests.worker_by_hand import Hand

LARGE = 2**70


@pytest.fixture(autouse=True)
def _forget_reports(monkeypatch):
    monkeypatch.setattr(problems, "_reported", {})


@pytest.fixture
def tokens():
    return Tokens()


@pytest.fixture
def port(dsn, tokens):
    with served(api.create(dsn, access=tokens.access())) as port:
        yield port


@pytest.fixture
def client(port, tokens):
    with Client(port, tokens.add()) as client:
        yield client


def finish(db, job_id, result=None):
    """Completes a job as a worker does."""
    hand = Hand(db, [look(db, job_id, "task")], look(db, job_id, "queue"))
    [attempt] = [one for one in hand.claim() if one.id == job_id]
    hand.settle(attempt, Outcome.completed(None if result is None else json.dumps(result)))


# ---------------------------------------------------------------- enqueuing


def test_an_enqueue_answers_where_the_job_is_and_stores_it_with_its_options(client, db):
    options = {"queue": "mail", "priority": -5, "tags": ["a"], "meta": {"x": [1]}, "max_attempts": 3, "timeout": 1.5, "weight": 2,
               "concurrency_key": "k", "run_at": "2030-01-31T10:00:00+01:00", "deadline": 5e6, "expires": "2031-01-01T00:00:00.5Z"}  # fmt: skip
    answer = client.post("/jobs", json={"task": "greet", "args": {"n": LARGE, "self": "é"}, **options})
    stored = answer.json()
    assert (answer.status_code, stored["state"], stored["created"]) == (202, "pending", True)
    assert answer.headers["location"] == stored["status_url"] == f"/api/v1/jobs/{stored['id']}"
    assert answer.headers["retry-after"] == "1"
    shown = client.get(stored["status_url"].removeprefix("/api/v1")).json()
    assert (shown["id"], shown["args"]) == (stored["id"], {"n": LARGE, "self": "é"})
    assert (shown["run_at"], shown["expires_at"]) == (
        "2030-01-31T09:00:00.000000Z",
        "2031-01-01T00:00:00.500000Z",
    )
    assert {
        name: shown[name]
        for name in ("queue", "priority", "tags", "meta", "max_attempts", "timeout", "concurrency_key")
    } == {
        name: options[name]
        for name in ("queue", "priority", "tags", "meta", "max_attempts", "timeout", "concurrency_key")
    }
    assert look(db, int(stored["id"]), "weight") == 2


def test_a_repeated_request_gets_the_same_job_and_another_request_under_the_key_is_refused(client):
    first, again = (
        client.post("/jobs", json={"task": "pay", "args": {"n": 1}}, headers={"Idempotency-Key": "k"})
        for _ in "12"
    )
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"]
    assert (again.json()["created"], again.json()["conflict"]) == (False, "idempotency_key")
    assert again.headers["idempotency-replayed"] == "true"
    quoted = client.post("/jobs", json={"task": "pay", "args": {"n": 1}}, headers={"Idempotency-Key": '"k"'})
    assert quoted.json()["id"] == first.json()["id"]
    other = client.post("/jobs", json={"task": "pay", "args": {"n": 2}}, headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (422, "PGQ-407")
    of_another_task = client.post(
        "/jobs", json={"task": "refund", "args": {"n": 1}}, headers={"Idempotency-Key": "k"}
    )
    assert (of_another_task.status_code, of_another_task.json()["created"]) == (202, True)
    for key in ("", '""', "x" * 256):
        assert client.post("/jobs", json={"task": "pay"}, headers={"Idempotency-Key": key}).status_code == 400
    differing = client.post(
        "/jobs", json={"task": "pay", "idempotency_key": "a"}, headers={"Idempotency-Key": "b"}
    )
    assert differing.status_code == 400


def test_two_clients_that_send_the_same_key_at_once_get_one_job(port, tokens, db):
    token = tokens.add("racer")
    start = threading.Barrier(8)

    def send(_):
        with Client(port, token) as client:
            start.wait()
            return client.post("/jobs", json={"task": "pay"}, headers={"Idempotency-Key": "once"}).json()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    assert len({answer["id"] for answer in answers}) == 1
    assert sorted(answer["created"] for answer in answers) == [False] * 7 + [True]
    assert db.execute("select count(*) from pgqueue.jobs").fetchall() == [(1,)]


def test_a_unique_key_and_on_conflict_do_what_they_do_in_sql(client):
    body = {"task": "refresh", "unique_key": "a"}
    first, again = client.post("/jobs", json=body), client.post("/jobs", json=body)
    assert (again.status_code, again.json()["id"], again.json()["conflict"]) == (
        200,
        first.json()["id"],
        "unique_key",
    )
    refused = client.post("/jobs", json={**body, "on_conflict": "raise"})
    assert (refused.status_code, refused.json()["code"]) == (409, "PGQ-406")


def test_a_batch_is_stored_as_a_whole_or_not_at_all(client, db):
    jobs = [{"task": "a", "args": {"n": n}, "queue": f"q{n % 3}"} for n in range(1000)]
    answer = client.post("/jobs:batch", json={"jobs": jobs})
    ids = [int(job["id"]) for job in answer.json()["jobs"]]
    assert answer.status_code == 202
    assert [look(db, job_id, "args ->> 'n'") for job_id in (ids[0], ids[999])] == ["0", "999"]
    for bad, code in (
        ([*jobs, jobs[0]], 422),
        ([], 422),
        ([{"task": "a"}, {"task": "pgqueue.x"}], 422),
        ([{"task": "a"}, {"task": "a", "run_at": "2030-01-01T00:00:00Z", "delay": 1}], 422),
        (
            [{"task": "a", "idempotency_key": "k"}, {"task": "a", "idempotency_key": "k", "args": {"x": 1}}],
            422,
        ),
    ):
        refused = client.post("/jobs:batch", json={"jobs": bad})
        assert refused.status_code == code, refused.text
    assert db.execute("select count(*) from pgqueue.jobs").fetchall() == [(1000,)]
    assert (
        client.post("/jobs:batch", json={"jobs": jobs[:1]}, headers={"Idempotency-Key": "k"}).status_code
        == 400
    )


def test_with_an_app_only_its_tasks_are_enqueued_and_arguments_are_checked_against_their_signatures(
    dsn, tokens, db
):
    app = App(dsn)

    @app.task(name="greet", queue="mail", retry=False)
    def greet(name: str, times: int = 1, **more: int) -> None: ...

    with served(api.create(app, access=tokens.access())) as port, Client(port, tokens.add()) as client:
        stored = client.post("/jobs", json={"task": "greet", "args": {"name": "Ada", "self": 1}}).json()
        assert look(db, int(stored["id"]), "queue, max_attempts, args") == (
            "mail",
            1,
            {"name": "Ada", "self": 1},
        )
        wrong = client.post("/jobs", json={"task": "greet", "args": {"times": "x"}}).json()
        assert (wrong["status"], wrong["code"]) == (422, "PGQ-401")
        assert "name is missing" in wrong["detail"]
        unknown = client.post("/jobs", json={"task": "gret"}).json()
        assert (unknown["status"], unknown["do"]) == (422, "did you mean greet?")
        several = client.post("/jobs:batch", json={"jobs": [{"task": "greet"}, {"task": "gret"}]}).json()
        assert [wrong["at"] for wrong in several["errors"]] == ["jobs[0]", "jobs[1]"]
    app.close()


def test_a_job_of_a_task_that_a_worker_has_declared_gets_the_options_of_the_task(client, db):
    db.execute(
        "insert into pgqueue.tasks (name, app, options, digest) values ('greet', 'shop', '{\"queue\": \"mail\", \"max_attempts\": 2}', 'x')"
    )
    stored = client.post("/jobs", json={"task": "greet"}).json()
    assert look(db, int(stored["id"]), "queue, max_attempts") == ("mail", 2)


# ---------------------------------------------------------------- reading


def test_a_job_that_has_not_changed_is_answered_with_304(client, db):
    [job_id] = add_jobs(db)
    first = client.get(f"/jobs/{job_id}")
    tag = first.headers["etag"]
    for given in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        same = client.get(f"/jobs/{job_id}", headers={"If-None-Match": given})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    db.execute("update pgqueue.jobs_live set priority = 3")
    changed = client.get(f"/jobs/{job_id}", headers={"If-None-Match": tag})
    assert (changed.status_code, changed.headers["etag"] == tag) == (200, False)
    head = client.head(f"/jobs/{job_id}")
    assert (head.status_code, head.content) == (200, b"")


def test_the_result_comes_when_the_job_is_completed_and_a_failure_is_a_problem(client, db):
    [good] = add_jobs(db, task="good")
    waits = client.get(f"/jobs/{good}/result")
    assert (waits.status_code, waits.json()["state"], waits.headers["retry-after"]) == (202, "pending", "1")
    finish(db, good, {"paid": LARGE})
    assert client.get(f"/jobs/{good}/result").json() == {
        "id": str(good),
        "state": "completed",
        "result": {"paid": LARGE},
    }
    [bad] = add_jobs(db, task="bad")
    hand = Hand(db, ["bad"])
    [attempt] = hand.claim()
    hand.settle(attempt, Outcome.dead("permanent_error", ValueError("\x1b[31mboom")))
    failed = client.get(f"/jobs/{bad}/result")
    assert (failed.status_code, failed.headers["content-type"]) == (409, "application/problem+json")
    assert (failed.json()["code"], failed.json()["state"]) == ("PGQ-508", "dead")
    assert "\\x1b[31mboom" in failed.json()["detail"]


def test_jobs_are_listed_by_filters_and_in_pages(client, db):
    ids = add_jobs(db, task="a", count=5) + add_jobs(
        db, task="b", count=2, queue="mail", tags=["x"], unique_key=None
    )
    add_jobs(db, task="c", args='{"tenant": "t1", "n": {"x": 1}}')
    first = client.get("/jobs", params={"task": "a", "limit": 2}).json()
    assert [item["id"] for item in first["items"]] == [str(ids[4]), str(ids[3])]
    second = client.get("/jobs", params={"task": "a", "limit": 2, "after": first["next"]}).json()
    third = client.get("/jobs", params={"task": "a", "limit": 2, "after": second["next"]}).json()
    assert [item["id"] for page in (second, third) for item in page["items"]] == [
        str(ids[n]) for n in (2, 1, 0)
    ]
    assert third["next"] is None

    def count(**params):
        return len(client.get("/jobs", params=params).json()["items"])

    assert [
        count(queue="mail"),
        count(tag="x"),
        count(state="dead"),
        count(state=["pending", "dead"]),
        count(state="failed,pending"),
    ] == [2, 2, 0, 8, 8]
    assert [
        count(args='{"tenant": "t1"}'),
        count(args='{"n": {"x": 1}}'),
        count(args='{"n": 2}'),
        count(named="c"),
    ] == [1, 1, 0, 1]
    assert [count(since="2020-01-01T00:00:00Z"), count(until="2020-01-01T00:00:00Z"), count(worker="7")] == [
        8,
        0,
        0,
    ]


def test_the_reason_and_the_timeline_are_those_of_sql(client, db):
    [job_id] = add_jobs(db, run_at="2999-01-01Z")
    assert client.get(f"/jobs/{job_id}/why").json()["reason"] == "scheduled"
    client.post(f"/jobs/{job_id}/cancel")
    events = client.get(f"/jobs/{job_id}/timeline").json()["items"]
    assert [event["to_state"] for event in events] == ["pending", "cancelled"]
    assert events[0]["at"].endswith("Z")


def test_queues_and_workers_are_listed(client, db):
    add_jobs(db, count=2, queue="mail")
    hand = Hand(db, ["t"], "mail")
    hand.claim(1)
    mail = next(queue for queue in client.get("/queues").json()["items"] if queue["queue"] == "mail")
    assert (mail["queue"], mail["due"], mail["running"], mail["workers"]) == ("mail", 1, 1, 1)
    [worker] = client.get("/workers").json()["items"]
    assert (worker["queues"], worker["running"]) == (["mail"], 1)
    assert isinstance(worker["id"], str)


@pytest.mark.parametrize("limit", [1, 3, 200])
def test_a_page_of_large_jobs_ends_early_and_the_next_one_goes_on(client, db, monkeypatch, limit):
    monkeypatch.setattr(jobs, "PAGE", 50_000)
    ids = add_jobs(db, count=30)
    db.execute(
        "update pgqueue.jobs_live set args = jsonb_build_object('text', repeat('x', (id % 5 * 10000)::int))"
    )
    seen, after = [], {}
    while True:
        answer = client.get("/jobs", params={"limit": limit, **after})
        assert len(answer.content) < 50_000 + 40_000 + 30 * 1000
        page = answer.json()
        assert 1 <= len(page["items"]) <= limit
        seen += [int(job["id"]) for job in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == sorted(ids, reverse=True)


def test_a_job_that_is_larger_than_a_page_is_a_page(client, db, monkeypatch):
    monkeypatch.setattr(jobs, "PAGE", 1000)
    ids = add_jobs(db, count=2)
    db.execute("update pgqueue.jobs_live set args = jsonb_build_object('text', repeat('x', 5000))")
    first = client.get("/jobs").json()
    assert ([job["id"] for job in first["items"]], first["next"]) == ([str(ids[1])], str(ids[1]))
    last = client.get("/jobs", params={"after": first["next"]}).json()
    assert ([job["id"] for job in last["items"]], last["next"]) == ([str(ids[0])], None)


# ---------------------------------------------------------------- waiting


@pytest.mark.parametrize("path", ["", "/result"])
def test_a_request_with_wait_is_answered_as_soon_as_the_job_has_ended(client, db, path):
    [job_id] = add_jobs(db)
    with ThreadPoolExecutor(1) as pool:
        begun = time.monotonic()
        waiting = pool.submit(client.get, f"/jobs/{job_id}{path}", params={"wait": 30})
        wait_until(
            lambda: db.execute(
                "select 1 from pg_stat_activity where application_name = 'pgqueue wait' and datname = current_database()"
            ).fetchall()
        )
        finish(db, job_id, 7)
        answer = waiting.result(25)
    assert (answer.status_code, answer.json()["state"], answer.json()["result"]) == (200, "completed", 7)
    assert time.monotonic() - begun < 20


def test_a_request_that_has_waited_long_enough_gets_the_state_as_it_is(client, db):
    [job_id] = add_jobs(db)
    assert client.get(f"/jobs/{job_id}", params={"wait": 0.2}).json()["state"] == "pending"
    assert client.get(f"/jobs/{job_id}/result", params={"wait": 0.2}).status_code == 202
    for wait in (31, -1, "x", "nan", "1e9"):
        assert client.get(f"/jobs/{job_id}", params={"wait": wait}).status_code == 422


def test_waiting_clients_that_leave_make_room_and_more_than_allowed_are_refused(dsn, tokens, db):
    [job_id] = add_jobs(db)
    made = api.create(dsn, access=tokens.access(), most_waiting=3)
    with served(made) as port:
        token = tokens.add()
        leaving = [Client(port, token) for _ in range(3)]
        for client in leaving:
            request = f"GET /api/v1/jobs/{job_id}?wait=30 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
            client.raw = raw(port, request)
        wait_until(lambda: made._service.waits == 3)
        with Client(port, token) as client:
            busy = client.get(f"/jobs/{job_id}", params={"wait": 1})
            assert (busy.status_code, busy.json()["code"], busy.headers["retry-after"]) == (
                503,
                "PGQ-711",
                "5",
            )
            for other in leaving:
                other.raw.close()
                other.close()
            wait_until(lambda: made._service.waits == 0)
            assert client.get(f"/jobs/{job_id}", params={"wait": 0.1}).status_code == 200


def test_one_caller_cannot_take_the_places_of_all_who_wait(dsn, tokens, db, monkeypatch):
    monkeypatch.setattr(limits, "WAITING_OF_ONE", 2)
    [job_id] = add_jobs(db)
    made = api.create(dsn, access=tokens.access())
    ann, bob = tokens.add("ann"), tokens.add("bob")
    with served(made) as port, Client(port, ann) as client, Client(port, bob) as other:
        request = f"GET /api/v1/jobs/{job_id}?wait=30 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ann}\r\n\r\n"
        lines = [raw(port, request) for _ in range(2)]
        wait_until(lambda: made._service.waits == 2)
        refused = client.get(f"/jobs/{job_id}", params={"wait": 1})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
        assert "2 requests of ann wait" in refused.json()["detail"]
        assert client.get(f"/jobs/{job_id}").status_code == 200
        assert other.get(f"/jobs/{job_id}", params={"wait": 0.1}).status_code == 200
        for line in lines:
            line.close()
        wait_until(lambda: made._service.waits == 0)
        assert client.get(f"/jobs/{job_id}", params={"wait": 0.1}).status_code == 200


def raw(port, text):
    import socket

    found = socket.create_connection(("127.0.0.1", port))
    found.sendall(text.encode("latin-1"))
    return found


# ---------------------------------------------------------------- events


def events_of(answer):
    """Yields (id, event, data) of a stream as its lines arrive. Comments, which are signs of life, are left out."""
    found = {}
    for line in answer.iter_lines():
        if not line and found:
            yield found.get("id"), found.get("event"), json.loads(found["data"])
            found = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            found[name] = value


def test_a_stream_sends_what_happens_to_a_job_until_its_end_and_a_client_that_comes_back_misses_nothing(
    client, db
):
    [job_id] = add_jobs(db)
    path = f"/jobs/{job_id}/events"
    hand = Hand(db, ["t"])
    with client.stream("GET", path) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        events = events_of(answer)
        number, event, data = next(events)
        assert (number, event, data["reason"]) == ("1", "pending", "enqueued")
        [attempt] = hand.claim()
        assert next(events)[:2] == ("2", "running")
        run(db, statements.write_progress(hand.id, [(attempt.id, attempt.lease_id, Progress.of(3, 4, None))]))
        _, event, data = next(events)
        assert (event, data["done"], data["total"]) == ("progress", 3, 4)
    hand.settle(attempt, Outcome.retried(0.0, ValueError("boom")))
    finish(db, job_id, 7)
    with client.stream("GET", path, headers={"Last-Event-ID": "2"}) as answer:
        missed = list(events_of(answer))
    assert [(number, event) for number, event, _ in missed] == [
        ("3", "retrying"),
        ("4", "running"),
        ("5", "completed"),
    ]
    assert "boom" in missed[0][2]["error"]
    with client.stream("GET", path) as answer:
        assert [number for number, _, _ in events_of(answer)] == ["1", "2", "3", "4", "5"]
    assert client.get(path, headers={"Last-Event-ID": "5"}).status_code == 204
    assert client.get(path, headers={"Last-Event-ID": "x"}).status_code == 400
    assert client.get("/jobs/999/events").status_code == 404


def test_a_hundred_streams_share_one_connection_and_free_their_places_when_clients_leave(dsn, tokens, db):
    [job_id] = add_jobs(db)
    made = api.create(dsn, access=tokens.access(), most_waiting=100)
    with served(made) as port, Client(port, token := tokens.add()) as client:
        request = f"GET /api/v1/jobs/{job_id}/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        lines = [raw(port, request) for _ in range(100)]
        wait_until(lambda: made._service.waits == 100)
        assert client.get(f"/jobs/{job_id}/events").status_code == 503
        sessions = "select count(*) from pg_stat_activity where application_name = 'pgqueue wait' and datname = current_database()"
        assert wait_until(lambda: db.execute(sessions).fetchall() == [(1,)])
        for line in lines:
            line.close()
        wait_until(lambda: made._service.waits == 0)


def test_one_caller_cannot_take_the_streams_of_the_others(dsn, tokens, db, monkeypatch):
    monkeypatch.setattr(limits, "STREAMS_OF_ONE", 2)
    [job_id] = add_jobs(db)
    path = f"/jobs/{job_id}/events"
    made = api.create(dsn, access=tokens.access())
    with served(made) as port, Client(port, tokens.add("ann")) as ann, Client(port, tokens.add("bob")) as bob:
        with ann.stream("GET", path), ann.stream("GET", path):
            wait_until(lambda: made._service.waits == 2)
            refused = ann.get(path)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
            assert "ann has 2 streams" in refused.json()["detail"]
            with bob.stream("GET", path) as answer:
                assert answer.status_code == 200
        wait_until(lambda: made._service.waits == 0)
        with ann.stream("GET", path) as answer:
            assert answer.status_code == 200


# ---------------------------------------------------------------- changing


def test_a_job_is_cancelled_retried_and_signalled(client, db):
    [job_id] = add_jobs(db)
    assert client.post(f"/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    again = client.post(f"/jobs/{job_id}/cancel")
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")
    retried = client.post(f"/jobs/{job_id}/retry")
    assert (retried.status_code, retried.json()["state"], retried.headers["location"]) == (
        202,
        "pending",
        f"/api/v1/jobs/{job_id}",
    )
    assert client.post(f"/jobs/{job_id}/retry").status_code == 409
    sent = client.post(
        f"/jobs/{job_id}/signal", json={"name": "approved", "payload": {"by": [LARGE]}, "key": "w1"}
    )
    assert sent.status_code == 202
    assert db.execute("select name, payload, sender from pgqueue.signals").fetchall() == [
        ("approved", {"by": [LARGE]}, "ada")
    ]
    hand = Hand(db, ["t"])
    hand.claim()
    asked = client.post(f"/jobs/{job_id}/cancel")
    assert (asked.status_code, asked.json()["state"]) == (202, "requested")
    for verb in ("cancel", "retry"):
        assert client.post(f"/jobs/999/{verb}").status_code == 404
        assert client.post(f"/jobs/{job_id}/{verb}", content=b"{}").status_code in (400, 413)
    assert client.post("/jobs/999/signal", json={"name": "x"}).status_code == 404


def test_many_jobs_are_cancelled_by_a_filter_counted_before_and_undone_after(client, db):
    add_jobs(db, count=1200, queue="mail")
    [other] = add_jobs(db, queue="pay")
    wanted = {"action": "cancel", "jobs": {"queue": "mail"}}
    assert client.post("/operations", json={**wanted, "dry_run": True}).json()["counts"] == {"pending": 1200}
    begun = client.post("/operations", json=wanted)
    assert begun.status_code == 202
    path = begun.headers["location"].removeprefix("/api/v1")
    done = wait_until(lambda: (said := client.get(path).json())["ended"] and said)
    assert (done["seen"], done["changed"], done["actor"]) == (1200, 1200, "ada")
    assert look(db, other) == "pending"
    assert client.post(f"{path}/undo").status_code == 202
    assert wait_until(lambda: (said := client.get(path).json())["undone"] == 1200 and said)["changed"] == 1200
    assert db.execute("select distinct state from pgqueue.jobs").fetchall() == [("pending",)]
    for wrong in ({"action": "delete", "jobs": {"queue": "a"}}, {"action": "cancel", "jobs": {}}, {"action": "cancel"},
                  {**wanted, "limit": 0}, {"action": "cancel", "jobs": {"state": ["x"]}}):  # fmt: skip
        assert client.post("/operations", json=wrong).status_code == 422
    older = {
        "action": "retry",
        "jobs": {"since": "2020-01-01T00:00:00Z", "until": "2021-01-01T00:00:00Z", "args": {"n": 1}},
    }
    assert client.post("/operations", json=older).status_code == 202
    assert client.get("/operations/999").status_code == 404
    assert client.post("/operations/999/undo").status_code == 404


def test_an_operation_changes_only_jobs_that_its_caller_may_see_and_only_its_caller_reads_it(
    port, tokens, db
):
    add_jobs(db, count=3, queue="mail")
    add_jobs(db, count=3, queue="pay")
    with (
        Client(port, tokens.add("m", Role.operator, queues=["mail"])) as mine,
        Client(port, tokens.add("p", Role.operator, queues=["pay"])) as theirs,
    ):
        begun = mine.post("/operations", json={"action": "cancel", "jobs": {"task": "t"}}).json()
        path = begun["status_url"].removeprefix("/api/v1")
        assert wait_until(lambda: (said := mine.get(path).json())["ended"] and said)["changed"] == 3
        assert (theirs.get(path).status_code, theirs.post(f"{path}/undo").status_code) == (404, 404)
    with Client(port, tokens.add("v", Role.viewer)) as viewer:
        assert viewer.post("/operations", json={"action": "cancel", "jobs": {"task": "t"}}).status_code == 403
    assert db.execute("select queue, state from pgqueue.jobs group by 1, 2 order by 1").fetchall() == [
        ("mail", "cancelled"),
        ("pay", "pending"),
    ]


# ---------------------------------------------------------------- rights


def test_each_role_can_do_only_what_it_may(port, tokens, db):
    [job_id] = add_jobs(db)
    with Client(port, tokens.add("vi", Role.viewer, tasks=())) as viewer:
        assert viewer.get(f"/jobs/{job_id}").status_code == 200
        for path, body in ((f"/jobs/{job_id}/cancel", None), (f"/jobs/{job_id}/retry", None), (f"/jobs/{job_id}/signal", {"name": "x"}),
                           ("/jobs", {"task": "t"}), ("/jobs:batch", {"jobs": [{"task": "t"}]})):  # fmt: skip
            refused = viewer.post(path, json=body) if body else viewer.post(path)
            assert (refused.status_code, refused.json()["code"]) == (403, "PGQ-702"), path
    assert look(db, job_id) == "pending"
    with Client(port, tokens.add("op", Role.operator, tasks=())) as operator:
        assert operator.post(f"/jobs/{job_id}/cancel").status_code == 200
    with Client(port, tokens.add("shop", Role.viewer, tasks=["mail.*"])) as shop:
        assert shop.post("/jobs", json={"task": "mail.send"}).status_code == 202
        assert shop.post("/jobs", json={"task": "pay"}).status_code == 403
        assert (
            shop.post("/jobs:batch", json={"jobs": [{"task": "mail.send"}, {"task": "pay"}]}).status_code
            == 403
        )
    with Client(port) as nobody:
        assert nobody.get("/openapi.json").status_code == 401
        assert nobody.get("/nope").status_code == 401


def test_a_caller_sees_only_jobs_of_its_queues_and_jobs_of_others_count_as_missing(port, tokens, db):
    [mine] = add_jobs(db, queue="mail_1")
    [theirs] = add_jobs(db, queue="mailx1")
    db.execute(
        'select * from pgqueue.enqueue(\'t\', \'{}\', \'{"queue": "mailx1", "idempotency_key": "k", "unique_key": "u"}\')'
    )
    with Client(port, tokens.add("m", Role.admin, queues=["mail_*"])) as client:
        assert client.get(f"/jobs/{mine}").status_code == 200
        for path in ("", "/result", "/why", "/timeline"):
            assert client.get(f"/jobs/{theirs}{path}").status_code == 404
        for verb in ("cancel", "retry"):
            assert client.post(f"/jobs/{theirs}/{verb}").status_code == 404
        assert client.post(f"/jobs/{theirs}/signal", json={"name": "x"}).status_code == 404
        assert [item["id"] for item in client.get("/jobs").json()["items"]] == [str(mine)]
        assert client.get("/jobs", params={"queue": "mailx1"}).json()["items"] == []
        assert [item["queue"] for item in client.get("/queues").json()["items"]] == ["mail_1"]
        assert client.get("/workers").status_code == 403
        assert client.post("/jobs", json={"task": "t", "queue": "mailx1"}).status_code == 403
        for key in ({"idempotency_key": "k"}, {"unique_key": "u"}):
            refused = client.post("/jobs", json={"task": "t", **key})
            assert refused.status_code == 422, refused.text
            assert "mailx1" not in refused.text
    assert look(db, theirs) == "pending"


def test_a_job_without_a_queue_does_not_reach_a_queue_that_the_token_may_not_use(port, tokens, db):
    for name, queue in (("mine", "mail"), ("theirs", "pay")):
        options = f'{{"queue": "{queue}"}}'
        db.execute(
            "insert into pgqueue.tasks (name, app, options, digest) values (%s, 'a', %s, 'd')",
            [name, options],
        )
    with Client(port, tokens.add("m", Role.admin, queues=["mail"])) as client:
        assert client.post("/jobs", json={"task": "mine"}).status_code == 202
        for path, body in (
            ("/jobs", {"task": "theirs"}),
            ("/jobs:batch", {"jobs": [{"task": "mine"}, {"task": "theirs"}]}),
        ):
            refused = client.post(path, json=body)
            assert (refused.status_code, "pay" in refused.text) == (403, True)
    assert db.execute("select array_agg(task::text) from pgqueue.jobs").fetchone() == (["mine"],)


def test_without_tokens_the_api_only_reads(dsn, db):
    [job_id] = add_jobs(db)
    with served(api.create(dsn)) as port, Client(port) as client:
        assert client.get(f"/jobs/{job_id}").status_code == 200
        assert client.post(f"/jobs/{job_id}/cancel").status_code == 403
        assert client.post("/jobs", json={"task": "t"}).status_code == 403
        assert client.get("/jobs", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 401
        assert client.get("/jobs", headers={"Host": "evil.test"}).status_code == 421
        assert client.get("/jobs", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert (
            "access-control-allow-origin"
            not in client.get("/jobs", headers={"Origin": f"http://127.0.0.1:{port}"}).headers
        )
    assert look(db, job_id) == "pending"


def test_a_broken_authentication_of_the_host_app_serves_nobody_and_shows_nothing(dsn, caplog):
    def broken(scope):
        raise RuntimeError("s3cr3t")

    with served(api.create(dsn, access=Access(authenticate=broken))) as port, Client(port) as client:
        answer = client.get("/jobs")
    assert (answer.status_code, answer.json()["code"]) == (500, "PGQ-001")
    assert "s3cr3t" not in answer.text
    assert "the request GET /api/v1/jobs could not be served" in caplog.text


def test_without_starlette_one_error_says_what_to_install(dsn, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("pgqueue.ui.api.", "starlette"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    with pytest.raises(PackageMissingError, match="starlette") as refused:
        api.create(dsn)
    assert refused.value.do == "pip install 'pgqueue-jobs[web]'"


# ---------------------------------------------------------------- the database


def test_a_statement_that_takes_too_long_and_too_many_requests_are_answered_with_503(
    dsn, tokens, db, connect, monkeypatch
):
    monkeypatch.setattr(limits, "SESSIONS", 1)
    monkeypatch.setattr(limits, "IN_LINE", 1)
    monkeypatch.setattr(limits, "PATIENCE", 0.3)
    monkeypatch.setattr(
        limits,
        "WRITING",
        limits.WRITING.replace("lock_timeout = '2s'", "lock_timeout = '0'").replace("'6s'", "'1s'"),
    )
    [job_id] = add_jobs(db)
    blocker = connect(autocommit=False)
    blocker.execute("select from pgqueue.jobs_live for update")
    with (
        served(api.create(dsn, access=tokens.access())) as port,
        Client(port, tokens.add()) as client,
        ThreadPoolExecutor(3) as pool,
    ):
        client.get("/queues")
        answers = [
            answer.result()
            for answer in [pool.submit(client.post, f"/jobs/{job_id}/cancel") for _ in range(3)]
        ]
        assert [answer.status_code for answer in answers] == [503] * 3
        assert {answer.json()["code"] for answer in answers} == {"PGQ-711"}
        assert all(answer.headers["retry-after"] for answer in answers)
        blocker.rollback()
        assert client.post(f"/jobs/{job_id}/cancel").status_code == 200


def test_a_locked_job_is_answered_with_503_in_time(client, db, connect):
    [job_id] = add_jobs(db)
    blocker = connect(autocommit=False)
    blocker.execute("select from pgqueue.jobs_live for update")
    answer = client.post(f"/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (503, "PGQ-711")


@pytest.mark.parametrize("wrong", ["postgresql://u:s3cr3t@127.0.0.1:1/nowhere", "no database", "no schema"])
def test_a_database_that_cannot_be_used_is_answered_with_503_and_without_its_address(
    dsn, empty_dsn, tokens, wrong, caplog
):
    chosen = {"no database": dsn + "x", "no schema": empty_dsn}.get(wrong, wrong)
    with served(api.create(chosen, access=tokens.access())) as port, Client(port, tokens.add()) as client:
        answer = client.get("/queues")
    assert (answer.status_code, answer.json()["detail"]) == (503, "The database cannot answer now.")
    assert "s3cr3t" not in answer.text + caplog.text
    assert "127.0.0.1" not in answer.text
    assert "could not be served" in caplog.text


def test_the_api_is_mounted_below_a_path_of_another_app_and_no_header_changes_its_links(dsn, tokens):
    from starlette.applications import Starlette
    from starlette.routing import Mount

    for prefix, base in (("/api/v1", "/queue/api/v1"), ("", "/queue")):
        site = Starlette(routes=[Mount("/queue", app=api.create(dsn, access=tokens.access(), prefix=prefix))])
        with served(site) as port, Client(port, tokens.add(f"a{len(prefix)}"), base) as client:
            forged = {
                "X-Forwarded-Prefix": "//evil.test",
                "X-Forwarded-Host": "evil.test",
                "X-Original-URL": "/x",
            }
            stored = client.post("/jobs", json={"task": "t"}, headers=forged)
            assert stored.headers["location"] == f"{base}/jobs/{stored.json()['id']}"
            assert client.get("/openapi.json").json()["servers"] == [{"url": base}]
