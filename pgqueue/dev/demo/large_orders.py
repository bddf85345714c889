"""Large orders. Each is a workflow: reserve the CDs, charge the card, ship the parcel.

``store_large_order`` stores an order and its workflow in one transaction. Workers run the tasks:
``pgq work -A pgqueue.dev.demo.large_orders:app -Q demo-orders``.

Each effect is a row of this database, which commits together with what the queue remembers of it: with the step (``reserve``) or with the
completion of the job (all others). So each effect happens exactly once, whenever a worker dies.
"""

from __future__ import annotations

import time
from decimal import Decimal
from typing import NamedTuple

import psycopg

from pgqueue import Job, RetryPolicy, WorkflowHandle
from pgqueue.dev.demo.shop import CardDeclinedError, app, read_orders

QUEUE = "demo-orders"
TAKES = 0.08  # seconds to take a CD from the shelf
APPROVED_FROM = Decimal(150)  # US dollars; a person approves the charge of an order that costs as much


class LargeOrder(NamedTuple):
    """A row of ``demo.large_orders``."""

    order_id: int
    customer_id: int
    quantity: int
    amount: Decimal
    card_is_good: bool
    address: str | None
    approver: str | None  # who approves the charge, if it needs an approval; None: nobody does
    patience: int  # seconds for which the charge waits for the approval


class AddressUnknownError(Exception):
    """The carrier does not know the address. Another attempt would fail in the same way."""


def store_large_order(conn: psycopg.Connection, order: LargeOrder) -> WorkflowHandle:
    """Stores an order and its workflow. Both commit together, or none.

    The workflow needs no key: the primary key of the table keeps an order from being stored twice.
    """
    with conn.transaction():
        conn.execute("INSERT INTO demo.large_orders VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", order)
        with app.workflow(f"demo.order-{order.order_id}", using=conn) as w:
            held = w.add(reserve.job(order.order_id, order.quantity), undo=release.job(order.order_id))
            charging = charge.job(order.order_id, str(order.amount), order.patience)
            paid = w.add(charging, after=held, undo=refund.job(order.order_id))
            w.add(ship.job(order.order_id), after=paid)
    return w.handle


@app.task(name="demo.orders.reserve", queue=QUEUE)
def reserve(job: Job, order_id: int, quantity: int) -> int:
    for cd in range(1, quantity + 1):
        job.step_transaction(("take", cd), take, order_id, cd)
    return quantity


def take(conn: psycopg.Connection, order_id: int, cd: int) -> None:
    """Takes one CD from the shelf. If the worker dies meanwhile, the row is rolled back, and another worker takes the CD."""
    conn.execute("INSERT INTO demo.reservations (order_id, cd) VALUES (%s, %s)", (order_id, cd))
    time.sleep(TAKES)


@app.task(name="demo.orders.charge", queue=QUEUE, retry=RetryPolicy(permanent=(CardDeclinedError,)))
def charge(job: Job, order_id: int, amount: str, patience: int) -> None:
    if Decimal(amount) >= APPROVED_FROM:
        job.wait_for("approved", timeout=patience)  # if nobody approves in time, the job is dead
    with job.transaction() as conn:
        paid = conn.execute(
            "INSERT INTO demo.charges (order_id, amount)"
            " SELECT order_id, amount FROM demo.large_orders WHERE order_id = %s AND card_is_good",
            (order_id,),
        )
        if paid.rowcount == 0:
            raise CardDeclinedError("the bank declines the card")
        job.finish({"paid": amount})


@app.task(name="demo.orders.ship", queue=QUEUE, retry=RetryPolicy(permanent=(AddressUnknownError,)))
def ship(job: Job, order_id: int) -> None:
    with job.transaction() as conn:
        sent = conn.execute(
            "INSERT INTO demo.shipments (order_id, address)"
            " SELECT order_id, address FROM demo.large_orders WHERE order_id = %s AND address IS NOT NULL",
            (order_id,),
        )
        if sent.rowcount == 0:
            raise AddressUnknownError("the carrier does not know the address")


@app.task(name="demo.orders.refund", queue=QUEUE)
def refund(job: Job, order_id: int) -> None:
    """Takes back ``charge``."""
    with job.transaction() as conn:
        conn.execute(
            "INSERT INTO demo.refunds (order_id, amount)"
            " SELECT order_id, amount FROM demo.charges WHERE order_id = %s",
            (order_id,),
        )


@app.task(name="demo.orders.release", queue=QUEUE)
def release(job: Job, order_id: int) -> None:
    """Takes back ``reserve``."""
    with job.transaction() as conn:
        conn.execute(
            "INSERT INTO demo.releases (order_id, cd)"
            " SELECT order_id, cd FROM demo.reservations WHERE order_id = %s",
            (order_id,),
        )


def read_large_orders() -> list[LargeOrder]:
    """Reads twelve real orders. Gives one a bad card, one an unknown address, and one no person who approves it."""
    large = [order for order in read_orders() if Decimal(order.amount) >= 110][:12]
    return [
        LargeOrder(
            order_id=order.order_id,
            customer_id=order.customer_id,
            quantity=order.quantity,
            amount=Decimal(order.amount),
            card_is_good=order.order_id != 113,
            address=None if order.order_id == 119 else f"{order.customer_id} Main Street",
            approver=None if order.order_id == 156 else "ann",
            patience=4 if order.order_id == 156 else 3600,
        )
        for order in large
    ]
