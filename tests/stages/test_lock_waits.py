"""If another session has locked what an app's own statement needs, the wait ends after LOCK_PATIENCE, and the error names that session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import Connection, sql

from pgqueue import App, Task
from pgqueue.database import lock_waits
from pgqueue.errors import LockedError
from tests.factories import count, look
from tests.pooler import transaction_pooler

Enqueue = Callable[..., Any]
SETTING = "select current_setting('lock_timeout')"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_waits, "LOCK_PATIENCE", 0.2)


@pytest.fixture
def app(dsn: str) -> Iterator[App]:
    app = App(dsn, pool_size=1)

    @app.task(name="t")
    def t(n: int = 0) -> None: ...

    yield app
    app.close()


@pytest.fixture
def task(app: App) -> Task[..., Any]:
    return app.tasks["t"]


@pytest.fixture(params=["sync", "async"])
def enqueue(request: pytest.FixtureRequest, task: Task[..., Any], app: App) -> Enqueue:
    async def aenqueue(items: list[Any], options: dict[str, Any], keys: dict[str, Any]) -> Any:
        try:
            return await task.using(**options).aenqueue_many(items, **keys)
        finally:
            await app.aclose()

    def enqueue(items: list[Any], keys: dict[str, Any] | None = None, **options: Any) -> Any:
        if request.param == "sync":
            return task.using(**options).enqueue_many(items, **(keys or {}))
        return asyncio.run(aenqueue(items, options, keys or {}))

    return enqueue


@pytest.mark.parametrize(
    "options",
    [
        {"unique_key": "k"},
        {"idempotency_key": "k"},
        {"unique_key": "k", "throttle": 60},
        {"unique_key": "k", "debounce": 60},
        {"unique_key": "k", "on_conflict": "raise"},
    ],
)
def test_an_enqueue_ends_with_the_session_that_holds_its_key_if_that_session_stays_open(
    task, enqueue, connect, db, options
):
    """Both sessions can belong to one thread. Then the thread waits for itself, which the server cannot see."""
    holder = connect(autocommit=False)
    task.using(holder, **options).enqueue()
    with pytest.raises(
        LockedError, match=rf"session {holder.info.backend_pid}\b.*idle in transaction"
    ) as seen:
        enqueue([{}], **options)
    assert f"pg_terminate_backend({holder.info.backend_pid})" in seen.value.do
    assert "using(conn)" in seen.value.do
    holder.commit()
    options.pop("on_conflict", None)
    assert enqueue([{}], **options)[0].created is False
    assert count(db) == 1


def test_a_batch_of_keys_ends_if_another_session_holds_one_of_its_keys(task, enqueue, connect):
    holder = connect(autocommit=False)
    task.using(holder, idempotency_key="b").enqueue()
    with pytest.raises(LockedError, match=f"session {holder.info.backend_pid}"):
        enqueue([{}, {}], {"idempotency_keys": ["a", "b"]})


def test_a_copy_ends_if_another_session_has_locked_the_table(task, enqueue, connect):
    holder = connect(autocommit=False)
    holder.execute("lock table pgqueue.jobs_live in exclusive mode")
    with pytest.raises(LockedError, match=f"session {holder.info.backend_pid}"):
        enqueue([{}] * 150)


def test_an_edit_and_a_cancel_end_if_another_session_has_locked_the_job(app, task, connect, db):
    handle = task.enqueue()
    holder = connect(autocommit=False)
    holder.execute("select from pgqueue.jobs_live where id = %s for update", [handle.id])
    for change in (handle.cancel, lambda: handle.edit(priority=1)):
        with pytest.raises(LockedError, match=f"session {holder.info.backend_pid}"):
            change()
    holder.rollback()
    assert handle.cancel() == "cancelled"
    assert look(db, handle.id) == "cancelled"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_the_bound_does_not_hold_for_statements_of_the_user_on_a_connection_of_the_app(app, task, kind):
    async def scenario() -> set[str]:
        found = set()
        for _ in range(2):
            await task.aenqueue()
            async with app.aconnection() as connection:
                found.add((await (await connection.execute(SETTING)).fetchone())[0])
        await app.aclose()
        return found

    def settings() -> set[str]:
        found = set()
        for _ in range(2):
            task.enqueue()
            with app.connection() as connection:
                found.add(connection.execute(SETTING).fetchone()[0])
        return found

    assert (settings() if kind == "sync" else asyncio.run(scenario())) == {"0"}


def test_a_bound_that_the_role_or_the_database_sets_itself_is_kept(app, task, db: Connection[Any]):
    name = sql.Identifier(db.info.dbname)
    db.execute(sql.SQL("alter database {} set lock_timeout = '7s'").format(name))
    task.enqueue()
    with app.store.pools.connection(autocommit=True, own=True) as own:
        assert own.execute(SETTING).fetchone() == ("7s",)
    with app.connection() as connection:
        assert connection.execute(SETTING).fetchone() == ("7s",)


def test_behind_a_pooler_an_enqueue_sets_no_bound_in_the_sessions_of_other_clients(dsn):
    with transaction_pooler(dsn) as pooled:
        app = App(pooled)
        app.task(name="t")(lambda: None)
        app.tasks["t"].enqueue()
        app.close()
        with psycopg.connect(pooled) as connection:
            assert connection.execute(SETTING).fetchone() == ("0",)
