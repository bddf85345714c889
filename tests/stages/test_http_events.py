"""``GET /events`` of the HTTP API: each event of each job that a caller may see, in one stream, whoever comes late or comes back."""

from __future__ import annotations

import json
import socket

import pytest

from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.ui import api
from pgqueue.ui.api import feed, following
from pgqueue.ui.reading import events as reading
from pgqueue.ui.reading import listening
from tests.factories import add_jobs, enqueue
from tests.http_servers import Client, Tokens, served
from tests.waiting import wait_until
from tests.worker_by_hand import Hand

SESSIONS = "select count(*) from pg_stat_activity where application_name = 'pgqueue events' and datname = current_database()"


class Events:
    """Reads a stream. ``last``: the id that a browser would send when it comes back."""

    def __init__(self, answer):
        assert answer.headers["content-type"].startswith("text/event-stream")
        self._lines = answer.iter_lines()
        self.last = None

    def next(self, *, ids=False):
        """Returns (event, data) of the next event. ``ids``: or (None, None), if a message has only an id."""
        found = {}
        for line in self._lines:
            if line.startswith(":"):
                continue
            if line:
                name, _, value = line.partition(": ")
                found[name] = value
                continue
            self.last = found.get("id", self.last)
            if "data" in found:
                return found["event"], json.loads(found["data"])
            if ids and found:
                return None, None
            found = {}
        raise EOFError

    def take(self, count):
        return [(int(data["job_id"]), data["reason"]) for _, data in (self.next() for _ in range(count))]


def begun(answer):
    """Returns the stream, as soon as it has its first look."""
    events = Events(answer)
    for _ in range(2):
        assert events.next(ids=True) == (None, None)
    return events


@pytest.fixture
def tokens():
    return Tokens()


@pytest.fixture
def made(dsn, tokens):
    return api.create(dsn, access=tokens.access())


@pytest.fixture
def port(made):
    with served(made) as port:
        yield port


@pytest.fixture
def client(port, tokens):
    with Client(port, tokens.add()) as client:
        yield client


def test_a_stream_sends_what_happens_to_every_job(client, db):
    enqueue(db)
    with client.stream("GET", "/events") as answer:
        assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-store", "no")
        events = begun(answer)
        job, other = enqueue(db, "greet", queue="mail"), enqueue(db, "other")
        kind, data = events.next()
        assert kind == "pending"
        assert data == {
            "job_id": str(job), "queue": "mail", "task": "greet", "at": data["at"], "from_state": None, "to_state": "pending",
            "reason": "enqueued", "attempt": 0, "worker_id": None, "error": None,
        }  # fmt: skip
        assert events.take(1) == [(other, "enqueued")]
        hand = Hand(db, ["greet"], "mail")
        [attempt] = hand.claim()
        hand.settle(attempt, Outcome.retried(0.0, ValueError("boom\r\n\x1b[31m")))
        kind, data = events.next()
        assert (kind, data["reason"], data["worker_id"]) == ("retrying", "failed", str(hand.id))
        assert data["error"].startswith("ValueError: boom")
        [attempt] = hand.claim()
        hand.settle(attempt, COMPLETED)
        assert events.take(1) == [(job, "completed")]


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({"queue": "mail"}, [("mail", "enqueued"), ("mail", "cancelled")]),
        ({"task": "greet"}, [("plain", "enqueued"), ("plain", "cancelled")]),
        ({"type": ["failed,cancelled", "dead"]}, [("plain", "cancelled"), ("mail", "cancelled")]),
        ({"type": "cancelled", "queue": "mail"}, [("mail", "cancelled")]),
    ],
)
def test_events_are_chosen_by_queue_task_and_type(client, db, params, wanted):
    with client.stream("GET", "/events", params=params) as answer:
        events = begun(answer)
        jobs = {"plain": enqueue(db, "greet"), "mail": enqueue(db, "other", queue="mail")}
        early = [(jobs[name], reason) for name, reason in wanted if reason == "enqueued"]
        assert events.take(len(early)) == early
        for job in jobs.values():
            client.post(f"/jobs/{job}/cancel")
        later = [(jobs[name], reason) for name, reason in wanted if reason == "cancelled"]
        assert events.take(len(later)) == later


def test_wrong_filters_and_ids_are_refused(client):
    for params, said in (
        ({"type": "ded"}, "did you mean dead?"),
        ({"type": "nothing"}, "permanent_error"),
        ({"since": "1"}, "unknown"),
    ):
        refused = client.get("/events", params=params)
        assert refused.status_code == 422
        assert said in refused.json()["detail"]
    for wrong in ("7", "x", "1e9-1", "1.000000-" + "9" * 30, "-1"):
        assert client.get("/events", headers={"Last-Event-ID": wrong}).status_code == 400


def test_a_client_that_comes_back_misses_nothing_not_even_what_commits_late(client, db, connect, monkeypatch):
    monkeypatch.setattr(reading, "LATE", 0.0)
    late = connect(autocommit=False)
    with client.stream("GET", "/events") as answer:
        events = begun(answer)
        [open_one] = add_jobs(late)
        first, *others = add_jobs(db, count=3)
        assert events.take(1) == [(first, "enqueued")]  # and leaves in the middle of a batch
        last = events.last
    late.commit()
    while_away = enqueue(db)
    hand = Hand(db, ["t"])
    for attempt in hand.claim():
        hand.settle(attempt, COMPLETED)
    last_one = enqueue(db)
    wanted = {(job, "completed") for job in (open_one, first, *others, while_away)} | {(last_one, "enqueued")}
    with client.stream("GET", "/events", headers={"Last-Event-ID": last}) as answer:
        events = begun_again(answer, wanted)
        new = enqueue(db)
        assert (new, "enqueued") in events.take(1)


def begun_again(answer, wanted):
    events = Events(answer)
    got = []
    while not wanted <= set(got):
        got += events.take(1)
    assert len(got) == len(set(got))
    return events


def test_what_happens_while_a_stream_begins_comes_once(port, tokens, db):
    """Its own look and those that all streams share find the same events."""
    with (
        Client(port, tokens.add()) as one,
        Client(port, tokens.add("bob")) as two,
        one.stream("GET", "/events") as first,
    ):
        events = begun(first)
        ids = add_jobs(db, count=5)
        with two.stream("GET", "/events", headers={"Last-Event-ID": events.last}) as second:
            others = Events(second)
            got = others.take(5)
            ids += add_jobs(db, count=5)
            got += others.take(5)
            assert sorted(got) == [(job, "enqueued") for job in ids]
        assert sorted(events.take(10)) == sorted(got)


def test_a_caller_sees_only_events_of_its_queues(port, tokens, db):
    with (
        Client(port, tokens.add("carl", queues=["mail.*"])) as client,
        client.stream("GET", "/events") as answer,
    ):
        events = begun(answer)
        enqueue(db, queue="pay")
        seen = enqueue(db, queue="mail.out")
        enqueue(db, queue="mail")
        second = enqueue(db, queue="mail.in")
        assert events.take(2) == [(seen, "enqueued"), (second, "enqueued")]


def test_many_streams_share_one_connection_and_their_number_is_limited(made, port, tokens, db, monkeypatch):
    monkeypatch.setattr(feed, "MOST_OF_ONE", 3)
    monkeypatch.setattr(feed, "MOST_STREAMS", 5)
    callers = [tokens.add("ada"), tokens.add("bob")]
    lines = [opened(port, callers[0]) for _ in range(3)]
    wait_until(lambda: made._service.feed.streams == 3)
    with Client(port, callers[0]) as ada, Client(port, callers[1]) as bob:
        refused = ada.get("/events")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
        assert "ada has 3 streams" in refused.json()["detail"]
        lines += [opened(port, callers[1]) for _ in range(2)]
        wait_until(lambda: made._service.feed.streams == 5)
        full = bob.get("/events")
        assert (full.status_code, full.json()["code"]) == (503, "PGQ-711")
        assert wait_until(lambda: db.execute(SESSIONS).fetchall() == [(1,)])
        for line in lines:
            line.close()
        wait_until(lambda: made._service.feed.streams == 0)
    monkeypatch.setattr(listening, "LINGER", 0.05)
    line = opened(port, callers[0])
    wait_until(lambda: made._service.feed.streams == 1)
    line.close()
    wait_until(lambda: db.execute(SESSIONS).fetchall() == [(0,)], timeout=20)


def opened(port, token):
    line = socket.create_connection(("127.0.0.1", port))
    line.sendall(
        f"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    return line


def test_a_client_that_reads_slowly_is_cut_off_and_does_not_hold_up_others(made, client, db, monkeypatch):
    monkeypatch.setattr(feed, "MOST_BEHIND", 2)
    with client.stream("GET", "/events") as answer:
        events = begun(answer)
        shared = made._service.feed
        with shared.joined("slow") as slow:  # takes nothing
            ids = []
            while not slow.is_cut:
                ids.append(enqueue(db))
                assert events.take(1) == [(ids[-1], "enqueued")]
            assert slow.batches.qsize() <= 2
            assert shared.streams == 1


def test_a_stream_that_cannot_send_everything_says_so(client, db, monkeypatch):
    monkeypatch.setattr(following, "MOST_MISSED", 3)
    with client.stream("GET", "/events") as answer:
        last = begun(answer).last
    ids = add_jobs(db, count=10)
    with client.stream("GET", "/events", headers={"Last-Event-ID": last}) as answer:
        events = Events(answer)
        kind, data = events.next()
        assert (kind, sorted(data)) == ("gap", ["since", "until"])
        assert events.take(3) == [(job, "enqueued") for job in ids[-3:]]


def test_a_stream_goes_on_after_the_server_has_ended_its_session(client, db, monkeypatch):
    monkeypatch.setattr(listening, "AGAIN_AFTER", 0.05)
    with client.stream("GET", "/events") as answer:
        events = begun(answer)
        db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgqueue events'"
        )
        job = enqueue(db)
        assert events.take(1) == [(job, "enqueued")]


def test_signs_of_life_move_the_id_on(client, db, monkeypatch):
    monkeypatch.setattr(reading, "LATE", 0.0)
    monkeypatch.setattr(following, "PING", 0.1)
    seen = set()
    with client.stream("GET", "/events", params={"queue": "none"}) as answer:
        events = begun(answer)
        while len(seen) < 3:
            events.next(ids=True)
            seen.add(events.last)
