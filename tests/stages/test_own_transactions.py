"""A handler can complete its job in the transaction that writes the handler's rows, on each kind of connection.

Either the rows and the completion are both committed, or none of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import Session, sessionmaker

from pgqueue import Job
from pgqueue.config import WorkerSettings
from pgqueue.errors import WrongConnectionError
from pgqueue.worker.worker import Worker
from tests.factories import add_limit, enqueue, row
from tests.proxy import Proxy, proxy_to
from tests.stages.own_connections import (
    ALL,
    ASYNC,
    SYNC,
    WRITE,
    Shop,
    awrite,
    engine,
    sessions,
    url_of,
    write,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def proxy(dsn: str) -> Iterator[Proxy]:
    with proxy_to(dsn) as proxy:
        yield proxy


@pytest.mark.parametrize("way", ALL)
def test_the_rows_the_next_job_the_result_and_the_completion_are_committed_together(
    app, db, dsn, way
) -> None:
    shop = Shop(app, db, way, dsn)
    shop.pay.enqueue()
    shop.work()
    assert shop.job() == ("completed", 1, {"paid": 1})
    assert shop.found() == (1, 1)


@pytest.mark.parametrize("way", ALL)
def test_an_error_in_the_block_rolls_back_the_whole_transaction(app, db, dsn, way) -> None:
    shop = Shop(app, db, way, dsn)

    def fail_at_first(job: Job) -> None:
        if job.attempt == 1:
            raise OSError("the bank does not answer")

    shop.before = fail_at_first
    shop.pay.enqueue()
    shop.work()
    assert shop.job() == ("completed", 2, {"paid": 2})
    assert shop.found() == (1, 1)


@pytest.mark.parametrize("way", ALL)
def test_a_lost_lease_rolls_back_the_whole_transaction(app, db, dsn, way) -> None:
    shop = Shop(app, db, way, dsn)

    def lose(job: Job) -> None:
        if shop.attempts == 1:
            db.execute(
                "update pgqueue.jobs_live set state = 'pending', worker_id = null where id = %s", [job.id]
            )

    shop.before = lose
    shop.pay.enqueue()
    shop.work()
    assert shop.job() == ("completed", 2, {"paid": 2})
    assert shop.found() == (1, 1)


@pytest.mark.parametrize("way", [way for way in ALL if not way.endswith("the app")])
@pytest.mark.parametrize("kind", ["plain", "limited", "forgotten"])
@pytest.mark.parametrize("delivers", [True, False])
def test_a_handler_whose_commit_gets_no_answer_runs_again_only_if_the_commit_was_not_made(
    app, db, dsn, proxy, way, kind, delivers
) -> None:
    if kind == "limited":
        add_limit(db, task="pay", concurrency=1)
    shop = Shop(app, db, way, proxy.dsn, **({"keep": "none"} if kind == "forgotten" else {}))

    def cut(job: Job) -> None:
        if job.attempt == 1:
            proxy.cut_at, proxy.delivers = (
                b"COMMIT" if kind != "limited" or "pool" not in way or "asyncpg" in way else b"; commit",
                delivers,
            )  # a COMMIT alone, or together with the settling

    shop.before = cut
    shop.pay.enqueue()
    shop.work()
    assert shop.found() == (1, 1)
    assert shop.attempts == (1 if delivers else 2)


def test_a_commit_in_the_block_is_refused(app, db, dsn) -> None:
    shop = Shop(app, db, "sync a sessionmaker", dsn)
    said: list[Exception] = []

    @app.task(name="wrong")
    def wrong(job: Job) -> None:
        with (
            sessions(dsn) as using,
            pytest.raises(WrongConnectionError, match="has ended the transaction") as caught,
            job.transaction(using=using) as session,
        ):
            session.commit()
        said.append(caught.value)

    wrong.enqueue()
    shop.work()
    assert len(said) == 1


def test_the_error_about_a_wrong_value_of_using_says_what_to_pass(app, dsn) -> None:
    said: list[str] = []

    @app.task(name="wrong")
    def wrong(job: Job) -> None:
        with engine(dsn) as bind, Session(bind) as session, bind.connect() as connection:
            for using in (session, connection, 5, Session, async_sessionmaker()):
                with pytest.raises(WrongConnectionError) as caught, job.transaction(using=using):  # type: ignore[call-overload]
                    pass
                said.append(str(caught.value))

    wrong.enqueue()
    Worker(app, WorkerSettings(queues={"default": None}, concurrency=1, drain=True)).run()
    assert len(said) == 5
    assert all("a sessionmaker, an Engine, a psycopg pool or Django's connection" in one for one in said[:4])
    assert "job.atransaction" in said[4]


def test_an_engine_that_commits_each_statement_is_refused(app, dsn) -> None:
    said: list[str] = []

    @app.task(name="wrong")
    def wrong(job: Job) -> None:
        engine = create_engine(url_of(dsn, "psycopg"), isolation_level="AUTOCOMMIT")
        for using in (engine, sessionmaker(engine)):
            with pytest.raises(WrongConnectionError) as caught, job.transaction(using=using):
                pass
            said.append(str(caught.value))
        engine.dispose()

    wrong.enqueue()
    Worker(app, WorkerSettings(queues={"default": None}, concurrency=1, drain=True)).run()
    assert ["AUTOCOMMIT" in one for one in said] == [True, True]


def test_the_error_of_finish_outside_of_a_block_says_what_to_do(app) -> None:
    said: list[str] = []

    @app.task(name="wrong")
    def wrong(job: Job) -> None:
        with pytest.raises(RuntimeError) as caught:
            job.finish(1)
        said.append(str(caught.value))

    wrong.enqueue()
    Worker(app, WorkerSettings(queues={"default": None}, concurrency=1, drain=True)).run()
    assert "return the result" in said[0]


def test_a_handler_in_a_child_process_can_complete_its_job_in_a_transaction(db, dsn) -> None:
    db.execute("create table public.effects (pid int)")
    job = enqueue(db, "pay")
    command = [sys.executable, "-m", "pgqueue", "work", "-A", "tests.apps.paying_tasks:app", "--drain"]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PGQUEUE_DSN": dsn}) as worker:
        assert worker.wait(60) == 0
    [(pid,)] = db.execute("select pid from public.effects").fetchall()
    assert pid != worker.pid
    assert row(db, job, "state, result") == ("completed", {"paid": True})
    assert db.execute("select state from pgqueue.jobs where task = 'tell'").fetchall() == [("completed",)]


def test_a_child_process_that_dies_after_it_has_completed_its_job_is_not_reported_as_a_lost_lease(
    db: Connection[Any], dsn: str
) -> None:
    job = enqueue(db, "pay_and_die")
    command = [sys.executable, "-m", "pgqueue", "work", "-A", "tests.apps.paying_tasks:app", "--drain"]
    env = {**os.environ, "PGQUEUE_DSN": dsn}
    done = subprocess.run(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True, check=True)
    assert row(db, job, "state, result") == ("completed", "paid")
    assert "but was made; the job is completed" in done.stderr
    assert "lease" not in done.stderr


def nested(given: Any) -> None:
    with given.begin_nested() if hasattr(given, "begin_nested") else given.transaction():
        write(given)


async def anested(given: Any) -> None:
    async with given.begin_nested() if hasattr(given, "begin_nested") else given.transaction():
        await awrite(given)


@pytest.mark.parametrize("way", ALL)
def test_an_inner_transaction_of_the_block_is_committed_only_with_the_completion(app, db, dsn, way) -> None:
    shop = Shop(app, db, way, dsn)
    shop.write, shop.awrite = nested, anested

    def fail_at_first(job: Job) -> None:
        if job.attempt == 1:
            raise OSError("the bank does not answer")

    shop.before = fail_at_first
    shop.pay.enqueue()
    shop.work()
    assert shop.job() == ("completed", 2, {"paid": 2})
    assert shop.found() == (1, 1)


ENDS = {
    "commit": lambda given: given.commit(), "rollback": lambda given: given.rollback(), "a statement": lambda given: given.execute("commit"),
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    "way", ["sync the app", "sync a pool", "async the app", "async an async pool", "async a pool of asyncpg"]
)
def test_a_block_that_ends_its_transaction_itself_is_refused(app, db, dsn, way, end) -> None:
    if "asyncpg" in way and end != "a statement":
        pytest.skip("asyncpg's connections have no such method")
    said: list[str] = []
    db.execute("create table if not exists public.effects (n int)")
    kind, _, name = way.partition(" ")

    def wrong(job: Job) -> None:
        try:
            with SYNC[name](dsn) as using, job.transaction(using=using) as given:
                write(given)
                ENDS[end](given)
        except WrongConnectionError as error:
            said.append(error.what)

    async def awrong(job: Job) -> None:
        try:
            async with ASYNC[name](dsn) as using, job.atransaction(using=using) as given:
                await awrite(given)
                await ENDS[end](given)
        except WrongConnectionError as error:
            said.append(error.what)

    app.task(name="pay", retry=False)(wrong if kind == "sync" else awrong).enqueue()
    Worker(app, WorkerSettings(queues={"default": None}, drain=True, poll=0.05)).run()
    assert said == ["The handler has ended the transaction that pgqueue gave it."]


@pytest.mark.parametrize("is_async", [False, True])
def test_an_inner_transaction_of_a_step_is_committed_only_with_its_checkpoint(app, db, is_async) -> None:
    db.execute("create table public.effects (n int)")

    def book(conn: psycopg.Connection, attempt: int) -> None:
        with conn.transaction():
            conn.execute(WRITE)
        if attempt == 1:
            raise OSError("the bank does not answer")

    async def abook(conn: psycopg.AsyncConnection, attempt: int) -> None:
        async with conn.transaction():
            await conn.execute(WRITE)
        if attempt == 1:
            raise OSError("the bank does not answer")

    def pay(job: Job) -> None:
        job.step_transaction("book", book, job.attempt)

    async def apay(job: Job) -> None:
        await job.astep_transaction("book", abook, job.attempt)

    app.task(name="pay", retry=[0.0])(apay if is_async else pay).enqueue()
    Worker(app, WorkerSettings(queues={"default": None}, drain=True, poll=0.05)).run()
    assert db.execute("select state, attempt from pgqueue.jobs").fetchone() == ("completed", 2)
    assert db.execute("select count(*) from public.effects").fetchone() == (1,)
