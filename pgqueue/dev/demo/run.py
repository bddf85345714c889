"""Runs ``pgq demo``: two acts on which many things go wrong, and the proof that nothing was lost and nothing happened twice."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files

import psycopg
from rich.console import Console

from pgqueue.dev.demo import day_result, evening_result
from pgqueue.dev.demo.act import now
from pgqueue.dev.demo.day import Day
from pgqueue.dev.demo.day_result import DayResult
from pgqueue.dev.demo.display import Display
from pgqueue.dev.demo.evening import Evening
from pgqueue.dev.demo.evening_result import EveningResult
from pgqueue.dev.demo.large_orders import read_large_orders
from pgqueue.dev.demo.result import DemoResult
from pgqueue.dev.demo.shop import Order, read_orders
from pgqueue.dev.demo.sinks import MailSink, WebhookSink
from pgqueue.dev.demo.workers import Workers
from pgqueue.errors import InvalidOptionError, InvalidSettingError

LEAST = 20  # the smallest number of orders; with fewer orders, some events of the day would not happen
# The key of an advisory lock that only demos take, so that they run one after the other.
ONE_AT_A_TIME = 7_467_178_353
MARK = "made by pgq demo, dropped by the next one"
LEFT = """
SELECT pgqueue.cancel(id) FROM pgqueue.jobs
WHERE state IN ('pending', 'retrying', 'waiting', 'running') AND (task LIKE 'demo.shop.%' OR task LIKE 'demo.orders.%')
"""


def run(
    dsn: str,
    *,
    orders: int = 300,
    act: int | None = None,
    console: Console | None = None,
    json_output: bool = False,
) -> DemoResult:
    """Plays both acts, or only this one, on a migrated database, and prints their tables.

    ``orders``: how many orders the shop takes in the first act. If ``json_output`` is True, prints progress to stderr and no tables,
    because the caller prints JSON to stdout.
    """
    day_orders = list(read_orders())
    if not LEAST <= orders <= len(day_orders):
        raise InvalidOptionError(
            f"The demo can't be run with {orders} orders.",
            do=f"give a number from {LEAST} to {len(day_orders)}",
        )
    display = Display(console or Console(stderr=json_output))
    with terminable(), psycopg.connect(dsn, autocommit=True) as conn:
        (free,) = conn.execute("SELECT pg_try_advisory_lock(%s)", [ONE_AT_A_TIME]).fetchone() or (False,)
        if not free:
            display.say("another demo runs in this database; this demo begins when the other has ended")
            conn.execute("SELECT pg_advisory_lock(%s)", [ONE_AT_A_TIME])
        open_shop(conn)
        with (
            MailSink(dsn) as mail,
            WebhookSink(dsn, display.say, fails_after=orders // 4, outage=2.0) as web,
            Workers({"PGQUEUE_DSN": dsn, "DEMO_SMTP": mail.address, "DEMO_WEBHOOK": web.address}) as workers,
        ):
            day = evening = None
            if act != 2:
                day = play_day(Day(conn, now(conn), display, workers, mail), day_orders[:orders])
            if day and not json_output:
                day_result.show(day, display.console)
            if act != 1:
                evening = play_evening(Evening(conn, now(conn), display, workers))
            if evening and not json_output:
                evening_result.show(evening, display.console)
    results = [result.ok for result in (day, evening) if result]
    return DemoResult(ok=all(results), seconds=round(display.seconds, 1), day=day, evening=evening)


def play_day(day: Day, orders: Sequence[Order]) -> DayResult:
    with day.display.act("A day of orders"):
        day.play(orders)
    return day_result.prove(day.conn, day.since, written=day.written, rolled_back=day.rolled_back)


def play_evening(evening: Evening) -> EveningResult:
    with evening.display.act("An evening of large orders, each a workflow"):
        evening.play(read_large_orders())
    return evening_result.prove(evening.conn, evening.since, order=evening.largest, job=evening.job_id)


def open_shop(conn: psycopg.Connection) -> None:
    """Drops the schema ``demo`` of a former demo, makes a new one, and cancels the jobs that are left from an interrupted demo."""
    found = conn.execute(
        "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'demo'"
    ).fetchone()
    if found and found[0] != MARK:
        raise InvalidSettingError(
            "The database has a schema demo that pgq demo did not make, and does not drop.",
            do="run pgq demo on another database",
        )
    with conn.transaction():
        conn.execute("DROP SCHEMA IF EXISTS demo CASCADE")
        conn.execute(files("pgqueue.dev.demo").joinpath("schema.sql").read_text())
        conn.execute(f"COMMENT ON SCHEMA demo IS '{MARK}'")
    conn.execute(LEFT)


@contextmanager
def terminable() -> Iterator[None]:
    """Makes SIGTERM raise an exception in this block, as Ctrl-C does. So each ``finally`` runs, and the demo leaves no process behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(signum: int, _frame: object) -> None:
        sys.exit(128 + signum)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
