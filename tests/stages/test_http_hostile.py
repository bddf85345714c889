"""The HTTP API against requests that no honest client sends. Each gets an answer of 4xx with one sentence, and nothing is stored."""

from __future__ import annotations

import json
import socket
from contextlib import closing

import pytest

from pgqueue.ui import api
from tests.factories import add_jobs
from tests.http_servers import Client, Tokens, served
from tests.waiting import wait_until

OVERLONG = "x" * 70_000


@pytest.fixture
def tokens():
    return Tokens()


@pytest.fixture
def client(dsn, tokens):
    with served(api.create(dsn, access=tokens.access())) as port, Client(port, tokens.add()) as client:
        yield client


def check_problem(answer, codes=range(400, 500)):
    """The answer is a problem of RFC 9457, with one clean sentence, and says nothing about the server's code."""
    assert answer.status_code in codes, (answer.status_code, answer.text[:500])
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert said["status"] == answer.status_code
    assert said["code"].startswith("PGQ-")
    assert said["detail"].isprintable()
    assert answer.text.isascii()
    assert len(answer.content) < 20_000
    assert not any(word in answer.text for word in ("Traceback", ".py", "psycopg", "pydantic", "select "))
    return said


BODIES = {
    "nothing": b"",
    "no JSON": b"{task: greet}",
    "half": b'{"task": "greet"',
    "two values": b'{"task": "greet"} {"task": "greet"}',
    "an array": b"[]",
    "a string": b'"greet"',
    "null": b"null",
    "a byte order mark": b'\xef\xbb\xbf{"task": "greet"}',
    "Latin-1": '{"task": "greet", "args": {"n": "é"}}'.encode("latin-1"),
    "UTF-16": '{"task": "greet"}'.encode("utf-16"),
    "a key twice": b'{"task": "greet", "task": "pay"}',
    "a key twice inside": b'{"task": "greet", "args": {"a": 1, "\\u0061": 2}}',
    # Many keys, so that a search for the second one in quadratic time would hold up all other requests for a minute.
    "a key twice among many": b'{"task": "greet", "args": {%s, "a39999": 0}}' % b", ".join(b'"a%d": 0' % n for n in range(40_000)),
    "NaN": b'{"task": "greet", "args": {"a": NaN}}',
    "Infinity": b'{"task": "greet", "args": {"a": -Infinity}}',
    "1e999": b'{"task": "greet", "args": {"a": 1e999}}',
    "many digits": b'{"task": "greet", "args": {"a": ' + b"9" * 5000 + b"}}",
    "401 digits": b'{"task": "greet", "args": {"a": ' + b"9" * 401 + b"}}",
    "a lone surrogate": b'{"task": "greet", "args": {"a": "\\ud800"}}',
    "a lone surrogate in a key": b'{"task": "greet", "args": {"\\udfff": 1}}',
    "NUL": b'{"task": "greet", "args": {"a": "\\u0000"}}',
    "NUL in a key": b'{"task": "greet", "args": {"\\u0000": 1}}',
    "NUL in an option": b'{"task": "greet", "unique_key": "\\u0000"}',
    "a raw control character": b'{"task": "greet", "args": {"a": "\x01"}}',
    "65 levels": b'{"task": "greet", "args": {"a": ' + b"[" * 65 + b"]" * 65 + b"}}",
    "a million levels": b'{"task": "greet", "args": {"a": ' + b"[" * 900_000,
    "too large arguments": b'{"task": "greet", "args": {"a": "' + b"x" * 300_000 + b'"}}',
    "a too large body": b'{"task": "greet", "args": {"a": "' + b"x" * 2_100_000 + b'"}}',
    "an unknown field": b'{"task": "greet", "delya": 1}',
    "an unknown field with escapes": b'{"task": "greet", "\\u001b[2J\\u202e": 1}',
    "wake": b'{"task": "greet", "wake": false}',
    "declared": b'{"task": "greet", "declared": true}',
    "trace_context": b'{"task": "greet", "trace_context": {}}',
    "no task": b'{"args": {}}',
    "a task of pgqueue": b'{"task": "pgqueue.alert"}',
    "a task of hooks": b'{"task": "greet:on_dead"}',
    "a long task": json.dumps({"task": "a" * 128}).encode(),
    "a task with a line end": b'{"task": "greet\\n"}',
    "a bad queue": b'{"task": "greet", "queue": "a b"}',
    "a text as a number": b'{"task": "greet", "priority": "1"}',
    "true as a number": b'{"task": "greet", "priority": true}',
    "a large priority": b'{"task": "greet", "priority": 99999}',
    "a huge priority": b'{"task": "greet", "priority": 1e400}',
    "a negative delay": b'{"task": "greet", "delay": -1}',
    "a delay of centuries": b'{"task": "greet", "delay": 1e9}',
    "a time without a zone": b'{"task": "greet", "run_at": "2030-01-01T00:00:00"}',
    "a wrong day": b'{"task": "greet", "run_at": "2030-02-31T00:00:00Z"}',
    "the year 0001": b'{"task": "greet", "run_at": "0001-01-01T00:00:00+23:59"}',
    "the year 9999": b'{"task": "greet", "run_at": "9999-12-31T23:59:59-23:59"}',
    "run_at and delay": b'{"task": "greet", "run_at": "2030-01-01T00:00:00Z", "delay": 1}',
    "too many tags": json.dumps({"task": "greet", "tags": ["x"] * 33}).encode(),
    "a long tag": json.dumps({"task": "greet", "tags": ["x" * 65]}).encode(),
    "a tag of long characters": json.dumps({"task": "greet", "tags": ["€" * 64]}).encode(),
    "a long key": json.dumps({"task": "greet", "unique_key": "x" * 256}).encode(),
    "ordering without a key": b'{"task": "greet", "ordering": "block"}',
    "throttle without a key": b'{"task": "greet", "throttle": 1}',
    "arguments as a list": b'{"task": "greet", "args": []}',
    "arguments as a text": b'{"task": "greet", "args": "{}"}',
    "large meta": json.dumps({"task": "greet", "meta": {"a": "x" * 70_000}}).encode(),
}  # fmt: skip


def test_a_bad_body_is_refused_with_one_sentence_and_nothing_is_stored(client, db):
    for name, body in BODIES.items():
        answer = client.post("/jobs", content=body, headers={"Content-Type": "application/json"})
        try:
            check_problem(answer)
        except AssertionError as error:
            raise AssertionError(f"the body with {name}") from error
    assert db.execute("select count(*) from pgqueue.jobs").fetchall() == [(0,)]
    near = client.post(
        "/jobs", content=BODIES["an unknown field"], headers={"Content-Type": "application/json"}
    )
    assert near.json()["errors"] == [{"at": "delya", "message": "'delya' is unknown; did you mean delay?"}]


@pytest.mark.parametrize(
    "kind",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json; charset=latin-1",
     "application/jsonp", "application/json, text/plain"],
)  # fmt: skip
def test_a_body_that_is_not_sent_as_json_is_refused(client, kind):
    request = client.build_request(
        "POST", "/jobs", content=b'{"task": "greet"}', headers={} if kind is None else {"Content-Type": kind}
    )
    check_problem(client.send(request), {415})


def test_a_compressed_body_is_refused(client):
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    check_problem(client.post("/jobs", content=b"\x1f\x8b", headers=headers), {415})


PATHS = [
    "/jobs/0", "/jobs/-1", "/jobs/01", "/jobs/1.0", "/jobs/1e3", "/jobs/9223372036854775808", "/jobs/" + "9" * 4000, "/jobs/x",
    "/jobs/%00", "/jobs/%ff", "/jobs/%D9%A1", "/jobs/1%2F..%2F2", "/jobs/..%2F..%2Fetc%2Fpasswd", "/jobs/1%0d%0aX-A:%20b",
    "/jobs/1/", "/jobs/1/nope", "/jobs//1", "//evil.test/jobs", "/.git/config", "/jobs/<script>", "/jobs/1;drop",
    "/jobs?limit=0", "/jobs?limit=201", "/jobs?limit=1e9", "/jobs?limit=", "/jobs?limit=1&limit=2", "/jobs?after=0", "/jobs?after=x",
    "/jobs?state=failde", "/jobs?state=", "/jobs?stat=dead", "/jobs?args=[]", "/jobs?args={", "/jobs?args={%22a%22:NaN}", "/jobs?queue=%00", "/jobs?queue=a%20b",
    "/jobs?task=%ff", "/jobs?error=%ed%a0%80", "/jobs?since=yesterday", "/jobs?since=2030-01-01T00:00:00", "/jobs?worker=99999999999999999999",
    "/jobs?after=9223372036854775808", "/jobs?worker=9223372036854775808", "/jobs?workflow=9999999999999999999",
    "/jobs?error=" + "x" * 101, "/jobs?args=" + "x" * 9000, "/jobs?" + "&".join(f"a{n}=1" for n in range(900)), "/queues?x=1", "/jobs/1?wait=1e99",
]  # fmt: skip


def test_a_bad_path_or_query_is_refused_with_one_sentence(client, db):
    add_jobs(db)
    with closing(socket.create_connection(("127.0.0.1", client.port))) as line:
        answers = line.makefile("rb")
        for path in PATHS:
            host = "Host: localhost\r\n" + "Authorization: " + client.headers["authorization"] + "\r\n"
            target = path if path.startswith("//") else "/api/v1" + path
            line.sendall(f"GET {target} HTTP/1.1\r\n{host}\r\n".encode("latin-1"))
            code, headers, body = received(answers)
            assert 400 <= code < 500, (path[:100], code, body[:300])
            if headers.get("content-type") == "application/problem+json":
                assert json.loads(body)["detail"].isprintable()
            assert headers.get("x-a") is None


def received(answers):
    """Reads one answer of HTTP/1.1 from a line that stays open."""
    code = int(answers.readline().split()[1])
    headers = {}
    while text := answers.readline().strip():
        name, _, value = text.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return code, headers, answers.read(int(headers.get("content-length", 0)))


def test_methods_that_a_route_does_not_have_are_refused_and_no_header_changes_the_method(client, db):
    [job_id] = add_jobs(db)
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECTX"):
        said = check_problem(client.request(method, f"/jobs/{job_id}"), {405})
        assert "not possible" in said["detail"]
    forged = {"X-HTTP-Method-Override": "POST", "X-Method-Override": "POST"}
    check_problem(client.get(f"/jobs/{job_id}/cancel", headers=forged), {405})
    check_problem(client.get(f"/jobs/{job_id}/cancel", params={"_method": "POST"}), {405})
    assert db.execute("select state from pgqueue.jobs").fetchall() == [("pending",)]


def test_values_of_jobs_cannot_act_on_a_terminal_or_a_page_and_come_back_exactly(client):
    values = [
        "\x1b[2J\x7f\x9b\u202e\u2028</script><img src=x onerror=alert(1)>",
        "\U0001f600é",
        "\\u0000",
        "a" * 100,
    ]
    stored = client.post(
        "/jobs", json={"task": "greet", "args": {value: value for value in values}, "tags": values[:1]}
    )
    answer = client.get(f"/jobs/{stored.json()['id']}")
    assert answer.json()["args"] == {value: value for value in values}
    assert answer.text.isascii()
    assert answer.text.isprintable()
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_numbers_that_only_the_database_can_hold_are_shown_as_they_are(client, db):
    db.execute(
        "insert into pgqueue.jobs (task, args) values ('t', '{\"a\": 1e300, \"b\": 123456789012345678901234567890}')"
    )
    db.execute("alter domain pgqueue.job_args drop constraint if exists job_args_check")
    answer = client.get("/jobs")
    assert answer.status_code == 200
    assert answer.json()["items"][0]["args"]["b"] == 123456789012345678901234567890


def test_a_body_that_never_arrives_does_not_keep_the_server_busy(client, tokens):
    head = (
        f"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: {client.headers['authorization']}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    lines = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(100)]
    for line in lines:
        line.sendall(head.encode())
    assert client.get("/queues").status_code == 200
    for line in lines:
        line.close()


def test_ten_wrong_tokens_lock_the_address_out(dsn, tokens):
    token = tokens.add()
    with served(api.create(dsn, access=tokens.access())) as port, Client(port, "wrong") as guesser:
        codes = [guesser.get("/jobs").status_code for _ in range(12)]
        assert codes == [401] * 10 + [429] * 2
        said = guesser.get("/jobs", headers={"Authorization": f"Bearer {token}"})
        assert (said.status_code, 1 <= int(said.headers["retry-after"]) <= 61) == (429, True)


def test_a_websocket_is_closed(client):
    head = (
        f"GET /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: {client.headers['authorization']}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with closing(socket.create_connection(("127.0.0.1", client.port))) as line:
        line.sendall(head.encode())
        assert not line.recv(100).startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize("kind", ["enqueuer", "reader"])
def test_a_database_role_with_few_rights_limits_the_api(dsn, tokens, granted, db, kind):
    [job_id] = add_jobs(db)
    with (
        served(api.create(granted(kind), access=tokens.access())) as port,
        Client(port, tokens.add()) as client,
    ):
        assert client.get("/queues").status_code == (200 if kind == "reader" else 503)
        assert client.get(f"/jobs/{job_id}").status_code == (200 if kind == "reader" else 503)
        assert client.post("/jobs", json={"task": "greet"}).status_code == (503 if kind == "reader" else 202)
        check_problem(client.post(f"/jobs/{job_id}/cancel"), {503})
    assert wait_until(
        lambda: db.execute("select state from pgqueue.jobs where id = %s", [job_id]).fetchall()
    ) == [("pending",)]
