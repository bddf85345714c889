"""Documents of up to 2 MB: lists do not read them, and the page of a job shows their beginning."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.ui.reading.written import BEGINNING
from tests.factories import add_jobs, enqueue
from tests.stages.test_pages import show, table
from tests.waiting import wait_until
from tests.web.conftest import Server
from tests.worker_by_hand import make_one_dead

Db = Connection[Any]
Serve = Callable[..., Server]

# Texts that cannot be compressed; and one that can be, to a hundredth.
LARGE = "jsonb_build_object('password', 'tr0ub4dor', 'rest', (select string_agg(md5(i::text), '') from generate_series(1, 60000) i))"
DENSE = "jsonb_build_object('password', 'tr0ub4dor', 'rest', repeat('x', 2000000))"
ERROR = "ValueError: login with tr0ub4dor failed"


def add_large(db: Db, what: str, column: str = "args", state: str = "retrying") -> int:
    [job] = add_jobs(db, task="big")
    db.execute(
        f"update pgqueue.jobs_live set {column} = {what}, state = '{state}', last_error = %s, tags = '{{tr0ub4dor}}',"
        ' progress = \'{"done": 1, "total": 4, "message": "as tr0ub4dor"}\' where id = %s'.encode(),
        [ERROR, job],
    )
    return job


@pytest.mark.parametrize("column", ["args", "meta"])
@pytest.mark.parametrize("what", [LARGE, DENSE])
def test_a_row_of_a_job_with_large_documents_says_their_size_and_no_text_that_could_be_secret(
    db: Db, dsn: str, what: str, column: str
):
    if column == "meta":
        what = what.replace("60000", "15000").replace("2000000", "500000")
    job = add_large(db, what, column)
    small = enqueue(db, "small", {"password": "tr0ub4dor"})
    db.execute(
        "update pgqueue.jobs_live set state = 'retrying', last_error = %s where id = %s", [ERROR, small]
    )
    for page in (show(dsn, "jobs"), show(dsn, "queue", {"queue": "default"})):
        rows = {row["id"]: row for row in table(page, "jobs").rows}
        assert re.fullmatch(r"ValueError: …, [\d.]+[KM]B of stored documents", rows[job]["said"])
        assert rows[job]["tags"] == []
        assert rows[small]["said"].startswith("ValueError: login with ")
        assert "tr0ub4dor" not in rows[small]["said"]
    [one] = table(show(dsn, "jobs", q=str(job)), "jobs").rows
    assert one["id"] == job
    db.execute("update pgqueue.jobs_live set state = 'waiting' where id = %s", [job])
    assert table(show(dsn, "jobs", q=str(job)), "jobs").rows[0]["said"].startswith("25 %, ")


def test_lists_read_no_large_documents(db: Db):
    """They stay in their table of TOAST, which is seen in the counters of the server."""
    for _ in range(3):
        add_large(db, LARGE)
    reads = "select coalesce(sum(pg_stat_get_blocks_fetched(c.reltoastrelid)), 0) from pg_class c where c.oid = 'pgqueue.jobs_live'::regclass"
    db.execute("select pg_stat_force_next_flush()")
    before = db.execute(reads).fetchone()
    assert len(run(db, statements.list_job_rows())) == 3
    db.execute("select pg_stat_force_next_flush()")
    assert db.execute(reads).fetchone() == before
    run(db, statements.list_jobs())
    db.execute("select pg_stat_force_next_flush()")
    assert wait_until(lambda: db.execute(reads).fetchone() > before)


def test_a_search_for_arguments_finds_large_ones(db: Db, dsn: str):
    job = add_large(db, LARGE.replace("'rest'", "'tenant', 't1', 'rest'"))
    assert [row["id"] for row in table(show(dsn, "jobs", q="args.tenant:t1"), "jobs").rows] == [job]


def test_the_page_of_a_job_shows_the_beginning_of_a_large_document_and_leads_to_the_whole(
    db: Db, serve: Serve
):
    job = add_large(db, LARGE)
    client = serve(tokens=False).as_()
    page = client.get(f"/jobs/{job}").text
    assert len(page) < 4 * BEGINNING
    [link] = re.findall(r'href="([^"]*)">Whole document<', page)
    whole = client.get(html.unescape(link))
    assert whole.headers["content-type"].startswith("application/json")
    assert len(whole.json()["args"]["rest"]) == 60000 * 32
    text = client.get(f"/jobs/{job}", headers={"Accept": "text/plain"}).text
    assert len(text) < 2 * BEGINNING
    assert f"… the whole document: /jobs/{job}?format=json" in text
    small = enqueue(db, "small", {"n": 1})
    page = client.get(f"/jobs/{small}").text
    assert "Whole document" not in page
    assert json.dumps({"n": 1}, indent=2) in html.unescape(page)


def test_the_list_of_errors_as_json_names_the_fingerprint_that_leads_to_each(db: Db, serve: Serve):
    make_one_dead(db, enqueue(db, "greet"), task="greet")
    client = serve(tokens=False).as_(Accept="application/json")
    [error] = client.get("/errors").json()["errors"]["items"]
    assert client.get(f"/errors/{error['fingerprint']}").json()["page"] == "error"
