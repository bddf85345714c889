"""Asserts which types a type checker infers in an application. mypy checks this file, and no test runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import assert_type

from psycopg import AsyncConnection, Connection
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from tenacity import stop_after_attempt, wait_fixed

from pgqueue import (
    App,
    Call,
    Chain,
    Failure,
    Job,
    JobHandle,
    Node,
    NodeEnd,
    RetryPolicy,
    Signal,
    Task,
    WorkflowHandle,
    WorkflowProgress,
    chain,
    group,
)

app = App()


@app.task
def plain(order_id: int, note: str = "") -> str:
    return note * order_id


@app.task
async def step_by_step(job: Job, pages: list[int]) -> None:
    for page in job.track(pages, message="reading"):
        assert_type(page, int)
    async for text in job.track(lines(), total=3):
        assert_type(text, str)
    job.progress(3, 10.5)
    job.progress("3")  # type: ignore[arg-type]


async def lines() -> AsyncIterator[str]:
    yield "a line"


@app.task(
    queue="mail",
    retry=RetryPolicy(wait=wait_fixed(1), stop=stop_after_attempt(3)),
    timeout="5m",
    keep="failures",
)
async def with_job(job: Job, order_id: int) -> None:
    async with job.atransaction() as conn:
        await conn.execute("select 1")


@app.cron("0 9 * * MON-FRI", tz="Europe/Warsaw", overlap="skip", missed="all", jitter="1m", priority=3)
@app.cron(every="5m", name="often", args={"order_id": 1})
@app.task
def recurring(order_id: int) -> str:
    return str(order_id)


@app.cron("@daily", overlap="pile")  # type: ignore[arg-type]
@app.task
def wrong() -> None: ...


def enqueues(session: Session) -> None:
    assert_type(plain.using(session, delay="5m", tags=["a"]).enqueue(7, note="x"), JobHandle)
    assert_type(with_job.enqueue(order_id=7), JobHandle)  # the job itself is no argument
    assert_type(plain.using(session).enqueue_many([{"order_id": 7}]), list[JobHandle])
    assert_type(plain(1), str)
    handle = plain.using(session, expires="5m", deadline=60).enqueue(7)
    assert_type(handle.cancel(session), str)
    handle.edit(session, priority=1)
    assert_type(recurring(1), str)
    assert_type(recurring.enqueue(1), JobHandle)
    plain.enqueue("seven")  # type: ignore[arg-type]
    plain.enqueue()  # type: ignore[call-arg]
    with_job.enqueue(order_id=7, other=1)  # type: ignore[call-arg]


async def enqueues_async(session: AsyncSession) -> None:
    handle = await with_job.using(session, unique_key="a").aenqueue(order_id=7)
    assert_type(handle.created, bool)
    await handle.aresult(timeout=1)


@app.middleware
def around(call: Call) -> Iterator[None]:
    yield


@app.task(on_dead=lambda job, failure: failure.reason)
async def hooked(order_id: int) -> None: ...


@hooked.on_failed
async def told(job: Job, failure: Failure) -> None: ...


@app.on_completed
def done(job: Job) -> None: ...


app.on_dead(done)  # type: ignore[type-var]
app.on_completed(told)  # type: ignore[type-var]
assert_type(hooked.enqueue(order_id=7), JobHandle)


@dataclass
class Document:
    id: int


@app.task(chunk=100, chunk_wait="50ms", queue="index")
async def index(documents: list[Document], jobs: list[Job]) -> list[object]:
    return [document.id for document in documents]


assert_type(index.enqueue(id=7), JobHandle)
assert_type(index.enqueue(Document(7)), JobHandle)
app.task(chunk_wait=1)(plain)  # type: ignore[call-overload]


def invoice(order_id: int, note: str = "") -> Document:
    return Document(order_id)


async def ainvoice(order_id: int) -> Document:
    return Document(order_id)


def book(conn: Connection, order_id: int) -> Document:
    return Document(order_id)


async def abook(conn: AsyncConnection, order_id: int) -> Document:
    return Document(order_id)


@app.task
def stepping(job: Job, order_id: int) -> None:
    assert_type(job.step("a", invoice, order_id, note="x"), Document)
    assert_type(job.step(("a", order_id), invoice, order_id), Document)
    job.step("a", invoice)  # type: ignore[call-arg]
    job.step("a", invoice, "x")  # type: ignore[arg-type]
    assert_type(job.step_transaction("a", book, order_id), Document)
    job.step_transaction("a", invoice, order_id)  # type: ignore[arg-type]
    job.save({"page": 7})


@app.task
async def astepping(job: Job, order_id: int) -> None:
    assert_type(await job.astep("a", ainvoice, order_id), Document)
    assert_type(await job.astep("a", invoice, order_id), Document)
    assert_type(await job.astep_transaction("a", abook, order_id), Document)
    await job.asave(7)


def workflows(session: Session) -> None:
    with app.workflow("order", key="order-7", using=session, on_failure="stop", meta={"a": 1}) as w:
        held = w.add(plain.job(7), name="held", undo=plain.job(8))
        w.undo(held, plain.job(held.result))
        assert_type(held, Node)
        w.add(plain.job(held.result, note=held.result), after=[held, "other"], when="failed")
        assert_type(w.add(group(plain.job(n) for n in range(3)).then(plain.job(7)), after=held), Node)
        with w.nested("inner", after=held) as inner:
            inner.add(plain.job(7))
        w.add(plain.job(7), after=inner)
        w.add(plain.job(7), when="never")  # type: ignore[arg-type]
        w.add(plain)  # type: ignore[arg-type]
    assert_type(w.handle.progress(), WorkflowProgress)
    assert_type(w.handle.join("5m").state, str)
    assert_type(w.handle.job(held), JobHandle)
    assert_type(w.handle.cancel(session), str)
    assert_type(w.handle.retry("held"), int)
    flow = chain(plain.job(7), group([plain.job(8), chain(plain.job(9))]), plain.job(10))
    assert_type(flow, Chain)
    assert_type(app.enqueue_workflow(flow, name="order"), WorkflowHandle)
    app.workflow("order", on_failure="explode")  # type: ignore[arg-type]


async def workflows_async(session: AsyncSession) -> None:
    async with app.aworkflow("order", using=session) as w:
        w.add(plain.job(7))
    assert_type(await w.handle.ajoin(5), WorkflowProgress)
    assert_type(await app.aenqueue_workflow(group([plain.job(7)]), using=session), WorkflowHandle)
    async for end in w.handle.aresults():
        assert_type(end, NodeEnd)


@app.task
def collecting(job: Job) -> list[str]:
    return [end.name for end in job.results()]


@app.task
async def acollecting(job: Job) -> list[str]:
    return [end.name async for end in job.aresults()]


tasks: dict[str, Task[..., object]] = dict(app.tasks)


@app.task
def waits(job: Job) -> None:
    assert_type(job.wait_for("approved"), Signal)
    assert_type(job.wait_for("approved", "refused", timeout="7d", default=None), Signal | None)
    assert_type(job.wait_for("approved", default=0, key=1), Signal | int)
    job.sleep(("nap", 1), "1h")


@app.task
async def waits_async(job: Job) -> None:
    assert_type(await job.await_for("approved"), Signal)
    assert_type(await job.await_for("approved", default=None), Signal | None)
    await job.asleep("nap", 1.5)
    assert_type(await app.handle(1).asignal("approved", {"by": "ann"}, key="k"), str)
