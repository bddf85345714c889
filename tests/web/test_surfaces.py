"""SQL, ``pgq``, the page and the HTTP API say the same about jobs, and none of them shows a secret value."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from psycopg import Connection

from pgqueue.ui.access.access import Access
from pgqueue.ui.access.who import Role, Who
from pgqueue.ui.reading.pages import PAGES
from tests.command_line import Done
from tests.full_queue import fill
from tests.process.test_redaction import canary, finished
from tests.web.conftest import Server

__all__ = ["canary", "finished"]  # fixtures

Db = Connection[Any]
Pgq = Callable[..., Done]


@pytest.fixture
def site(serve: Callable[..., Server]) -> Server:
    return serve(tokens=False, access=Access(anonymous=Who("ann", Role.admin)))


def by_page(site: Server, path: str) -> Any:
    return site.as_(Accept="application/json").get(path).json()


def by_http(site: Server, path: str) -> Any:
    return site.as_(Accept="application/json").get(f"/api/v1{path}").json()


def by_command(pgq: Pgq, *words: str) -> Any:
    done = pgq(*words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_four_ways_count_the_same_jobs_waiting_active_completed_failed_and_delayed(
    db: Db, pgq: Pgq, site: Server
):
    fill(db, "plain")
    queues = db.execute(
        "select queue, due, running, scheduled, waiting from pgqueue.queue_depth order by queue"
    ).fetchall()
    names = ("queue", "due", "running", "scheduled", "waiting")
    assert sum(row[1] for row in queues) == 4
    for items in (
        by_command(pgq, "queues", "list")["items"],
        by_page(site, "/queues")["queues"]["items"],
        by_http(site, "/queues")["items"],
    ):
        assert [tuple(item[name] for name in names) for item in items] == queues

    ended = dict(
        db.execute(
            "select state, count(*)::int from pgqueue.jobs where finished_at is not null group by 1"
        ).fetchall()
    )
    assert ended == {"completed": 1, "cancelled": 1, "dead": 1}
    counted = {
        item["state"]: item["count"] for item in by_command(pgq, "jobs", "count", "--by", "state")["items"]
    }
    overview = by_page(site, "/")["counts"]
    for state, number in ended.items():
        assert counted[state] == number
        assert len(by_http(site, f"/jobs?state={state}")["items"]) == number
        assert len(by_page(site, f"/jobs?q=state:{state}")["jobs"]["items"]) == number
        assert overview.get(state, number) == number
    assert overview["due"] == sum(row[1] for row in queues)


def test_four_ways_show_the_same_progress_result_and_reason_of_a_failure(db: Db, pgq: Pgq, site: Server):
    scene = fill(db, "plain")
    [(progress,)] = db.execute("select progress from pgqueue.jobs where id = %s", [scene.jobs["running"]])
    assert by_command(pgq, "jobs", "show", str(scene.jobs["running"]))["progressed"] == progress
    assert by_http(site, f"/jobs/{scene.jobs['running']}")["progress"] == progress
    assert by_page(site, f"/jobs/{scene.jobs['running']}")["job"]["progress"] == "30 % plain"

    [(result,)] = db.execute("select result from pgqueue.jobs where id = %s", [scene.jobs["completed"]])
    assert by_command(pgq, "jobs", "show", str(scene.jobs["completed"]))["result"] == result
    assert by_http(site, f"/jobs/{scene.jobs['completed']}")["result"] == result
    assert by_page(site, f"/jobs/{scene.jobs['completed']}")["result"] == result

    [(error,)] = db.execute("select last_error from pgqueue.jobs where id = %s", [scene.jobs["dead"]])
    assert error == "ValueError: plain"
    assert by_command(pgq, "jobs", "show", str(scene.jobs["dead"]))["last_error"] == error
    assert by_http(site, f"/jobs/{scene.jobs['dead']}")["last_error"] == error
    assert by_page(site, f"/jobs/{scene.jobs['dead']}")["error"] == error


@pytest.mark.parametrize("state", ["completed", "dead", "retrying", "cancelled"])
def test_four_ways_tell_the_same_story_of_a_job(state: str, db: Db, pgq: Pgq, site: Server):
    job = fill(db, "plain").jobs[state]
    story = db.execute(
        "select to_state, reason from pgqueue.job_timeline where job_id = %s order by at, from_state is not null, to_state <> 'running'",
        [job],
    ).fetchall()
    assert [word for word, _ in story] == ["pending", "running", state]
    shown = by_command(pgq, "jobs", "show", str(job))["timeline"]
    assert [(event["to_state"], event["reason"]) for event in shown] == story
    assert [
        (event["to_state"], event["reason"]) for event in by_http(site, f"/jobs/{job}/timeline")["items"]
    ] == story
    assert [
        (event["state"], event["reason"]) for event in by_page(site, f"/jobs/{job}")["timeline"]["items"]
    ] == story


def test_a_stalled_queue_is_an_alert_in_sql_in_the_command_and_on_the_page(db: Db, pgq: Pgq, site: Server):
    db.execute(
        "insert into pgqueue.alerts (kind, subject, queue, text) values ('stalled', 'mail', 'mail', 'No worker serves mail.')"
    )
    [(text,)] = db.execute("select text from pgqueue.alerts where kind = 'stalled'")
    assert [item["text"] for item in by_command(pgq, "alerts", "list")["items"]] == [text]
    assert [item["text"] for item in by_page(site, "/alerts")["alerts"]["items"]] == [text]
    assert text in [notice["text"] for notice in by_page(site, "/")["notices"]]


def store_openly(db: Db, ids: list[int], canary: str) -> int:
    """Writes the secret value into all that is stored about jobs, as a worker did before the value was secret. Returns a workflow's id."""
    flow = {"name": "shop", "nodes": [{"name": "a", "task": "pay", "args": {"key": canary}}]}
    [(workflow,)] = db.execute("select id from pgqueue.enqueue_workflow(%s)", [json.dumps(flow)]).fetchall()
    db.execute(
        "update pgqueue.nodes set state = 'dead', ended_at = now(), error = %s where workflow_id = %s",
        [canary, workflow],
    )
    said = [f"ValueError: with {canary}", f'File "shop.py", line 1, in pay\n{canary}']
    db.execute(
        "update pgqueue.jobs set last_error = %s, last_traceback = %s where id = any(%s)", [*said, ids]
    )
    db.execute("update pgqueue.transitions set error = %s, traceback = %s where error is not null", said)
    db.execute(
        "update pgqueue.transitions set error = %s, traceback = null where job_id = %s",
        [f"1 {canary} 2", ids[3]],
    )
    db.execute(
        "insert into pgqueue.job_lines (job_id, attempt, at, level, logger, text)"
        " select unnest(%s::bigint[]), 1, now(), 'INFO', 'shop', %s",
        [ids, canary],
    )
    return int(workflow)


@pytest.mark.parametrize("is_open", [False, True])
def test_no_surface_shows_a_secret_value(
    is_open: bool,
    finished: tuple[Done, list[int]],
    db: Db,
    canary: str,
    serve: Callable[..., Server],
    pgq: Pgq,
):
    _, ids = finished
    site = serve(tokens=False, access=Access(anonymous=Who("ann", Role.admin)), actions=True)
    workflow = store_openly(db, ids, canary) if is_open else None
    db.execute(
        "insert into pgqueue.schedules (name, task, cron, args) values ('paying', 'pay', '0 * * * *', %s)",
        [json.dumps({"key": canary, "card": {"number": canary, "owner": "Ada"}})],
    )
    groups = [item["origin"] for item in by_page(site, "/errors")["errors"]["items"]]
    assert groups
    plain = [route.path for route in PAGES if "{" not in route.path]
    fingerprints = [
        row[0]
        for row in db.execute(
            "select distinct pgqueue.fingerprint(error, traceback) from pgqueue.transitions where error is not null"
        )
    ]
    pages = [
        *plain,
        *(f"/jobs/{one}" for one in ids),
        "/schedules/paying",
        "/queues/default",
        *(f"/errors/{one}" for one in fingerprints),
        *([f"/workflows/{workflow}"] if workflow else []),
    ]
    for path in pages:
        for form in ("html", "json", "text"):
            answer = site.as_().get(path, params={"format": form})
            assert answer.status_code == 200, path
            assert canary not in answer.text, (path, form)
    for path in [
        "/jobs",
        "/queues",
        "/workers",
        *(f"/jobs/{one}{part}" for one in ids for part in ("", "/timeline", "/why", "/result")),
    ]:
        assert canary not in site.as_(Accept="application/json").get(f"/api/v1{path}").text, path
    commands = [
        ["errors", "list"],
        *(["errors", "show", one] for one in fingerprints),
        *(["jobs", "show", str(one), "--logs"] for one in ids),
        *(["why", str(one)] for one in ids),
        ["events", "tail", "--since", "1h", "--limit", "5"],
        *([["workflows", "show", str(workflow)]] if workflow else []),
    ]
    for words in commands:
        for shape in ([], ["--json"]):
            done = pgq(*words, *shape)
            assert done.code == 0, done.err
            assert canary not in done.out + done.err, words
    if is_open:
        for words in (["jobs", "list"], ["jobs", "show", str(ids[3]), "--logs"]):
            assert canary in pgq(*words, "--json", "--reveal").out, words
        assert all(item["error"] for item in by_command(pgq, "jobs", "show", str(ids[3]))["transitions"])


def answers(site: Server, pgq: Pgq, option: str, value: Any) -> list[object]:
    """Searches in each way. Returns what a person learns: the exit code or status, and what was found."""
    http = site.as_(Accept="application/json")
    if option == "args":
        name, leaf = next(iter(value.items()))
        while isinstance(leaf, dict):
            inner, leaf = next(iter(leaf.items()))
            name += f".{inner}"
        words, value = f"args.{name}:{json.dumps(leaf)}", json.dumps(value)
    else:
        words = f"{option}:{json.dumps(value)}"
    given = ("--" + option.replace("_", "-"), value, "--json")
    page = http.get("/jobs", params={"q": words})
    table = page.json().get("jobs")
    listed = http.get("/api/v1/jobs", params={option: value})
    commands = [
        pgq("jobs", "list", *given),
        pgq("jobs", "count", *given),
        pgq("jobs", "delete", *given, "--dry-run"),
        pgq("jobs", "export", *given[:2]),
    ]
    for done in commands:
        assert "Traceback" not in done.err
    return [
        page.status_code,
        table and ([row["id"] for row in table["items"]], table.get("next")),
        listed.status_code,
        [(job["id"], job["state"]) for job in listed.json().get("items", ())],
        listed.json().get("next"),
        [(done.code, done.out) for done in commands],
    ]


def test_a_search_cannot_be_used_to_guess_a_secret_value(
    finished: tuple[Done, list[int]], canary: str, db: Db, site: Server, pgq: Pgq
):
    _, ids = finished
    store_openly(db, ids, canary)
    [(unique,)] = db.execute("select unique_key from pgqueue.jobs where id = %s", [ids[0]]).fetchall()
    assert canary in unique
    db.execute(
        "update pgqueue.jobs set concurrency_key = %s, tags = %s where id = any(%s)",
        [f"of {canary}", [canary], ids],
    )

    def guesses(text: str) -> list[tuple[str, Any]]:
        return [
            ("args", {"key": text}),
            ("args", {"password": text}),
            ("args", {"card": {"number": text}}),
            ("args", {"job": {"args": {"key": text}}}),
            ("args", {"job": {"result": text}}),
            ("error", f"with {text[:9]}"),
            ("error", text[:9].lower()),
            ("unique_key", unique.replace(canary, text)),
            ("concurrency_key", f"of {text}"),
            ("tag", text),
        ]

    for (option, right), (_, wrong) in zip(guesses(canary), guesses("WRONG-WRONG"), strict=True):
        assert answers(site, pgq, option, right) == answers(site, pgq, option, wrong), (option, right)
    refused = pgq("jobs", "list", "--arg", "password=x")
    assert (refused.code, refused.out) == (2, "")
    assert "The search asks for a secret value." in refused.err
    derived = 'pgq:args:{"password": "x"}'
    for path, params in (
        ("/jobs", {"q": f"unique_key:{json.dumps(derived)}"}),
        ("/api/v1/jobs", {"unique_key": derived}),
    ):
        answer = site.as_(Accept="application/json").get(path, params=params)
        assert 400 <= answer.status_code < 500
        assert "asks for a secret value" in answer.text
    assert str(ids[0]) in pgq("jobs", "list", "--arg", f"key={canary}", "--reveal").out
    for option, value in (("args", {"card": {"owner": "Ada"}}), ("args", {"user": "bad"})):
        assert answers(site, pgq, option, value)[3] != []


def test_a_search_finds_the_error_of_a_job_whose_secret_values_are_not_in_it(
    finished: tuple[Done, list[int]], canary: str, site: Server, pgq: Pgq
):
    found = answers(site, pgq, "error", "was refused")
    assert found[3] == [(str(finished[1][1]), "dead")]


def test_a_port_that_is_taken_is_an_error_in_one_sentence(pgq: Pgq):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = pgq("web", "--port", str(taken.getsockname()[1]))
    assert refused.code == 2
    assert "pgq web cannot listen on 127.0.0.1" in refused.err
    assert "Traceback" not in refused.err


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("queue", "begin it with a slash"),
        ("//evil.test", "begin it with a slash"),
        ("/jobs", "also the path of a page"),
    ],
)
def test_a_base_path_that_cannot_work_is_refused_in_one_sentence(
    path: str, said: str, pgq: Pgq, tmp_path: Path
):
    pgq("api", "token", "--name", "ann", "--file", str(tmp_path / "tokens.toml"))
    refused = pgq("web", "--port", "0", "--tokens", str(tmp_path / "tokens.toml"), "--base-path", path)
    assert refused.code == 2
    assert said in refused.err


def test_the_address_that_pgq_web_prints_shows_the_page(dsn: str, pgq: Pgq, tmp_path: Path):
    tokens = tmp_path / "tokens.toml"
    token = pgq("api", "token", "--name", "ann", "--file", str(tokens)).out.strip()
    process = subprocess.Popen(
        [sys.executable, "-m", "pgqueue", "web", "--dsn", dsn, "--port", "0", "--tokens", str(tokens), "--base-path", "/queue"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        address = process.stderr.readline().split()[-1]
        assert address.endswith("/queue/")
        sent = {"Authorization": f"Bearer {token}"}
        for each in (address, address.removesuffix("queue/")):
            answer = httpx2.get(each, headers=sent, timeout=60)
            assert (answer.status_code, 'href="/queue/static/' in answer.text) == (200, True)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_page_and_command_retry_the_same_dead_jobs_of_an_error(
    db: Db, pgq: Pgq, serve: Callable[..., Server]
):
    site = serve(tokens=False, access=Access(anonymous=Who("ann", Role.admin)), actions=True)
    db.execute(
        "insert into pgqueue.jobs_dead (id, task, state, args, finished_at, last_error)"
        " select nextval('pgqueue.jobs_id_seq'), 't' || g % 3, 'dead', '{}', now(), 'ValueError: no' from generate_series(1, 2500) g"
    )
    [(fingerprint,)] = db.execute("select pgqueue.fingerprint('ValueError: no', null)")
    by_command_changed = by_command(pgq, "errors", "retry", fingerprint, "--dry-run")["items"]
    assert len(by_command_changed) == 2500
    assert "Retry 2,500 jobs?" in site.act("retry", fingerprint=fingerprint).text


def test_one_person_has_one_name_in_the_audit_on_every_surface(dsn: str, db: Db, pgq: Pgq):
    process = subprocess.Popen(
        [sys.executable, "-m", "pgqueue", "web", "--dsn", dsn, "--port", "0", "--allow-actions"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        address = process.stderr.readline().split()[-1]
        answer = httpx2.post(f"{address}actions", data={"action": "pause", "queue": "mail"}, timeout=60)
        assert answer.status_code == 303, answer.text
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert pgq("queues", "resume", "mail").code == 0
    rows = db.execute("select source, actor from pgqueue.audit order by id").fetchall()
    assert [source for source, _ in rows] == ["web", "cli"]
    assert rows[0][1] == rows[1][1]
