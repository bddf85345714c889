"""A shop on SQLAlchemy: orders and their jobs are one transaction. Run it with ``PGQUEUE_DSN`` set, after ``pgq migrate``."""

from __future__ import annotations

import os

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker

from pgqueue import App, Job

DSN = os.environ["PGQUEUE_DSN"]
app = App(DSN)
engine = create_engine(DSN.replace("postgresql:", "postgresql+psycopg:"))  # the same database
Sessions = sessionmaker(engine)


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    receipt_sent: Mapped[bool] = mapped_column(default=False)


@app.task(name="send_receipt", queue="mail")
def send_receipt(job: Job, order_id: int) -> None:
    """Marks the receipt as sent. The mark and the completion of the job are one commit."""
    with job.transaction(using=Sessions) as session:
        session.get_one(Order, order_id).receipt_sent = True


def place_order(session: Session, order_id: int) -> int:
    """Stores an order and its job in the transaction of ``session``. Returns the id of the job."""
    session.add(Order(id=order_id))
    return send_receipt.using(session, unique_key=f"receipt:{order_id}").enqueue(order_id=order_id).id


def main() -> None:
    Base.metadata.create_all(engine)

    with Sessions.begin() as session:
        place_order(session, 1)
    print("order 1: committed with its job")

    try:
        with Sessions.begin() as session:
            place_order(session, 2)
            raise RuntimeError("the card is declined")
    except RuntimeError:
        print("order 2: rolled back with its job")

    with Sessions.begin() as session:
        place_order(session, 3)
        try:
            with session.begin_nested():  # a savepoint
                place_order(session, 4)
                raise RuntimeError("order 4 is a mistake")
        except RuntimeError:
            print("order 4: rolled back to the savepoint, order 3 stays")

    with Sessions.begin() as session:
        handle = send_receipt.using(session, unique_key="receipt:3").enqueue(order_id=3)
    print(
        "a second receipt for order 3:", "created" if handle.created else f"job {handle.id} is there already"
    )

    with Sessions.begin() as session:
        session.add_all(Order(id=n) for n in range(100, 300))
        handles = send_receipt.using(session).enqueue_many([{"order_id": n} for n in range(100, 300)])
    print(len(handles), "jobs in a few round trips")
    app.close()


if __name__ == "__main__":
    main()
