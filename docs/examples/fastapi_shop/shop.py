"""A shop on FastAPI and SQLAlchemy. An order and its jobs are one transaction, which ends before the answer is sent.

export PGQUEUE_DSN=postgresql://…
pgq migrate && python -m shop          # makes the table
uvicorn shop:app                       # and, in another terminal: pgq work -A shop:queue
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from pgqueue import App, Job
from pgqueue.integrations.fastapi import accepted, explain_errors, idempotency_key, job_router, lifespan

DSN = os.environ["PGQUEUE_DSN"]
queue = App(DSN)
engine = create_async_engine(DSN.replace("postgresql:", "postgresql+psycopg:"))
Sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    buyer: Mapped[str]
    total: Mapped[int]
    receipt: Mapped[str | None]
    shipped: Mapped[bool] = mapped_column(default=False)


# ------------------------------------------------------------------ jobs


@queue.task(name="send_receipt", queue="mail", retry=[1, 5, 30])
async def send_receipt(job: Job, order_id: int) -> None:
    """Notes the receipt, and enqueues the parcel. Both and the completion of this job are one commit."""
    async with job.atransaction(using=Sessions) as session:
        order = await session.get_one(Order, order_id)
        order.receipt = f"{order.buyer} pays {order.total}"
        await ship.using(session, meta={"user": order.buyer}).aenqueue(order_id=order_id)


@queue.task(name="ship", retry=3)
async def ship(job: Job, order_id: int) -> None:
    job.progress(1, 2, "packed")
    async with job.atransaction(using=Sessions) as session:
        (await session.get_one(Order, order_id)).shipped = True


# ------------------------------------------------------------------ requests


def user(request: Request) -> str:
    """Stands for your login."""
    return request.headers.get("X-User", "guest")


def may_see(request: Request, job: Job) -> bool:
    return job.meta.get("user") == user(request)


async def session() -> AsyncIterator[AsyncSession]:
    async with Sessions.begin() as opened:
        yield opened


# scope="function": the transaction commits before the answer is sent. If the commit fails, no caller reads 202.
Db = Annotated[AsyncSession, Depends(session, scope="function")]
Key = Annotated[str | None, Depends(idempotency_key(user, is_required=False))]
User = Annotated[str, Depends(user)]

app = FastAPI(lifespan=lifespan(queue, worker=bool(os.environ.get("WITH_WORKER"))))
explain_errors(app)
app.include_router(job_router(queue, may_see=may_see))


class NewOrder(BaseModel):
    id: int
    total: int


@app.post("/orders", status_code=202)
async def place_order(new: NewOrder, request: Request, db: Db, key: Key, buyer: User) -> JSONResponse:
    chosen = send_receipt.using(db, idempotency_key=key, unique_key=f"receipt:{new.id}", meta={"user": buyer})
    handle = await chosen.aenqueue(order_id=new.id)
    if handle.created:
        db.add(Order(id=new.id, buyer=buyer, total=new.total))
    return accepted(request, handle)


@app.post("/carts", status_code=201)
async def place_orders(new: list[NewOrder], db: Db, buyer: User) -> dict[str, list[int]]:
    """Stores many orders. An order that costs nothing is left out by a savepoint, with its job."""
    stored = []
    for one in new:
        try:
            async with db.begin_nested():
                db.add(Order(id=one.id, buyer=buyer, total=one.total))
                await send_receipt.using(db, meta={"user": buyer}).aenqueue(order_id=one.id)
                if one.total <= 0:
                    raise ValueError(one.total)
                stored.append(one.id)
        except ValueError:
            continue
    return {"stored": stored}


@app.post("/imports", status_code=201)
async def import_orders(new: list[NewOrder], db: Db, buyer: User) -> dict[str, int]:
    """Stores many orders and their jobs in a few round trips. A total below zero refuses all of them."""
    db.add_all(Order(id=one.id, buyer=buyer, total=one.total) for one in new)
    handles = await send_receipt.using(db, meta={"user": buyer}).aenqueue_many(
        [{"order_id": one.id} for one in new]
    )
    if any(one.total < 0 for one in new):
        raise HTTPException(422, "no order may cost less than nothing")  # rolls back
    return {"jobs": len(handles)}


async def make_tables() -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(make_tables())
