"""Every page of the read model, on a database that has everything, on an empty one, and with rights to read only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.pools import Pools
from pgqueue.database.run import run
from pgqueue.errors import InvalidNameError, JobNotFoundError, LockedError, NotFoundError
from pgqueue.ui.reading.asked import Asked
from pgqueue.ui.reading.documents import as_json
from pgqueue.ui.reading.page import Notice, Page, Table, Tiles
from pgqueue.ui.reading.pages import PAGES
from pgqueue.ui.reading.reader import reading
from pgqueue.ui.reading.text import as_text
from tests.factories import add_jobs, enqueue
from tests.full_queue import Scene, fill
from tests.hostile_text import acts
from tests.worker_by_hand import LimitedHand

ROUTES = {route.name: route for route in PAGES}
MOST_QUERIES = 6


def parts(scene: Scene) -> Mapping[str, str]:
    return {
        "job": str(scene.jobs["dead"]), "queue": "default", "limit": str(scene.limit), "worker": str(scene.worker),
        "workflow": str(scene.workflow), "batch": str(scene.batch), "schedule": scene.schedule, "action": str(scene.action),
        "fingerprint": scene.fingerprint,
    }  # fmt: skip


async def make(dsn: str, name: str, path: Mapping[str, str] = {}, **query: str) -> tuple[Page, int]:
    pools = Pools(lambda: dsn, 1)
    try:
        async with reading(pools) as reader:
            page = await ROUTES[name].make(reader, Asked(path, query))
            return page, reader.queries
    finally:
        await pools.aclose()


def show(dsn: str, name: str, path: Mapping[str, str] = {}, **query: str) -> Page:
    return asyncio.run(make(dsn, name, path, **query))[0]


def table(page: Page, name: str) -> Table:
    [found] = [block for block in page.blocks if isinstance(block, Table) and block.name == name]
    return found


def counts(page: Page) -> dict[str, Any]:
    [tiles] = [block for block in page.blocks if isinstance(block, Tiles)]
    return {tile.name: tile.value for tile in tiles.items}


@pytest.mark.parametrize("name", ROUTES)
def test_each_page_of_a_full_database_costs_few_queries_and_is_clean_as_text_and_as_json(name, db, dsn):
    scene = fill(db)
    page, queries = asyncio.run(make(dsn, name, parts(scene)))
    assert queries <= MOST_QUERIES
    assert page.blocks
    text = as_text(page)
    assert not acts(text, "\n")
    assert json.loads(as_json(page))["page"] == name


@pytest.mark.parametrize("name", [route.name for route in PAGES if "{" not in route.path])
def test_each_page_of_an_empty_database_says_what_is_missing(name, dsn):
    page = show(dsn, name)
    for block in page.blocks:
        if isinstance(block, Table) and not block.rows:
            assert block.empty.strip()


@pytest.mark.parametrize("name", [route.name for route in PAGES if "{" in route.path])
@pytest.mark.parametrize("value", ["987654", "0", "-1", "x", "99999999999999999999", "٣"])
def test_a_page_of_something_that_does_not_exist_is_not_found(name, value, dsn):
    part = next(iter(ROUTES[name].path.split("{")[1:])).strip("}")
    with pytest.raises((NotFoundError, InvalidNameError)):
        show(dsn, name, {part: value})


@pytest.mark.parametrize("name", ROUTES)
def test_each_page_can_be_read_with_the_rights_of_a_reader(name, db, granted, dsn):
    scene = fill(db)
    show(granted("reader"), name, parts(scene))


@pytest.mark.parametrize("name", ROUTES)
def test_the_sql_under_each_block_runs_in_psql_as_it_stands(name, db, dsn):
    scene = fill(db)
    page = show(dsn, name, parts(scene))
    queries = [block.query for block in page.blocks if getattr(block, "query", None) is not None]
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute("set default_transaction_read_only = on")
        for query in queries:
            assert query.sql.endswith(";")
            connection.execute(query.sql)


def test_the_overview_counts_the_jobs_in_each_state(db, dsn):
    fill(db)
    found = counts(show(dsn, "overview"))
    assert {name: str(value) for name, value in found.items()} == {
        "due": "4", "running": "1", "scheduled": "1", "waiting": "1", "completed": "1", "dead": "1",
    }  # fmt: skip


def test_the_overview_says_which_queue_nobody_serves(db, dsn):
    fill(db)
    page = show(dsn, "overview")
    texts = [block.text for block in page.blocks if isinstance(block, Notice)]
    assert "Queue mail has due jobs, but no worker serves it." in texts


def test_pages_of_jobs_follow_each_other_without_gaps_and_repetitions(db, dsn):
    add_jobs(db, count=120)
    found: list[int] = []
    page = show(dsn, "jobs")
    while True:
        listed = table(page, "jobs")
        found += [row["id"] for row in listed.rows]  # type: ignore[misc]
        if listed.older is None:
            break
        before = listed.older.partition("before=")[2]
        page = show(dsn, "jobs", before=before)
    ids = [job_id for (job_id,) in db.execute("select id from pgqueue.jobs order by id desc")]
    assert found == ids


@pytest.mark.parametrize(
    ("q", "states"),
    [
        ("state:dead", ["dead"]),
        ("state:failed", ["dead", "retrying"]),
        ("queue:mail", ["pending"]),
        ("tag:nosuch", []),
        ("args.tenant:t1 state:running", ["running"]),
        ("task:u", ["running"]),
    ],
)
def test_a_search_finds_the_jobs_that_match(q, states, db, dsn):
    fill(db, "plain")
    rows = table(show(dsn, "jobs", q=q), "jobs").rows
    assert sorted(str(row["state"]) for row in rows) == states


def test_a_search_that_few_jobs_match_looks_at_a_part_of_the_ids_at_a_time(db, dsn, monkeypatch):
    monkeypatch.setattr("pgqueue.ui.reading.jobs.REACH", 10)
    wanted = enqueue(db, "rare")
    add_jobs(db, count=25)
    page, rows = show(dsn, "jobs", q="task:rare"), []
    pages = 1
    while not (rows := [row["id"] for row in table(page, "jobs").rows]):
        older = table(page, "jobs").older
        assert older is not None
        assert "has looked at" in (table(page, "jobs").note or "")
        page = show(dsn, "jobs", q="task:rare", before=older.partition("before=")[2])
        pages += 1
    assert rows == [wanted]
    assert pages == 3


def test_the_page_of_a_job_says_why_it_does_not_run(db, dsn):
    scene = fill(db)
    db.execute("update pgqueue.queues set paused = true where name = 'mail'")
    page = show(dsn, "job", {"job": str(scene.jobs["pending"])})
    [notice] = [block for block in page.blocks if isinstance(block, Notice)]
    assert "paused" in notice.text
    assert notice.do is not None


def test_the_page_of_a_limit_says_who_has_its_seats_and_who_waits(db, dsn):
    scene = fill(db, "plain")
    db.execute("update pgqueue.limits set concurrency = 1")
    ids = [enqueue(db, "t", queue="default"), enqueue(db, "t", queue="default")]
    taken = LimitedHand(db, ["t"]).take(1, after=None)
    page = show(dsn, "limit", {"limit": str(scene.limit)})
    holders = [row["id"] for row in table(page, "holders").rows]
    assert holders == [attempt.id for attempt in taken]
    assert {row["id"] for row in table(page, "waiting").rows} >= {one for one in ids if one not in holders}


def test_a_page_never_waits_for_a_lock_and_never_writes(
    db: Connection[Any], connect: Callable[..., Connection[Any]], dsn: str
):
    fill(db)
    blocker = connect(autocommit=False)
    blocker.execute("lock table pgqueue.jobs_live in access exclusive mode")
    with pytest.raises(LockedError):
        show(dsn, "jobs")
    blocker.rollback()

    async def write() -> None:
        pools = Pools(lambda: dsn, 1)
        async with reading(pools) as reader:
            await reader._connection.execute("delete from pgqueue.queues")

    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        asyncio.run(write())


def test_estimates_of_queues_are_near_the_truth_and_small_queues_are_exact(db, dsn):
    db.execute("insert into pgqueue.queues (name) values ('large'), ('small')")
    add_jobs(db, count=20_000, queue="large")
    add_jobs(db, count=7, queue="small")
    exact = {one.queue: one for one in run(db, statements.count_queues(100_000))}
    assert (exact["large"].due, exact["large"].is_exact, exact["small"].due) == (20_000, True, 7)
    rough = {one.queue: one for one in run(db, statements.count_queues(40))}
    assert not rough["large"].is_exact
    assert 10_000 < rough["large"].due < 40_000
    assert rough["small"].due in range(1, 400)


@pytest.mark.parametrize("search", ["state:ded", "foo:bar state:dead", "7 queue:mail", "x" * 1001])
def test_a_search_that_is_not_understood_lists_no_jobs_and_offers_no_action(
    db: Connection[Any], dsn: str, search: str
) -> None:
    add_jobs(db)
    page = show(dsn, "jobs", q=search)
    found = table(page, "jobs")
    assert (found.rows, found.selects, page.is_unclear) == ([], (), True)
    assert [block.level for block in page.blocks if isinstance(block, Notice)] == ["warn"]


def test_the_page_of_a_job_that_does_not_exist_says_one_thing(db: Connection[Any], dsn: str) -> None:
    with pytest.raises(JobNotFoundError) as failed:
        show(dsn, "job", {"job": "999"})
    assert str(failed.value) == "PGQ-503  No job has had the number 999 yet."
