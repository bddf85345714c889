"""The web page in a real Chromium: what it shows, what it loads, what it lets people do, and that no text of a job runs as a script."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from psycopg import Connection

from pgqueue.ui.access.access import Access
from pgqueue.ui.access.who import Role, Who
from tests.factories import add_jobs, enqueue, look
from tests.full_queue import fill
from tests.waiting import wait_until
from tests.web.conftest import TOKENS, Server
from tests.web.test_site import paths

Serve = Callable[..., Server]
Db = Connection[Any]
pytestmark = pytest.mark.timeout(600)

SIZES = (1440, 1024, 390)
# The levels of axe's findings that must not be.
SERIOUS = {"serious", "critical"}
# What the browser tells the page of a blocked script, style or request.
WATCH = """
window.reports = [];
document.addEventListener("securitypolicyviolation", (event) => window.reports.push(`${event.violatedDirective} ${event.blockedURI}`));
for (const name of ["alert", "confirm", "prompt", "print"]) window[name] = () => { window.reports.push(name); };
"""


class Tab:
    """A tab of the browser that notes what must never happen: a dialog, a report of the policy, an error, a request to another server."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page, self.origin = page, origin
        self.bad: list[str] = []
        page.add_init_script(WATCH)
        page.on("dialog", lambda dialog: (self.bad.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("pageerror", lambda error: self.bad.append(f"error {error}"))
        page.on(
            "console",
            lambda message: self.bad.append(f"console {message.text}") if message.type == "error" else None,
        )
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(self.origin) else self.bad.append(f"request {request.url}")
            ),
        )

    def open(self, path: str) -> None:
        self.page.goto(self.origin + path, wait_until="load")

    def check(self) -> None:
        self.bad += self.page.evaluate("window.reports")
        assert self.bad == [], (self.page.url, self.bad)


@contextmanager
def tab(browser: Browser, site: Server, role: Role | None = None, **options: Any) -> Iterator[Tab]:
    """Opens a tab, of the caller with this role's token."""
    if role is not None:
        options["extra_http_headers"] = {"Authorization": f"Bearer {TOKENS[role]}"}
    context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
    context.set_default_timeout(30_000)
    try:
        yield Tab(context.new_page(), site.url)
    finally:
        context.close()


@pytest.fixture
def local(serve: Serve) -> Server:
    """Returns the page for programs on this machine, which may do everything."""
    return serve(tokens=False, actions=True, access=Access(anonymous=Who("local", Role.admin, ("*",))))


# ------------------------------------------------------------------ what a page must never do


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_hostile_texts_on_every_page_run_nothing_and_load_nothing_and_axe_finds_nothing_serious(
    theme: str, browser: Browser, db: Db, local: Server
):
    scene = fill(db)
    axe = Axe()
    with tab(browser, local, color_scheme=theme) as one:
        for path in [*paths(scene), f"/jobs/{scene.jobs['running']}", "/jobs?q=state:dead", "/nosuch"]:
            one.open(path)
            one.page.evaluate(
                "document.querySelectorAll('#page details').forEach((one) => { one.open = true; })"
            )
            found = axe.run(one.page).response["violations"]
            assert [
                (found_one["id"], found_one["nodes"][0]["html"][:200])
                for found_one in found
                if found_one["impact"] in SERIOUS
            ] == [], path
            one.bad = [bad for bad in one.bad if "404" not in bad]
            one.check()


@pytest.mark.parametrize("role", list(Role))
def test_each_role_sees_the_buttons_of_its_actions_and_no_others(
    role: Role, browser: Browser, db: Db, serve: Serve
):
    scene = fill(db, "plain")
    site = serve(actions=True)
    with tab(browser, site, role) as one:
        one.open(f"/jobs/{scene.jobs['dead']}")
        expect(one.page.get_by_role("button", name="Retry")).to_have_count(int(role >= Role.operator))
        one.open("/queues/mail")
        expect(one.page.get_by_role("button", name="Pause", exact=True)).to_have_count(
            int(role >= Role.admin)
        )
        one.open("/jobs")
        expect(one.page.locator("td.tick")).to_have_count(
            0 if role < Role.operator else one.page.locator("tbody tr").count()
        )
        one.check()


def test_a_page_without_javascript_can_be_read_and_can_act(browser: Browser, db: Db, local: Server):
    job = enqueue(db)
    with tab(browser, local, java_script_enabled=False) as one:
        one.open("/")
        expect(one.page.locator("h1")).to_have_text("Overview")
        one.open(f"/jobs/{job}")
        one.page.get_by_role("button", name="Cancel…").click()
        expect(one.page.locator("h1")).to_have_text("Cancel 1 job?")
        one.page.get_by_role("button", name="Cancel").click()
        expect(one.page.locator(".n-ok")).to_contain_text("1 job cancelled")
        assert look(db, job) == "cancelled"
        one.page.get_by_role("button", name="Undo").first.click()
        wait_until(lambda: look(db, job) == "pending")


# ------------------------------------------------------------------ what people do


def test_a_person_ticks_jobs_retries_them_and_undoes_it(browser: Browser, db: Db, local: Server):
    scene = fill(db, "plain")
    with tab(browser, local) as one:
        one.open("/jobs?q=state:dead")
        expect(one.page.get_by_role("button", name="Retry", exact=True)).to_be_disabled()
        one.page.locator("td.tick input").first.check()
        expect(one.page.locator(".bulk-count")).to_have_text("1 ticked")
        one.page.get_by_role("button", name="Retry", exact=True).click()
        expect(one.page.locator(".n-ok")).to_contain_text("1 job retried")
        assert look(db, scene.jobs["dead"]) == "pending"
        one.page.get_by_role("button", name="Undo").click()
        expect(one.page.locator(".n-ok")).to_contain_text("undone")
        assert look(db, scene.jobs["dead"]) == "dead"
        one.check()


def test_a_person_cancels_all_jobs_that_match_a_search_after_a_preview(
    browser: Browser, db: Db, local: Server
):
    add_jobs(db, count=1200, queue="mail")
    other = enqueue(db, queue="other")
    with tab(browser, local) as one:
        one.open("/jobs")
        one.page.get_by_label("Search jobs").fill("queue:mail")
        one.page.keyboard.press("Enter")
        expect(one.page).to_have_url(re.compile(r"q=queue(%3A|:)mail"))
        one.page.get_by_role("button", name="Cancel all…").click()
        expect(one.page.locator("h1")).to_have_text("Cancel 1,200 jobs?")
        one.page.get_by_role("button", name="Cancel").click()
        wait_until(
            lambda: (
                db.execute("select count(*) from pgqueue.jobs where state = 'cancelled'").fetchone()
                == (1200,)
            )
        )
        assert look(db, other) == "pending"
        one.check()


def test_a_person_edits_a_job_pauses_its_queue_and_runs_a_schedule(browser: Browser, db: Db, local: Server):
    scene = fill(db, "plain")
    job = scene.jobs["pending"]
    with tab(browser, local) as one:
        one.open(f"/jobs/{job}")
        one.page.get_by_role("button", name="Edit…").click()
        one.page.get_by_label("Priority").fill("-3")
        one.page.get_by_role("button", name="Edit").click()
        expect(one.page.locator(".n-ok")).to_be_visible()
        assert look(db, job, "priority") == -3
        one.open("/queues/mail")
        one.page.get_by_role("button", name="Pause").click()
        expect(one.page.locator("h1")).to_contain_text("paused")
        one.page.get_by_role("button", name="Resume").click()
        expect(one.page.locator("h1")).not_to_contain_text("paused")
        before = db.execute("select count(*) from pgqueue.jobs").fetchone()
        one.open("/schedules/nightly")
        one.page.get_by_role("button", name="Run now").click()
        expect(one.page.locator(".n-ok")).to_be_visible()
        assert db.execute("select count(*) from pgqueue.jobs").fetchone() != before
        one.check()


def test_the_keys_open_pages_search_and_move_through_rows(browser: Browser, db: Db, local: Server):
    fill(db, "plain")
    with tab(browser, local) as one:
        one.open("/")
        one.page.keyboard.press("g")
        one.page.keyboard.press("j")
        expect(one.page.locator("h1")).to_have_text("Jobs")
        one.page.keyboard.press("j")
        one.page.keyboard.press("j")
        one.page.keyboard.press("k")
        expect(one.page.locator("tr.at")).to_have_count(1)
        one.page.keyboard.press("x")
        expect(one.page.locator("tr.at input")).to_be_checked()
        one.page.keyboard.press("Enter")
        expect(one.page.locator("h1")).to_contain_text("Job ")
        one.page.keyboard.press("/")
        expect(one.page.get_by_label("Search jobs")).to_be_focused()
        one.page.keyboard.press("Escape")
        one.page.keyboard.press("?")
        expect(one.page.locator("dialog")).to_be_visible()
        one.page.keyboard.press("Escape")
        one.page.keyboard.press("d")
        assert one.page.evaluate("document.documentElement.dataset.theme") in ("light", "dark")
        one.check()


def test_the_sql_of_a_table_can_be_copied(browser: Browser, db: Db, local: Server):
    fill(db, "plain")
    with tab(browser, local, permissions=["clipboard-read", "clipboard-write"]) as one:
        one.open("/jobs?q=state:dead")
        one.page.locator(".query summary").click()
        one.page.get_by_role("button", name="Copy SQL").click()
        expect(one.page.locator("#told")).to_have_text("Copied")
        copied = one.page.evaluate("navigator.clipboard.readText()")
        assert [row[0] for row in db.execute(copied)] == [
            job for (job,) in db.execute("select id from pgqueue.jobs_dead")
        ]
        one.page.get_by_role("button", name="Copy pgq jobs list").click()
        assert one.page.evaluate("navigator.clipboard.readText()") == "pgq jobs list --state dead"


# ------------------------------------------------------------------ live pages


def test_a_page_shows_changes_by_itself_in_place_and_stops_when_it_is_paused(
    browser: Browser, db: Db, local: Server
):
    with tab(browser, local) as one:
        one.open("/jobs")
        expect(one.page.locator(".empty")).to_be_visible()
        one.page.evaluate("window.sameDocument = true")
        first = enqueue(db)
        expect(one.page.locator(f"#r-jobs-{first}")).to_be_visible()
        row = one.page.locator(f"#r-jobs-{first}").element_handle()
        db.execute("select pgqueue.cancel(%s)", [first])
        expect(one.page.locator(f"#r-jobs-{first} .state")).to_have_text("cancelled")
        assert row is not None
        assert one.page.evaluate("(row) => row.isConnected", row), "the row is changed in place"
        assert one.page.evaluate("window.sameDocument")
        one.page.get_by_role("button", name="Live").click()
        expect(one.page.locator("#live-text")).to_have_text("Paused")
        second = enqueue(db)
        third = enqueue(db)
        one.page.get_by_role("button", name="Paused").click()
        expect(one.page.locator(f"#r-jobs-{third}")).to_be_visible()
        expect(one.page.locator(f"#r-jobs-{second}")).to_be_visible()
        one.check()


def test_a_change_does_not_disturb_a_person_who_ticks_rows_or_reads_the_sql(
    browser: Browser, db: Db, local: Server
):
    add_jobs(db, count=3)
    with tab(browser, local) as one:
        one.open("/jobs")
        one.page.locator(".query summary").click()
        one.page.locator("td.tick input").first.check()
        one.page.evaluate(
            "window.changes = 0; new EventSource(document.documentElement.dataset.live).addEventListener('changed', () => { window.changes += 1; })"
        )
        new = enqueue(db)
        wait_until(lambda: one.page.evaluate("window.changes > 0"))
        expect(one.page.locator(f"#r-jobs-{new}")).to_have_count(0)
        one.page.locator("td.tick input").first.uncheck()
        expect(one.page.locator(f"#r-jobs-{new}")).to_be_visible()
        assert one.page.locator(".query").evaluate("(one) => one.open")
        one.check()


def test_many_tabs_share_one_listening_connection(browser: Browser, db: Db, local: Server):
    add_jobs(db, count=200)
    with tab(browser, local) as one:
        one.open("/")
        for number in range(25):
            one.page.evaluate(
                "(url) => { (window.sources ??= []).push(new EventSource(url)); }",
                f"/live?at={('/', '/jobs', '/queues', '/workers')[number % 4]}",
            )
            if number % 5 == 4:  # a browser opens at most six connections to one server at a time
                one.page.evaluate("window.sources.splice(0).forEach((source) => source.close())")
        listening = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'pgqueue live pages'"
        wait_until(lambda: db.execute(listening).fetchone() == (1,))


# ------------------------------------------------------------------ screenshots


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
def test_no_page_is_wider_than_its_window(
    width: int, theme: str, browser: Browser, db: Db, local: Server, pictures: Path
):
    scene = fill(db)
    with tab(browser, local, color_scheme=theme, viewport={"width": width, "height": 900}) as one:
        for path in paths(scene):
            one.open(path)
            wide = one.page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert wide <= 0, (path, wide)
            name = path.strip("/").replace("/", "-") or "overview"
            one.page.screenshot(path=pictures / f"{name}-{width}-{theme}.png", full_page=True)
        one.check()
