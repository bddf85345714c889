"""A shop on Flask and SQLAlchemy. An order and its jobs are one transaction.

export PGQUEUE_DSN=postgresql://…
flask --app shop pgq migrate && python -m shop     # makes the tables
flask --app shop run                               # and, in another terminal: flask --app shop pgq work
"""

from __future__ import annotations

import os

from flask import Flask, Response, request
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from pgqueue import App, Job
from pgqueue.integrations.flask import accepted, idempotency_key, use_pgqueue

DSN = os.environ["PGQUEUE_DSN"]
queue = App(DSN)
engine = create_engine(DSN.replace("postgresql:", "postgresql+psycopg:"))
Sessions = sessionmaker(engine)
app = Flask(__name__)


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    buyer: Mapped[str]
    total: Mapped[int]
    receipt: Mapped[str | None]


@queue.task(name="send_receipt", queue="mail", retry=[1, 5, 30])
def send_receipt(job: Job, order_id: int) -> None:
    """Notes the receipt. The note and the completion of this job are one commit."""
    with job.transaction(using=Sessions) as session:
        order = session.get_one(Order, order_id)
        order.receipt = f"{order.buyer} pays {order.total}"


def user() -> str:
    """Stands for your login."""
    return request.headers.get("X-User", "guest")


def may_see(job: Job) -> bool:
    return bool(job.meta.get("user") == user())


use_pgqueue(app, queue, may_see=may_see)


@app.post("/orders")
def place_order() -> Response:
    new = request.get_json()
    with Sessions.begin() as session:  # commits before the answer is made
        chosen = send_receipt.using(
            session,
            idempotency_key=idempotency_key(user(), is_required=False),
            unique_key=f"receipt:{new['id']}",
            meta={"user": user()},
        )
        handle = chosen.enqueue(order_id=new["id"])
        if handle.created:
            session.add(Order(id=new["id"], buyer=user(), total=new["total"]))
    return accepted(handle)


@app.post("/carts")
def place_orders() -> tuple[dict[str, list[int]], int]:
    """Stores many orders. An order that costs nothing is left out by a savepoint, with its job."""
    stored = []
    with Sessions.begin() as session:
        for new in request.get_json():
            try:
                with session.begin_nested():
                    session.add(Order(id=new["id"], buyer=user(), total=new["total"]))
                    send_receipt.using(session, meta={"user": user()}).enqueue(order_id=new["id"])
                    if new["total"] <= 0:
                        raise ValueError(new["total"])
                    stored.append(new["id"])
            except ValueError:
                continue
    return {"stored": stored}, 201


@app.post("/imports")
def import_orders() -> tuple[dict[str, object], int]:
    """Stores many orders and their jobs in a few round trips. A total below zero refuses all of them."""
    orders = request.get_json()
    with Sessions() as session:
        session.add_all(Order(id=new["id"], buyer=user(), total=new["total"]) for new in orders)
        handles = send_receipt.using(session, meta={"user": user()}).enqueue_many(
            [{"order_id": new["id"]} for new in orders]
        )
        if any(new["total"] < 0 for new in orders):
            session.rollback()
            return {"error": "no order may cost less than nothing"}, 422
        session.commit()
    return {"jobs": len(handles)}, 201


if __name__ == "__main__":
    Base.metadata.create_all(engine)
