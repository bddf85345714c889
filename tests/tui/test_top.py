"""The dashboard in the terminal, driven by textual's pilot, on a real database: its pages, keys, actions, and an outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg import Connection, sql
from textual.pilot import Pilot
from textual.widgets import Input

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements import Who
from pgqueue.errors import DatabaseUnreachableError
from pgqueue.ui.acting.form import Form
from pgqueue.ui.reading.budget import QUERIES_A_SECOND
from pgqueue.ui.reading.pages import PAGES
from pgqueue.ui.tui import pace
from pgqueue.ui.tui import source as source_module
from pgqueue.ui.tui.app import Top
from pgqueue.ui.tui.asking import Asking, Keys
from pgqueue.ui.tui.pace import DEBT, EVERY, LONGEST, Pace
from tests.factories import ENDS_ITS_SESSION, add_jobs, add_limit, enqueue, look
from tests.full_queue import fill
from tests.hostile_text import acts
from tests.proxy import proxy_to
from tests.stages.test_pages import parts
from tests.waiting import until

Db = Connection[Any]
ANN = Who("ann@here", "tui")
ROWS, COLUMNS = 24, 80


class Terminal:
    """A dashboard in a terminal of 80 by 24 characters."""

    def __init__(self, top: Top, pilot: Pilot[None]) -> None:
        self.top, self.pilot, self.dashboard = top, pilot, top.dashboard

    @property
    def rows(self) -> list[str]:
        """Returns what stands on the screen."""
        strips = self.top.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip) for strip in strips]

    @property
    def text(self) -> str:
        return "\n".join(self.rows)

    @property
    def foot(self) -> str:
        return self.rows[-1]

    @property
    def current(self) -> str:
        """Returns the row under the cursor."""
        return next((row for row in self.rows if row.startswith(">")), "")

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def sees(self, text: str) -> None:
        try:
            await until(lambda: text in self.text)
        except TimeoutError:
            raise AssertionError(f"{text!r} is not on the screen:\n{self.text}") from None

    async def opens(self, path: str) -> None:
        self.dashboard.open(path)
        await self.shows(path)

    async def shows(self, path: str) -> None:
        await until(lambda: self.dashboard._shown == path)
        await self.pilot.pause()


@asynccontextmanager
async def terminal(dsn: str, actor: Who | None = ANN) -> AsyncIterator[Terminal]:
    top = Top(dsn, actor, "the database")
    async with top.run_test(size=(COLUMNS, ROWS)) as pilot:
        made = Terminal(top, pilot)
        await until(lambda: made.dashboard.page is not None)
        await pilot.pause()
        yield made


def play(dsn: str, scene: Callable[[Terminal], Awaitable[None]], actor: Who | None = ANN) -> None:
    async def run() -> None:
        async with terminal(dsn, actor) as made:
            await scene(made)

    asyncio.run(run())


def state_of(db: Db, job_id: int) -> str:
    return look(db, job_id, "state")


# ------------------------------------------------------------------ pages


def test_each_page_fits_into_80_columns_and_hostile_texts_control_nothing(db, dsn):
    varying = parts(fill(db))

    async def scene(at: Terminal) -> None:
        for route in PAGES:
            path = route.path
            for name, value in varying.items():
                path = path.replace(f"{{{name}}}", value)
            await at.opens(path)
            assert at.dashboard.page is not None
            assert at.dashboard.page.name == route.name, at.text
            for line in at.dashboard._view.lines:
                assert line.text.cell_len <= COLUMNS - 2, (path, line.text.plain)
                assert not acts(line.text.plain)
            assert at.rows[0].strip()
            assert "live" in at.foot

    play(dsn, scene)


def test_the_key_g_and_a_letter_open_each_page_of_the_menu(dsn):
    async def scene(at: Terminal) -> None:
        for route in PAGES:
            if route.key:
                await at.press("g", route.key)
                await at.shows(route.path)
                assert route.menu is not None
                assert at.rows[0].startswith(route.menu)

    play(dsn, scene)


def test_enter_opens_the_row_and_escape_leads_back_to_it(db, dsn):
    ids = add_jobs(db, count=60)

    async def scene(at: Terminal) -> None:
        await at.press("g", "j")
        await at.shows("/jobs")
        await at.press("j", "down", "k")
        assert at.current.split()[1] == str(ids[-2])
        await at.press("enter")
        await at.shows(f"/jobs/{ids[-2]}")
        assert at.rows[0].startswith(f"Job {ids[-2]}")
        await at.press("escape")
        await at.shows("/jobs")
        assert at.current.split()[1] == str(ids[-2])
        await at.press("end", "enter")
        await at.shows(f"/jobs?before={ids[10]}")
        await at.sees(f" {ids[0]} ")

    play(dsn, scene)


def test_the_cursor_stays_on_its_job_while_other_jobs_come_in(db, dsn):
    ids = add_jobs(db, count=3)

    async def scene(at: Terminal) -> None:
        await at.press("g", "j")
        await at.shows("/jobs")
        await at.press("j")
        assert at.current.split()[1] == str(ids[-2])
        newer = enqueue(db)
        await at.sees(f" {newer} ")
        assert at.current.split()[1] == str(ids[-2])

    play(dsn, scene)


def test_slash_searches_jobs_and_tab_turns_to_the_next_state(db, dsn):
    ids = add_jobs(db, count=3)

    async def scene(at: Terminal) -> None:
        await at.press("/")
        await until(lambda: isinstance(at.top.focused, Input))
        await at.press(*"queue:nosuch", "enter")
        await at.shows("/jobs?q=queue%3Anosuch")
        await at.sees("No job matches.")
        await at.press("/")
        await until(lambda: isinstance(at.top.focused, Input))
        assert at.top.screen.query_one(Input).value == "queue:nosuch"
        await at.press("ctrl+u", *f"{ids[1]}", "enter")
        await at.sees(f"> {ids[1]:>2}"[:3])
        await at.press("g", "j")
        await at.shows("/jobs")
        await at.press("tab")
        await at.shows("/jobs?q=state%3Apending")
        assert "[Pending]" in at.rows[1]

    play(dsn, scene)


def test_p_pauses_the_updates_and_the_help_shows_every_key(db, dsn, monkeypatch):
    monkeypatch.setattr(pace, "EVERY", 0.1)

    async def scene(at: Terminal) -> None:
        await at.press("?")
        await until(lambda: isinstance(at.top.screen, Keys))
        for word in ("row down, row up", "R      retry", "g h    Database", "quit"):
            await at.sees(word)
        await at.press("j")
        await until(lambda: at.top.screen is at.dashboard)
        await at.press("g", "j")
        await at.shows("/jobs")
        await at.press("p")
        assert "paused" in at.foot
        enqueue(db)
        settled, begun = at.dashboard._source.queries, asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() > begun + 1)
        assert at.dashboard._source.queries <= settled + 1  # a look that had begun before the key
        assert "There is no job yet." in at.text
        await at.press("p")
        await at.sees("pending")
        assert "live" in at.foot

    play(dsn, scene)


def test_a_page_of_something_that_does_not_exist_says_so_and_leads_back(dsn):
    async def scene(at: Terminal) -> None:
        await at.opens("/jobs/987654")
        await at.sees("987654")
        assert at.rows[0].startswith("Error")
        await at.opens("/nosuch")
        await at.sees("There is no page")
        await at.press("escape", "escape")
        await at.shows("/")

    play(dsn, scene)


def test_a_closed_document_opens_with_enter(db, dsn):
    scene_ids = fill(db, "plain")

    async def scene(at: Terminal) -> None:
        await at.opens(f"/jobs/{scene_ids.jobs['dead']}")
        [folded] = [line for line in at.dashboard._view.lines if line.folds == "traceback"]
        at.dashboard._view.at = folded.at
        before = len(at.dashboard._view.lines)
        await at.press("enter")
        assert len(at.dashboard._view.lines) > before
        assert any("in charge" in line.text.plain for line in at.dashboard._view.lines)

    play(dsn, scene)


# ------------------------------------------------------------------ actions


def test_an_action_asks_is_done_is_audited_and_can_be_undone(db, dsn):
    job = enqueue(db)

    async def scene(at: Terminal) -> None:
        await at.opens("/jobs")
        await at.press("C")
        await at.sees("Cancel 1 job?")
        await at.sees(f"Job {job}")
        await at.press("n")
        await until(lambda: at.top.screen is at.dashboard)
        assert state_of(db, job) == "pending"
        assert db.execute("select from pgqueue.audit").rowcount == 0
        await at.press("C")
        await at.sees("Cancel 1 job?")
        await at.press("y")
        await at.sees("1 job cancelled.  U: undo")
        assert state_of(db, job) == "cancelled"
        await at.press("U")
        await at.sees("Undo?")
        await at.press("y")
        await at.sees("1 job undone.")
        assert state_of(db, job) == "pending"

    play(dsn, scene)
    rows = db.execute("select action, actor, source from pgqueue.audit order by id").fetchall()
    assert rows == [("cancel", "ann@here", "tui"), ("undo", "ann@here", "tui")]


def test_ticked_rows_and_all_that_match_are_changed_together(db, dsn):
    ids = add_jobs(db, count=6)

    async def scene(at: Terminal) -> None:
        await at.opens("/jobs")
        await at.press("x", "j", "x")
        await at.sees("2 ticked")
        await at.press("D")
        await at.sees("Delete 2 jobs?")
        await at.press("y")
        await at.sees("2 jobs deleted.")
        await at.press("*")
        await at.sees("all that match")
        await at.press("C")
        await at.sees("Cancel 4 jobs?")
        await at.sees("All jobs.")
        await at.press("y")
        await at.sees("4 jobs cancelled.")

    play(dsn, scene)
    assert db.execute("select id, state from pgqueue.jobs order by id").fetchall() == [
        (job_id, "cancelled") for job_id in ids[:4]
    ]


def test_an_edit_asks_for_its_fields(db, dsn):
    job = enqueue(db)

    async def scene(at: Terminal) -> None:
        await at.opens(f"/jobs/{job}")
        await at.press("E")
        await until(lambda: isinstance(at.top.focused, Input))
        await at.press("7", "enter", "enter", "enter")
        await at.sees("1 job edited.")
        await at.press("E")
        await until(lambda: isinstance(at.top.focused, Input))
        await at.press("x", "enter", "enter", "enter")
        await at.sees("The priority is 'x'.")

    play(dsn, scene)
    assert look(db, job, "priority") == 7


def test_a_queue_a_limit_and_a_schedule_are_changed_from_their_pages(db, dsn):
    enqueue(db)
    limit = add_limit(db, queue="default", concurrency=5)
    db.execute(
        "insert into pgqueue.schedules (name, task, cron, args) values ('nightly', 't', '0 2 * * *', '{}')"
    )

    async def scene(at: Terminal) -> None:
        await at.opens("/queues/default")
        await at.press("P")
        await at.sees("queue default")
        await at.press("y")
        await at.sees("default paused.")
        await at.opens(f"/limits/{limit}")
        await at.press("L")
        await until(lambda: isinstance(at.top.focused, Input))
        await at.press("9", "enter")
        await at.sees("9 at once")
        await at.opens("/schedules/nightly")
        await at.press("P")
        await at.sees("schedule nightly")
        await at.press("y")
        await at.sees("paused")

    play(dsn, scene)
    assert db.execute("select paused from pgqueue.queues where name = 'default'").fetchone() == (True,)
    assert db.execute("select concurrency from pgqueue.limits").fetchone() == (9,)
    assert db.execute("select paused from pgqueue.schedules").fetchone() == (True,)
    assert db.execute("select distinct source from pgqueue.audit").fetchall() == [("tui",)]


def test_without_the_permission_no_key_changes_anything(db, dsn):
    job = enqueue(db)

    async def scene(at: Terminal) -> None:
        await at.opens("/jobs")
        for key in ("C", "D", "R", "U", "x", "*"):
            await at.press(key)
        await at.sees("Read only. To allow actions: pgq top --allow-actions")
        assert at.top.screen is at.dashboard

    play(dsn, scene, actor=None)
    assert state_of(db, job) == "pending"


def test_a_key_that_means_nothing_on_this_page_says_so(db, dsn):
    job = enqueue(db)

    async def scene(at: Terminal) -> None:
        await at.press("R")
        await at.sees("Nothing here to retry.")
        await at.opens(f"/jobs/{job}")
        await at.press("R")
        await at.sees("Nothing here to retry.")
        await at.opens("/jobs")
        await at.press("R")
        await at.sees("Retry: no job would be changed.")
        assert not isinstance(at.top.screen, Asking)

    play(dsn, scene)


def test_the_connection_of_the_pages_can_write_nothing_and_waits_for_nothing_long(db, dsn):
    seen: list[tuple[str, str]] = []

    async def scene(at: Terminal) -> None:
        async with at.dashboard._source._reader() as reader:
            for name in ("transaction_read_only", "statement_timeout"):
                rows = await (await reader._connection.execute(f"show {name}")).fetchone()
                seen.append((name, rows[0]))

    play(dsn, scene)
    assert seen == [("transaction_read_only", "on"), ("statement_timeout", "2s")]


# ------------------------------------------------------------------ outages and cost


def allow(admin: str, dsn: str, *, connections: bool) -> None:
    """Lets the test's database accept connections again, or ends all of them and refuses new ones."""
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("alter database {} allow_connections {}").format(sql.Identifier(str(name)), sql.Literal(connections)))  # fmt: skip
        if not connections:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name]
            )


def test_an_action_that_loses_its_connection_ends_its_row_at_once(db, dsn):
    add_jobs(db, count=1200)
    db.execute(ENDS_ITS_SESSION)
    form = Form({"action": ["cancel"], "all": ["yes"], "q": [""], "confirmed": ["yes"]})

    async def act() -> None:
        source = source_module.Source(dsn)
        try:
            with pytest.raises(DatabaseUnreachableError, match="500 jobs had been changed before"):
                await source.act(form, ANN)
        finally:
            await source.close()

    asyncio.run(act())
    [row] = [one for one in run(db, statements.list_audit()) if one.slices]
    assert (row.ended, row.changed, "terminating connection" in str(row.stopped)) == (True, 500, True)


def test_an_outage_is_said_the_page_stays_and_is_live_again_afterwards(admin, dsn):
    with psycopg.connect(dsn, autocommit=True) as db:
        [job, *_] = add_jobs(db, count=3)

    async def scene(at: Terminal) -> None:
        await at.opens("/jobs")
        await asyncio.to_thread(allow, admin, dsn, connections=False)
        try:
            await at.sees("Lost, trying again.")
            assert "pending" in at.text
            await at.press("C")
            await until(lambda: at.dashboard._said)
            await at.opens("/queues")
            await at.sees("No connection")
        finally:
            await asyncio.to_thread(allow, admin, dsn, connections=True)
        await at.sees("live")
        assert at.rows[0].startswith("Queues")
        await at.opens(f"/jobs/{job}")

    play(dsn, scene)


def test_a_server_that_goes_silent_is_noticed(dsn, monkeypatch):
    monkeypatch.setattr(source_module, "ANSWER", 1.0)

    async def scene(at: Terminal) -> None:
        proxy.silent, proxy.new_too = "", True
        await at.sees("Lost, trying again.")
        proxy.silent = None
        await at.sees("live")

    with proxy_to(dsn) as proxy:
        play(proxy.dsn, scene)


def test_a_page_of_many_queries_or_of_slow_queries_is_made_less_often():
    one = Pace(0.0)
    one.made(2, 0.01, 0.0)
    assert one.pause == EVERY
    one.made(6, 0.01, 2.0)
    assert one.pause == 6 / QUERIES_A_SECOND
    for _ in range(20):  # a person opens many pages
        one.made(6, 0.01, 2.0)
    assert one.delay == pytest.approx((126 - DEBT) / QUERIES_A_SECOND, rel=0.01)
    one.made(0, 0.01, 200.0)
    assert (one.pause, one.delay) == (EVERY, 0)
    one.made(1, 0.2, 300.0)
    assert one.pause == 4.0
    one.made(1, 9.0, 400.0)
    assert one.pause == LONGEST


def test_a_page_costs_at_most_two_queries_a_second_in_the_mean_and_one_connection(db, dsn):
    fill(db, "plain")

    async def scene(at: Terminal) -> None:
        loop = asyncio.get_running_loop()
        begun, before, looks = loop.time(), at.dashboard._source.queries, at.dashboard._made_at
        seen = set[object]()

        def has_looked() -> bool:
            seen.add(at.dashboard._made_at)
            return len(seen - {looks}) == 3

        await until(has_looked)
        spent = at.dashboard._source.queries - before
        assert spent <= 2 * (loop.time() - begun) + 6
        [(connections,)] = db.execute(
            "select count(*) from pg_stat_activity where application_name = 'pgqueue top' and datname = current_database()"
        ).fetchall()
        assert connections == 1

    play(dsn, scene)
