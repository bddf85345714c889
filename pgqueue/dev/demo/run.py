"""Runs ``pgq demo``: a shop's day on which many things go wrong, and the proof that no job was lost and no order has two effects."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import files

import psycopg
from rich.console import Console

from pgqueue.dev.demo.day import Day
from pgqueue.dev.demo.display import Display
from pgqueue.dev.demo.result import DemoResult, prove, show
from pgqueue.dev.demo.shop import read_orders
from pgqueue.dev.demo.sinks import MailSink, WebhookSink
from pgqueue.dev.demo.workers import Workers
from pgqueue.errors import InvalidOptionError, InvalidSettingError

LEAST = 20  # the smallest number of orders; with fewer orders, some events of the day would not happen
# The key of an advisory lock that only demos take, so that they run one after the other.
ONE_AT_A_TIME = 7_467_178_353
MARK = "made by pgq demo, dropped by the next one"


def run(
    dsn: str, *, orders: int = 300, console: Console | None = None, json_output: bool = False
) -> DemoResult:
    """Plays the day on a migrated database, and prints the table.

    If ``json_output`` is True, prints progress to stderr and no table, because the caller prints JSON to stdout.
    """
    day_orders = list(read_orders())
    if not LEAST <= orders <= len(day_orders):
        raise InvalidOptionError(
            f"The demo can't be run with {orders} orders.",
            do=f"give a number from {LEAST} to {len(day_orders)}",
        )
    console = console or Console(stderr=json_output)
    with (
        terminable(),
        psycopg.connect(dsn, autocommit=True) as conn,
        Display(console) as display,
    ):
        (free,) = conn.execute("SELECT pg_try_advisory_lock(%s)", [ONE_AT_A_TIME]).fetchone() or (False,)
        if not free:
            display.say("another demo runs in this database; this demo begins when the other has ended")
            conn.execute("SELECT pg_advisory_lock(%s)", [ONE_AT_A_TIME])
        since = open_shop(conn)
        with (
            MailSink(dsn) as mail,
            WebhookSink(dsn, display.say, fails_after=orders // 4, outage=2.0) as web,
            Workers({"PGQUEUE_DSN": dsn, "DEMO_SMTP": mail.address, "DEMO_WEBHOOK": web.address}) as workers,
        ):
            day = Day(conn, since, display, workers, mail)
            day.play(day_orders[:orders])
        result = prove(
            conn, since, written=day.written, rolled_back=day.rolled_back, seconds=round(display.seconds, 1)
        )
    if not json_output:
        show(result, console)
    return result


def open_shop(conn: psycopg.Connection) -> datetime:
    """Drops the schema ``demo`` of a former demo, and makes a new one. Returns the database's time."""
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
    # Cancels the jobs that are left from an interrupted demo.
    conn.execute(
        "SELECT pgqueue.cancel(id) FROM pgqueue.jobs"
        " WHERE state IN ('pending', 'retrying', 'waiting', 'running') AND task LIKE 'demo.shop.%'"
    )
    row = conn.execute("SELECT clock_timestamp()").fetchone()
    assert row
    moment: datetime = row[0]
    return moment


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
