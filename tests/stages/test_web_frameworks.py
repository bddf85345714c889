"""The integrations of web frameworks in one process: lifespans, the worker beside the requests, and what clients are answered."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Self

import pytest
from fastapi import FastAPI
from flask import Flask
from litestar import Litestar, get
from litestar.testing import TestClient as LitestarClient
from psycopg import Connection
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from pgqueue import App
from pgqueue.errors import InvalidSettingError
from pgqueue.integrations import fastapi, flask, litestar, starlette
from pgqueue.integrations.worker_thread import WorkerThread
from tests.waiting import wait_until

AWAY = "postgresql://postgres@127.0.0.1:1/none?connect_timeout=1"


@pytest.fixture
def queue(dsn: str) -> Iterator[App]:
    queue = App(dsn)

    @queue.task(name="echo")
    def echo(text: str) -> str:
        return text

    yield queue
    queue.close()


def state(db: Connection[Any]) -> list[str]:
    return [row[0] for row in db.execute("select state from pgqueue.jobs")]


def test_the_lifespan_runs_a_worker_and_the_lifespan_of_the_application(queue, db):
    events = []

    @asynccontextmanager
    async def mine(_: Starlette) -> AsyncIterator[dict[str, str]]:
        events.append("begun")
        yield {"name": "shop"}
        events.append("ended")

    async def enqueue(request: Request) -> JSONResponse:
        handle = await queue.tasks["echo"].aenqueue(text=request.state.name)
        assert request.state.queue is queue
        return starlette.accepted(request, handle)

    routes = [Route("/echo", enqueue), starlette.job_route(queue, may_see=lambda *_: True)]
    app = Starlette(routes=routes, lifespan=starlette.lifespan(queue, mine, worker=True, grace=5))
    with TestClient(app) as client:
        answer = client.get("/echo")
        assert answer.status_code == 202
        wait_until(lambda: client.get(answer.headers["Location"]).json()["state"] == "completed")
        done = client.get(answer.headers["Location"])
        assert (done.json()["result"], "Retry-After" in done.headers) == ("shop", False)
    assert events == ["begun", "ended"]
    assert not [thread for thread in threading.enumerate() if thread.name == "pgqueue worker"]
    assert db.execute("select count(*) from pgqueue.workers where expires_at > now()").fetchone() == (0,)


def test_a_worker_that_is_stopped_hands_running_jobs_back(queue, db):
    begun = threading.Event()

    @queue.task(name="slow")
    async def slow() -> None:
        begun.set()
        await asyncio.Event().wait()

    slow.enqueue()
    thread = WorkerThread(queue, grace=0)
    thread.start()
    assert begun.wait(30)
    thread.stop()
    assert not thread.is_alive()
    assert state(db) == ["pending"]


def test_a_worker_waits_for_a_database_that_is_away_and_says_why_it_cannot_work(dsn, empty_dsn, caplog):
    waiting = WorkerThread(App(AWAY))
    waiting.start()
    waiting.stop()
    with caplog.at_level(logging.WARNING, logger="pgqueue"):
        refused = WorkerThread(App(empty_dsn))
        refused.start()
        wait_until(lambda: not refused.is_alive())
    said = [record.getMessage() for record in caplog.records]
    assert any("Run `pgq work` in production" in text for text in said)
    assert any("has ended" in text and "pgq migrate" in text for text in said)


@pytest.mark.parametrize("settings", [{"processes": 2}, {"max_jobs": 9}, {"drain": True}, {"graze": 1}])
def test_settings_that_make_no_sense_inside_another_process_are_refused(queue, settings):
    with pytest.raises(InvalidSettingError):
        WorkerThread(queue, **settings)


def fastapi_of(queue: App) -> Any:
    app = FastAPI(lifespan=fastapi.lifespan(queue))
    fastapi.explain_errors(app)
    app.include_router(fastapi.job_router(queue, may_see=lambda _, job: job.meta.get("user") == "ada"))
    return TestClient(app)


def litestar_of(queue: App) -> Any:
    async def may_see(_: object, job: Any) -> bool:
        return bool(job.meta.get("user") == "ada")

    @get("/accepted")
    async def enqueue() -> Any:
        handle = await queue.tasks["echo"].aenqueue(text="x")
        return litestar.accepted(handle, f"/jobs/{handle.id}")

    handlers = [litestar.job_handler(queue, may_see=may_see), enqueue]
    return LitestarClient(
        Litestar(handlers, lifespan=[litestar.lifespan(queue)], exception_handlers=litestar.ERRORS)
    )


class FlaskClient:
    """Flask's test client with the interface of the others."""

    def __init__(self, app: Flask) -> None:
        self._client = app.test_client()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def get(self, path: str) -> Any:
        answer = self._client.get(path)
        return SimpleNamespace(
            status_code=answer.status_code, headers=answer.headers, json=lambda: json.loads(answer.data)
        )


def flask_of(queue: App) -> Any:
    app = Flask(__name__)
    flask.use_pgqueue(app, queue, may_see=lambda job: job.meta.get("user") == "ada")
    return FlaskClient(app)


CLIENTS = {"fastapi": fastapi_of, "litestar": litestar_of, "flask": flask_of}


@pytest.mark.parametrize("name", CLIENTS)
def test_a_job_is_shown_to_whom_it_belongs(queue, name):
    mine = queue.tasks["echo"].using(meta={"user": "ada"}).enqueue(text="x").id
    other = queue.tasks["echo"].using(meta={"user": "bob"}).enqueue(text="x").id
    with CLIENTS[name](queue) as client:
        shown = client.get(f"/jobs/{mine}")
        assert (shown.status_code, shown.headers["Retry-After"]) == (200, "2")
        assert shown.json() == {
            "id": str(mine),
            "state": "pending",
            "attempt": 0,
            "progress": None,
            "result": None,
        }
        for hidden in (other, 10**9, "x", "0", "1e3", "9" * 30):
            answer = client.get(f"/jobs/{hidden}")
            assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (
                404,
                "application/problem+json",
            )
            assert answer.json()["detail"] == f"There is no job {hidden}."


@pytest.mark.parametrize("name", CLIENTS)
def test_if_the_database_is_away_the_application_starts_and_answers_503(name, caplog):
    queue = App(AWAY)
    with CLIENTS[name](queue) as client:
        answer = client.get("/jobs/1")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "127.0.0.1" not in str(answer.json()), "the answer says nothing about the server"
    queue.close()


def test_litestar_accepts_a_job(queue):
    with litestar_of(queue) as client:
        answer = client.get("/accepted")
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/jobs/{answer.json()['id']}"


def test_accepted_without_a_place_for_the_state_says_what_to_add(queue):
    async def enqueue(request: Request) -> JSONResponse:
        return starlette.accepted(request, await queue.tasks["echo"].aenqueue(text="x"))

    with (
        TestClient(Starlette(routes=[Route("/", enqueue)])) as client,
        pytest.raises(InvalidSettingError, match="job_route"),
    ):
        client.get("/")
    with Flask(__name__).test_request_context(), pytest.raises(InvalidSettingError, match="may_see"):
        flask.accepted(queue.tasks["echo"].enqueue(text="x"))


def test_keys_of_requests_differ_by_caller_and_place():
    from pgqueue.errors import InvalidRequestError
    from pgqueue.integrations.answers import idempotency_key

    keys = {
        idempotency_key('"k"', "ada", "POST /orders"), idempotency_key("k", "bob", "POST /orders"),
        idempotency_key("k", "ada", "POST /carts"), idempotency_key("k2", "ada", "POST /orders"),
    }  # fmt: skip
    assert len(keys) == 4
    assert idempotency_key("k", "ada", "POST /orders") in keys, "quotes do not count"
    assert idempotency_key(None, "ada", "POST /orders", is_required=False) is None
    for wrong in (None, "", " ", "a\nb", "x" * 256):
        with pytest.raises(InvalidRequestError, match="Idempotency-Key"):
            idempotency_key(wrong, "ada", "POST /orders")
