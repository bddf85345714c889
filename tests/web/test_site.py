"""The web page by HTTP: who gets which answer in which form, with which headers, and what an action does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import psycopg
import pytest
from psycopg import Connection
from starlette.applications import Starlette
from starlette.routing import Mount

from pgqueue.ui.access.access import Access
from pgqueue.ui.access.who import Role, Who
from pgqueue.ui.reading.pages import PAGES
from pgqueue.ui.reading.search import QUALIFIERS
from pgqueue.ui.web import create
from pgqueue.ui.web.prefix import Under
from tests.factories import add_jobs, enqueue, look
from tests.full_queue import CORPUS, Scene, fill
from tests.waiting import wait_until
from tests.web.conftest import TOKENS, Server, serving

ROOT = Path(__file__).parents[2]
Serve = Callable[..., Server]
Db = Connection[Any]


def paths(scene: Scene) -> list[str]:
    """Returns an address for each page."""
    parts = {
        "job": scene.jobs["dead"], "queue": "default", "limit": scene.limit, "worker": scene.worker, "workflow": scene.workflow,
        "batch": scene.batch, "schedule": scene.schedule, "action": scene.action, "fingerprint": scene.fingerprint,
    }  # fmt: skip
    return [route.path.format(**parts) for route in PAGES]


def acted(answer: httpx2.Response) -> str:
    """Returns the number of the action that was done."""
    assert answer.status_code == 303, answer.text
    [found] = re.findall(r"done=(\d+)", answer.headers["location"])
    return str(found)


# ------------------------------------------------------------------ forms of answers


def test_each_page_answers_a_browser_in_html_a_program_in_json_and_a_terminal_in_text(db: Db, serve: Serve):
    scene = fill(db)
    site = serve(tokens=False)
    for path in paths(scene):
        html = site.as_().get(path)
        assert (html.status_code, html.headers["content-type"]) == (200, "text/html; charset=utf-8"), path
        program = site.as_(Accept="application/json").get(path)
        assert json.loads(program.text)["path"].partition("?")[0] == path
        terminal = site.as_(Accept="*/*", **{"User-Agent": "curl/8.1"}).get(path)
        assert terminal.headers["content-type"] == "text/plain; charset=utf-8"
        assert "\x1b" not in terminal.text
        assert site.as_().get(path + "?format=json").headers["content-type"] == "application/json"


class Markup(HTMLParser):
    """The tags of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_no_text_of_a_job_becomes_markup(db: Db, serve: Serve):
    scene = fill(db)
    site = serve(actions=True)
    for path in [*paths(scene), *("/jobs?" + urlencode({"q": text}) for text in CORPUS)]:
        tags = Markup(site.as_(Role.admin).get(path).text).tags
        assert sum(tag == "script" for tag, _ in tags) == 4, path
        assert not {tag for tag, _ in tags} & {
            "iframe",
            "object",
            "base",
            "math",
            "video",
            "style",
            "img",
            "embed",
        }, path
        for tag, attributes in tags:
            assert not [name for name in attributes if name.startswith(("on", "hx-", "style"))], (path, tag)
            for name in ("href", "src", "action"):
                assert (attributes.get(name) or "/").startswith(("/", "#")), (path, tag)


@pytest.mark.parametrize(
    "path", ["/", "/jobs", "/nosuch", "/jobs/999", "/static/app.css", "/live?at=/nosuch"]
)
def test_each_answer_forbids_scripts_frames_and_other_servers(path: str, serve: Serve):
    headers = serve(tokens=False).as_().get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "'unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    if not path.startswith("/static"):
        assert headers["cache-control"] == "no-store"


def test_no_page_names_another_server(db: Db, serve: Serve):
    scene = fill(db, "plain")
    site = serve(tokens=False)
    for path in paths(scene):
        text = site.as_().get(path).text
        for address in re.findall(r'(?:href|src|action)="([^"]*)"', text):
            assert address.startswith(("/", "#")), address


def test_each_link_of_each_page_leads_somewhere(db: Db, serve: Serve):
    scene = fill(db, "plain")
    site = serve(tokens=False, actions=True, access=Access(anonymous=Who("local", Role.admin)))
    client = site.as_()
    seen: set[str] = set()
    for path in paths(scene):
        for tag, attributes in Markup(client.get(path).text).tags:
            link = attributes.get("href") or ""
            if tag == "a" and link.startswith("/") and link not in seen:
                seen.add(link)
                assert client.get(link).status_code == 200, (path, link)
    assert len(seen) > 40


# ------------------------------------------------------------------ who is served


def test_without_tokens_programs_on_this_machine_may_read_and_nobody_may_act(db: Db, serve: Serve):
    job = enqueue(db)
    site = serve(tokens=False)
    assert site.as_().get("/jobs").status_code == 200
    assert "Cancel" not in site.as_().get(f"/jobs/{job}").text
    answer = site.as_().post("/actions", data={"action": "cancel", "id": job, "confirmed": "yes"})
    assert answer.status_code == 403
    assert look(db, job) == "pending"


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via"])
def test_a_request_that_a_proxy_passes_on_needs_a_token(header: str, serve: Serve):
    site = serve(tokens=False)
    assert site.as_(**{header: "1.2.3.4"}).get("/").status_code == 401


def test_with_tokens_every_address_needs_one(serve: Serve):
    site = serve()
    for path in ("/", "/jobs", "/nosuch", "/live?at=/"):
        answer = site.as_().get(path)
        assert answer.status_code == 401, path
        assert "Basic" in answer.headers["www-authenticate"]
        with site.as_(Role.viewer).stream("GET", path) as served:
            assert served.status_code == (404 if path == "/nosuch" else 200)
    assert site.as_(Authorization="Bearer wrong").get("/").status_code == 401


@pytest.mark.parametrize("host", ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test", ""])
def test_a_request_to_another_host_name_is_refused(host: str, serve: Serve):
    assert serve(tokens=False).as_(Host=host).get("/").status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
    ],
)
def test_an_action_that_another_site_sends_is_refused(headers: dict[str, str], db: Db, serve: Serve):
    job = enqueue(db)
    site = serve(actions=True)
    client = site.as_(Role.admin, **headers)
    answer = client.post("/actions", data={"action": "cancel", "id": job, "confirmed": "yes"})
    assert answer.status_code == 403
    assert look(db, job) == "pending"


def test_no_action_is_done_by_get(db: Db, serve: Serve):
    site = serve(actions=True)
    job = enqueue(db)
    answer = site.as_(Role.admin).get(f"/actions?action=cancel&id={job}&confirmed=yes")
    assert answer.status_code == 405
    assert look(db, job) == "pending"


@pytest.mark.parametrize(
    ("action", "fields", "least"),
    [
        ("cancel", {"id": "1"}, Role.operator),
        ("retry", {"id": "1"}, Role.operator),
        ("delete", {"id": "1"}, Role.operator),
        ("undo", {"audit": "1"}, Role.operator),
        ("pause", {"queue": "default"}, Role.admin),
        ("set_limit", {"limit": "1", "allows": "5"}, Role.admin),
        ("run_schedule", {"schedule": "nightly"}, Role.admin),
    ],
)
def test_a_role_that_is_too_low_is_refused_and_changes_nothing(
    action: str, fields: dict[str, str], least: Role, db: Db, serve: Serve
):
    fill(db)
    before = db.execute("select id, state, priority from pgqueue.jobs order by id").fetchall()
    site = serve(actions=True)
    for role in Role:
        if role < least:
            answer = site.act(action, role, confirmed="yes", **fields)
            assert answer.status_code == 403
            assert f"may not {'' if action != 'undo' else 'undo'}" in answer.text
    assert db.execute("select id, state, priority from pgqueue.jobs order by id").fetchall() == before
    assert db.execute(
        "select count(*) from pgqueue.audit where action not in ('pause', 'resume') or actor = any(%s)",
        [[role.name for role in Role]],
    ).fetchone() == (0,)


# ------------------------------------------------------------------ actions


def test_an_action_on_one_job_is_done_audited_and_undone(db: Db, serve: Serve):
    site = serve(actions=True)
    job = enqueue(db)
    audit = acted(site.act("cancel", id=job, confirmed="yes", back=f"/jobs/{job}"))
    assert look(db, job) == "cancelled"
    assert db.execute(
        "select actor, source, action from pgqueue.audit where id = %s", [audit]
    ).fetchone() == ("admin", "web", "cancel")
    assert "1 job cancelled" in site.as_(Role.admin).get(f"/jobs/{job}?done={audit}").text
    acted(site.act("undo", audit=audit))
    assert look(db, job) == "pending"


def test_a_careful_action_asks_first_and_counts_what_it_would_change(db: Db, serve: Serve):
    site = serve(actions=True)
    add_jobs(db, count=3, queue="mail")
    done = enqueue(db, queue="mail")
    db.execute("update pgqueue.jobs_live set cancel_requested = false where id = %s", [done])
    answer = site.act("cancel", q="queue:mail", all="yes")
    assert answer.status_code == 200
    assert "Cancel 4 jobs?" in answer.text
    assert db.execute("select count(*) from pgqueue.jobs where state = 'cancelled'").fetchone() == (0,)
    acted(site.act("cancel", q="queue:mail", all="yes", confirmed="yes"))
    assert db.execute("select count(*) from pgqueue.jobs where state = 'cancelled'").fetchone() == (4,)


def test_the_dead_jobs_of_an_error_are_counted_before_they_are_retried(db: Db, serve: Serve):
    site = serve(actions=True)
    scene = fill(db, "plain")
    page = site.as_(Role.admin).get(f"/errors/{scene.fingerprint}").text
    assert "Retry dead jobs…</button>" in page
    assert 'name="confirmed"' not in page
    answer = site.act("retry", fingerprint=scene.fingerprint)
    assert answer.status_code == 200
    assert "Retry 1 job?" in answer.text
    assert look(db, scene.jobs["dead"]) == "dead"
    acted(site.act("retry", fingerprint=scene.fingerprint, confirmed="yes"))
    assert look(db, scene.jobs["dead"]) == "pending"


@pytest.mark.parametrize("action", ["retry", "run_now", "cancel", "delete", "edit"])
def test_an_action_on_jobs_that_nobody_named_one_by_one_asks_first(action: str, db: Db, serve: Serve):
    site = serve(actions=True)
    scene = fill(db, "plain")
    before = db.execute("select id, state, run_at from pgqueue.jobs order by id").fetchall()
    for fields in ({"all": "yes", "q": ""}, {"fingerprint": scene.fingerprint}):
        answer = site.act(action, **fields)
        assert (answer.status_code, 'name="confirmed"' in answer.text) == (200, True)
    assert db.execute("select id, state, run_at from pgqueue.jobs order by id").fetchall() == before


def test_a_retry_of_a_batch_asks_first(serve: Serve):
    answer = serve(actions=True).act("retry_batch", batch=1)
    assert (answer.status_code, "Retry failed jobs?" in answer.text) == (200, True)


def test_an_action_by_an_unclear_search_changes_nothing(db: Db, serve: Serve):
    site = serve(actions=True)
    job = enqueue(db)
    answer = site.act("cancel", q="quue:mail", all="yes", confirmed="yes")
    assert answer.status_code == 422
    assert "did you mean queue" in answer.text
    assert look(db, job) == "pending"


def test_an_action_on_a_job_that_has_moved_on_says_so(db: Db, serve: Serve):
    site = serve(actions=True)
    scene = fill(db, "plain")
    answer = site.act("retry", id=scene.jobs["completed"], confirmed="yes")
    assert answer.status_code == 409
    assert "it is completed" in answer.text
    assert site.act("retry", id=987654321, confirmed="yes").status_code == 409


def test_a_job_is_edited_by_the_form_that_the_page_shows(db: Db, serve: Serve):
    site = serve(actions=True)
    job = enqueue(db)
    asked = site.act("edit", id=job)
    assert 'name="priority"' in asked.text
    acted(site.act("edit", id=job, confirmed="yes", priority="-5", queue="mail", run_at="2h"))
    assert look(db, job, "priority, queue, run_at > now() + interval '1 hour'") == (-5, "mail", True)
    for wrong in (
        {"priority": "x"},
        {"priority": "99999"},
        {"queue": "a b"},
        {"run_at": "tomorrow"},
        {"run_at": "2026-01-01T00:00"},
        {},
    ):
        assert site.act("edit", id=job, confirmed="yes", **wrong).status_code == 422


def test_settings_are_changed_and_audited(db: Db, serve: Serve):
    scene = fill(db, "plain")
    site = serve(actions=True)
    acted(site.act("pause", queue="mail"))
    assert db.execute("select paused from pgqueue.queues where name = 'mail'").fetchone() == (True,)
    acted(site.act("resume", queue="mail"))
    acted(site.act("set_limit", limit=scene.limit, allows="7", confirmed="yes"))
    assert db.execute("select concurrency from pgqueue.limits").fetchall() == [(7,)]
    acted(site.act("pause_schedule", schedule="nightly"))
    assert db.execute("select paused from pgqueue.schedules").fetchall() == [(True,)]
    acted(site.act("resume_schedule", schedule="nightly"))
    acted(site.act("run_schedule", schedule="nightly"))
    acted(site.act("cancel_workflow", workflow=scene.workflow, confirmed="yes"))
    acted(site.act("remove_limit", limit=scene.limit, confirmed="yes"))
    assert db.execute("select count(*) from pgqueue.limits").fetchone() == (0,)
    [(alert,)] = db.execute("select id from pgqueue.alerts")
    acted(site.act("resolve_alert", id=alert))
    [(words,)] = db.execute(
        "select array_agg(action order by action) from pgqueue.audit where actor = 'admin'"
    )
    assert words == [
        "cancel_workflow", "pause", "pause_schedule", "remove_limit", "resolve_alert", "resume", "resume_schedule", "run_schedule", "set_limit",
    ]  # fmt: skip


def test_a_workflow_is_retried_from_a_node(db: Db, serve: Serve):
    from pgqueue.model.outcome import Outcome
    from tests import workflows
    from tests.worker_by_hand import Hand

    flow = workflows.store(db, workflows.node("first"), workflows.node("second", "first"))
    hand = Hand(db, ["t"])
    [attempt] = hand.claim()
    assert hand.settle(attempt, Outcome.dead("given_up", ValueError("no")))
    site = serve(actions=True)
    assert 'name="node"' in site.act("retry_workflow", workflow=flow).text
    acted(site.act("retry_workflow", workflow=flow, node="first", confirmed="yes"))
    assert look(db, attempt.id) == "pending"


def test_a_long_action_leads_to_its_row_in_the_audit_which_shows_how_far_it_is(
    db: Db, serve: Serve, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pgqueue.ui.web.acting.PATIENCE", 0.0)
    site = serve(actions=True)
    add_jobs(db, count=3000)
    answer = site.act("cancel", q="", all="yes", confirmed="yes")
    assert answer.status_code == 303
    assert "/audit" in answer.headers["location"]
    cancelled = "select count(*) from pgqueue.jobs where state = 'cancelled'"
    wait_until(lambda: db.execute(cancelled).fetchone() == (3000,))
    wait_until(lambda: "3,000 jobs cancelled" in site.as_(Role.admin).get("/audit").text)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", "application/json"),
        (b"action=cancel&id=1", "text/plain"),
        (b"action=cancel&id=" + b"9" * 30, "application/x-www-form-urlencoded"),
        (b"action=nosuch", "application/x-www-form-urlencoded"),
        (b"action=cancel&id=%00", "application/x-www-form-urlencoded"),
        (b"action=cancel&id=\xff", "application/x-www-form-urlencoded"),
        (b"action=cancel", "application/x-www-form-urlencoded"),
        (b"action=cancel&" + b"id=1&" * 2000, "application/x-www-form-urlencoded"),
        (b"a=" + b"x" * 100_000, "application/x-www-form-urlencoded"),
        (b"", "application/x-www-form-urlencoded"),
    ],
)
def test_a_bad_form_is_refused_with_one_sentence(body: bytes, kind: str, serve: Serve):
    site = serve(actions=True)
    answer = site.as_(Role.admin, **{"Content-Type": kind}).post("/actions", content=body)
    assert answer.status_code == 422
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "back", ["//evil.test", "https://evil.test", "/\\evil.test", "javascript:alert(1)", "/\r\nX: y", ""]
)
def test_an_action_never_leads_to_another_server(back: str, db: Db, serve: Serve):
    site = serve(actions=True)
    answer = site.act("cancel", id=enqueue(db), confirmed="yes", back=back)
    assert re.fullmatch(r"/\?done=\d+", answer.headers["location"])


# ------------------------------------------------------------------ errors


def test_errors_are_pages_that_say_what_to_do(db: Db, serve: Serve):
    site = serve(tokens=False)
    for path, code, said in (
        ("/nosuch", 404, "There is no such page."),
        ("/jobs/987654", 404, "987654"),
        ("/jobs/abc", 404, "whole number"),
        ("/queues/nosuch", 404, "There is no queue"),
        ("/jobs?q=" + "x" * 3000, 414, "too long"),
    ):
        answer = site.as_().get(path)
        assert (answer.status_code, said in answer.text) == (code, True), path
        assert site.as_(Accept="application/json").get(path).json()["error"]["message"]


@pytest.mark.parametrize(
    "query",
    [
        "before=-1",
        "before=99999999999999999999999",
        "before=x",
        "q=%00",
        "q=%ff%fe",
        "q=" + "a" * 1900,
        "state=%F0%9F%92%A9",
        "window=99y",
        "x=1&x=2",
    ],
)
def test_odd_parameters_are_no_server_errors(query: str, db: Db, serve: Serve):
    fill(db, "plain")
    site = serve(tokens=False)
    for page in ("/jobs", "/workflows", "/stats", "/audit", "/queues"):
        assert site.as_().get(f"{page}?{query}").status_code in (200, 400, 422), page


def test_a_page_without_a_database_explains_itself_and_heals_when_the_database_is_back(
    dsn: str, db: Db, connect, admin: str, serve: Serve
):
    site = serve(tokens=False, dsn="postgresql://nobody@127.0.0.1:1/none")
    answer = site.as_().get("/")
    assert answer.status_code == 503
    assert 'http-equiv="refresh"' in answer.text
    assert "127.0.0.1" in answer.text


def test_a_page_without_the_schema_names_the_command_that_makes_it(empty_dsn: str, serve: Serve):
    answer = serve(tokens=False, dsn=empty_dsn).as_().get("/")
    assert answer.status_code == 503
    assert "pgq migrate" in answer.text


def test_the_password_of_the_database_is_on_no_page(serve: Serve):
    site = serve(tokens=False, dsn="postgresql://nobody:CANARY-secret@127.0.0.1:1/none")
    for form in ("html", "json", "text"):
        assert "CANARY" not in site.as_().get(f"/?format={form}").text


# ------------------------------------------------------------------ in other apps


def test_the_page_works_inside_another_app_and_behind_a_prefix(dsn: str, db: Db):
    scene = fill(db, "plain")
    app = Starlette(
        routes=[
            Mount(
                "/tools/jobs",
                create(dsn, actions=True, access=Access(anonymous=None, authenticate=lambda _scope: None)),
            )
        ]
    )
    app = Starlette(
        routes=[
            Mount(
                "/tools/jobs",
                create(dsn, actions=True, access=Access(authenticate=lambda _: Who("ann", Role.admin))),
            )
        ]
    )
    with serving(app) as site:
        for path in paths(scene):
            text = site.as_().get("/tools/jobs" + path).text
            for address in re.findall(r'(?:href|src|action|data-live)="(/[^"]*)"', text):
                assert address.startswith("/tools/jobs/"), address
        answer = site.as_().post(
            "/tools/jobs/actions", data={"action": "pause", "queue": "mail", "back": "/queues"}
        )
        assert answer.headers["location"].startswith("/tools/jobs/queues?done=")
        assert site.as_().get("/tools/jobs/static/app.css").status_code == 200


@pytest.mark.parametrize("sent", ["/queue", ""], ids=["the proxy keeps the prefix", "the proxy takes it off"])
def test_a_proxy_can_show_the_page_under_a_path(sent: str, dsn: str, db: Db):
    scene = fill(db, "plain")
    access = Access(authenticate=lambda _: Who("ann", Role.admin))
    with serving(Under(create(dsn, actions=True, access=access), "/queue")) as site:
        for path in paths(scene):
            answer = site.as_().get(sent + path)
            assert answer.status_code == 200, path
            for address in re.findall(r'(?:href|src|action|data-live)="(/[^"]*)"', answer.text):
                assert address.startswith("/queue/"), address
        assert site.as_().get(f"{sent}/static/app.css").status_code == 200
        job = site.as_(Accept="application/json").get(f"{sent}/api/v1/jobs/{enqueue(db)}/timeline")
        assert job.status_code == 200
        answer = site.as_().post(
            f"{sent}/actions", data={"action": "pause", "queue": "mail", "back": "/queues"}
        )
        assert answer.headers["location"].startswith("/queue/queues?done=")
        assert site.as_().get("/queue").status_code == 200


def test_the_api_is_beside_the_pages_and_admits_its_callers_itself(db: Db, serve: Serve):
    site = serve()
    job = enqueue(db)
    answer = site.as_(Role.viewer, Accept="application/json").get(f"/api/v1/jobs/{job}")
    assert (answer.status_code, answer.json()["state"]) == (200, "pending")
    assert site.as_().get("/api/v1/jobs").status_code == 401
    assert site.as_(Role.viewer).get("/api/v1/openapi.json").json()["openapi"].startswith("3.1")


def test_without_actions_neither_the_page_nor_its_api_changes_anything(db: Db, serve: Serve):
    site = serve()
    job = enqueue(db)
    client = site.as_(Role.admin, Accept="application/json")
    for path, body in (
        ("/jobs", {"task": "t"}),
        (f"/jobs/{job}/cancel", None),
        ("/operations", {"action": "cancel", "jobs": {}}),
    ):
        answer = client.post(f"/api/v1{path}", json=body)
        assert (answer.status_code, answer.json()["detail"]) == (403, "This server only reads.")
        assert "--allow-actions" in answer.json()["do"]
    refused = site.act("cancel", id=job)
    assert (refused.status_code, "--allow-actions" in refused.text) == (403, True)
    assert (look(db, job), db.execute("select count(*) from pgqueue.jobs").fetchone()) == ("pending", (1,))


# ------------------------------------------------------------------ vendored files


def test_vendored_files_are_what_their_manifest_says():
    folder = files("pgqueue.ui.web") / "static/vendor"
    manifest = json.loads((folder / "vendor.json").read_text())
    listed = {"vendor.json"}
    for one in manifest:
        assert {"name", "version", "licence", "licence_file"} <= set(one)
        for name, digest in one["files"].items():
            assert sha256((folder / name).read_bytes()).hexdigest() == digest, name
            listed.add(name)
    assert {path.name for path in folder.iterdir()} == listed


def test_the_tokens_of_tests_differ():
    assert len(set(TOKENS.values())) == len(Role)


def test_the_page_of_the_documentation_lists_each_qualifier_and_its_app_can_be_made(dsn: str):
    text = (ROOT / "docs/web.md").read_text(encoding="utf-8")
    for name in QUALIFIERS:
        assert f"`{name}:`" in text or name == "concurrency_key", name
    [block] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(block, scope)
    with serving(scope["app"]) as site:
        assert site.as_().get("/tools/queue/").status_code == 401


# ------------------------------------------------------------------ what a second look found


def test_the_shown_sql_never_takes_a_value_for_a_parameter(db: Db, serve: Serve):
    site = serve(tokens=False)
    for text in ("%(limit)s", "task:%(queues)s", "%s %(x)s %%"):
        answer = site.as_().get("/jobs?" + urlencode({"q": text}))
        assert answer.status_code == 200, text


def test_who_may_not_do_an_action_may_not_undo_it(db: Db, serve: Serve):
    site = serve(actions=True)
    fill(db, "plain")
    audit = acted(site.act("pause", queue="mail"))
    answer = site.act("undo", role=Role.operator, audit=audit)
    assert answer.status_code == 403, answer.text


def test_an_action_for_an_unknown_error_is_not_found(db: Db, serve: Serve):
    site = serve(actions=True)
    answer = site.act("retry", fingerprint="0123456789abcdef", confirmed="yes")
    assert answer.status_code == 404, answer.text


@pytest.mark.parametrize("path", ["/queues/%00", "/errors/%00", "/workers/%00", "/jobs/9223372036854775806"])
def test_odd_addresses_are_not_found(path: str, db: Db, serve: Serve):
    assert serve(tokens=False).as_().get(path).status_code == 404


def test_an_action_whose_connection_the_server_ends_is_an_outage_and_no_bug(dsn: str, db: Db, serve: Serve):
    site = serve(actions=True)
    enqueue(db, queue="mail")
    ended = (
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgqueue web action'"
    )
    with ThreadPoolExecutor(1) as pool, psycopg.connect(dsn) as other:
        other.execute("lock table pgqueue.queues in access exclusive mode")
        asked = pool.submit(site.act, "pause", queue="mail")
        wait_until(lambda: db.execute(ended + " and wait_event_type = 'Lock'").fetchone() is not None)
    answer = asked.result(20)
    assert answer.status_code == 503, answer.text
    assert "PGQ-103" in answer.text


def test_one_caller_cannot_take_the_live_updates_of_the_others(
    db: Db, serve: Serve, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("pgqueue.ui.web.live.OF_ONE_CALLER", 3)
    site = serve()
    with ExitStack() as open_tabs:
        first, *_ = [
            open_tabs.enter_context(site.as_(Role.viewer).stream("GET", "/live?at=/queues")) for _ in range(3)
        ]
        refused = wait_until(lambda: (answer := status_of(site, Role.viewer)).status_code != 200 and answer)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "30")
        assert status_of(site, Role.admin).status_code == 200
        first.close()
        wait_until(lambda: status_of(site, Role.viewer).status_code == 200)


def test_the_overview_tells_a_quiet_worker_from_none(db: Db, serve: Serve):
    from tests.worker_by_hand import Hand

    enqueue(db)
    site = serve(tokens=False)
    assert "Jobs are due, but no worker runs." in site.as_().get("/").text
    Hand(db, ["t"])
    db.execute("update pgqueue.workers set state = 'draining'")
    site.app.state.site.pages.forget()
    text = site.as_().get("/").text
    assert "Jobs are due, but no worker takes more jobs: 1 worker is quiet or stops." in text


def status_of(site: Server, role: Role) -> httpx2.Response:
    """Returns the beginning of the answer to a further tab, which is closed then."""
    with site.as_(role).stream("GET", "/live?at=/queues") as answer:
        return answer


def test_a_person_reads_in_words_why_jobs_are_refused(db: Db, serve: Serve):
    site = serve(actions=True)
    scene = fill(db, "plain")
    [(node,)] = db.execute("select id from pgqueue.jobs where workflow_id = %s limit 1", [scene.workflow])
    assert (
        "Not changed: 1 (it is a node of a workflow, and others count on it)."
        in site.act("delete", id=node).text
    )
    client = site.as_(Role.admin)
    job = enqueue(db)
    data = {"action": "delete", "confirmed": "yes", "id": [str(job), str(node)]}
    audit = acted(client.post("/actions", data=data))
    page = client.get(f"/audit/{audit}").text
    assert "1 (it is a node of a workflow, and others count on it)" in page
    assert ">node<" not in page


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/jobs/999", "PGQ-503"), ("/limits/999", "PGQ-516"), ("/workers/999", "PGQ-541"), ("/errors/0123", "PGQ-515"),
        ("/audit/999", "PGQ-513"), ("/jobs/x", "PGQ-713"), ("/nosuch", "PGQ-713"),
    ],
)  # fmt: skip
def test_what_does_not_exist_has_the_code_that_it_has_everywhere(path: str, code: str, serve: Serve):
    answer = serve(tokens=False).as_(Accept="application/json").get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, code)


@pytest.mark.parametrize(
    ("action", "fields", "status", "code"),
    [
        ("resume", {"queue": "nosuch"}, 404, "PGQ-506"), ("run_schedule", {"schedule": "nosuch"}, 404, "PGQ-520"),
        ("pause_schedule", {"schedule": "nosuch"}, 404, "PGQ-520"),
        ("retry_batch", {"batch": 9}, 404, "PGQ-540"), ("remove_limit", {"limit": 9}, 404, "PGQ-516"),
        ("set_limit", {"limit": 9, "allows": 5}, 404, "PGQ-516"), ("cancel_workflow", {"workflow": 9}, 404, "PGQ-530"),
        ("cancel_batch", {"batch": 9}, 404, "PGQ-540"), ("resolve_alert", {"id": 9}, 404, "PGQ-509"),
        ("retry", {"fingerprint": "0123"}, 404, "PGQ-515"), ("undo", {"audit": 9}, 404, "PGQ-513"),
    ],
)  # fmt: skip
def test_an_action_on_what_does_not_exist_has_its_code(
    action: str, fields: dict[str, Any], status: int, code: str, serve: Serve
):
    client = serve(actions=True).as_(Role.admin, Accept="application/json")
    answer = client.post("/actions", data={"action": action, "confirmed": "yes", **fields})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


def test_an_undo_of_nothing_has_the_code_of_the_command(db: Db, serve: Serve):
    site = serve(actions=True)
    audit = acted(site.act("pause", queue="mail"))
    acted(site.act("undo", audit=audit))
    answer = site.as_(Role.admin, Accept="application/json").post(
        "/actions", data={"action": "undo", "audit": audit}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "PGQ-514"), answer.text
