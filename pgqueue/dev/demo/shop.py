"""A small shop. It stores an order and the jobs of that order in one transaction.

The application calls ``place_order`` and ``import_orders``. Workers run the three tasks:
``pgq work -A pgqueue.dev.demo.shop:app -Q demo-mail,demo-web,demo-books``.

A job can run more than once, because its worker can die after the effect and before it has written that the job is completed. An effect
inside the database commits together with the job's completion, so it happens exactly once (``record_sale``). An effect outside the
database carries the job's id, in the mail's Message-ID or the request's Idempotency-Key. By this id the receiver recognises a repeat.
"""

from __future__ import annotations

import csv
import http.client
import json
import os
import smtplib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from email.message import EmailMessage
from importlib.resources import files
from typing import NamedTuple

import psycopg
from tenacity import stop_after_attempt, wait_random_exponential

from pgqueue import App, Job, RetryPolicy

app = App()


class Order(NamedTuple):
    order_id: int
    customer_id: int
    placed_on: str
    quantity: int
    amount: str


class CardDeclinedError(Exception):
    """The customer's card does not pay for these orders, so their transaction is rolled back."""


class NothingPaidError(Exception):
    """No receipt can be written for $0.00. Another attempt would fail in the same way."""


def place_order(conn: psycopg.Connection, order: Order, *, card_declined: bool = False) -> None:
    """Stores an order and its three jobs. All of them commit together, or none."""
    with conn.transaction():
        conn.execute("INSERT INTO demo.orders VALUES (%s, %s, %s, %s, %s)", order)
        send_receipt.using(conn).enqueue(order_id=order.order_id, email=email(order), amount=order.amount)
        notify_warehouse.using(conn).enqueue(order_id=order.order_id, quantity=order.quantity)
        record_sale.using(conn).enqueue(order_id=order.order_id)
        if card_declined:
            raise CardDeclinedError


def import_orders(conn: psycopg.Connection, orders: Sequence[Order], *, card_declined: bool = False) -> None:
    """Stores many orders and their jobs in batches. All of them commit in one transaction."""
    with conn.transaction(), conn.cursor() as cursor:
        cursor.executemany("INSERT INTO demo.orders VALUES (%s, %s, %s, %s, %s)", orders)
        send_receipt.using(conn).enqueue_many(
            [{"order_id": o.order_id, "email": email(o), "amount": o.amount} for o in orders]
        )
        notify_warehouse.using(conn).enqueue_many(
            [{"order_id": o.order_id, "quantity": o.quantity} for o in orders]
        )
        record_sale.using(conn).enqueue_many([{"order_id": o.order_id} for o in orders])
        if card_declined:
            raise CardDeclinedError


def email(order: Order) -> str:
    return f"customer-{order.customer_id}@customers.example"


@app.task(
    name="demo.shop.send_receipt",
    queue="demo-mail",
    retry=RetryPolicy(
        wait=wait_random_exponential(multiplier=0.2, max=2),
        stop=stop_after_attempt(8),
        permanent=(NothingPaidError,),
    ),
)
def send_receipt(job: Job, order_id: int, email: str, amount: str) -> None:
    if Decimal(amount) == 0:
        raise NothingPaidError(f"order {order_id} was for ${amount}")
    mail = EmailMessage()
    mail["From"], mail["To"] = "shop@shop.example", email
    mail["Subject"] = f"Your order {order_id}"
    mail["Message-ID"] = f"<job-{job.id}@shop.example>"
    mail.set_content(f"Thank you. We received ${amount}.")
    host, port = address("DEMO_SMTP")
    with smtplib.SMTP(host, port, local_hostname="shop.example", timeout=10) as server:
        server.send_message(mail)


@app.task(name="demo.shop.notify_warehouse", queue="demo-web", retry=[0.25, 0.5, 1, 1, 2, 2, 4])
def notify_warehouse(job: Job, order_id: int, quantity: int) -> dict[str, int]:
    connection = http.client.HTTPConnection(*address("DEMO_WEBHOOK"), timeout=10)
    try:
        body = json.dumps({"order_id": order_id, "quantity": quantity})
        connection.request("POST", "/orders", body, {"Idempotency-Key": f"job-{job.id}"})
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != http.client.OK:
        raise http.client.HTTPException(f"the warehouse answered {status}")
    return {"status": status}


@app.task(name="demo.shop.record_sale", queue="demo-books")
def record_sale(job: Job, order_id: int) -> None:
    with job.transaction() as conn:  # the sale and the job's completion commit together
        conn.execute(
            "INSERT INTO demo.sales (job_id, order_id, amount)"
            " SELECT %s, order_id, amount FROM demo.orders WHERE order_id = %s",
            (job.id, order_id),
        )


def address(variable: str) -> tuple[str, int]:
    """Returns the host and the port from an environment variable such as ``DEMO_SMTP=127.0.0.1:1025``."""
    host, _, port = os.environ[variable].rpartition(":")
    return host, int(port)


def read_orders() -> Iterator[Order]:
    """Reads real orders of a real shop. ``orders.LICENSE.md`` says where they come from."""
    with files("pgqueue.dev.demo").joinpath("orders.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            yield Order(
                int(row["order_id"]),
                int(row["customer_id"]),
                row["placed_on"],
                int(row["quantity"]),
                row["amount"],
            )
