"""``pgq demo`` with fewer orders than usual. Its workers are real processes, and some of them are killed."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime

import psycopg
import pytest
import typer
from rich.console import Console

from pgqueue.dev.demo import evening_result, workers
from pgqueue.dev.demo.day_result import DayResult
from pgqueue.dev.demo.evening import Evening
from pgqueue.dev.demo.evening_result import EveningResult
from pgqueue.dev.demo.large_orders import read_large_orders
from pgqueue.dev.demo.run import run
from pgqueue.dev.demo.shop import read_orders
from pgqueue.errors import InvalidOptionError, InvalidSettingError
from pgqueue.ui.cli import play
from tests.apps import careless_shop
from tests.pids import is_gone

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
EFFECTS = ("reservations", "charges", "shipments", "refunds", "releases")


def console() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=80), text


def worker_pids(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as conn:
        return [pid for (pid,) in conn.execute("SELECT pid FROM pgqueue.workers")]


def assert_no_process_is_left(dsn: str) -> None:
    pids = worker_pids(dsn)
    assert pids
    assert all(is_gone(pid) for pid in pids)


def test_the_demo_proves_that_nothing_is_lost_and_nothing_happens_twice(dsn: str) -> None:
    screen, text = console()
    result = run(dsn, orders=80, console=screen)
    shown = text.getvalue()
    assert result.ok, shown
    assert result.day
    assert_the_day_is_proven(result.day)
    assert result.evening
    assert_the_evening_is_proven(result.evening)
    assert shown.count("is killed") == 2
    assert "ann approves" in shown
    assert "charge is dead: the bank declines the card" in shown
    assert "charge is dead: nobody has approved it in time" in shown
    assert shown.count("proven") >= 9
    assert max(map(len, shown.splitlines())) <= 80
    assert_no_process_is_left(dsn)
    assert_the_proof_fails_if_one_effect_is_double_or_missing(dsn, result.evening)


def assert_the_day_is_proven(day: DayResult) -> None:
    assert day.orders_written == 80
    assert day.orders_rolled_back == 8  # a batch of six and two single orders
    assert day.orders_committed == 72
    lines = {line.task: line for line in day.lines}
    assert list(lines) == ["send_receipt", "notify_warehouse", "record_sale"]
    for line in day.lines:
        assert line.proven
        assert line.orphans == 0
        assert line.completed + line.dead == line.jobs == 72
        assert line.once == line.distinct_keys == line.completed <= line.received
    assert lines["send_receipt"].dead == 1
    assert lines["send_receipt"].rescued > 0
    # A job of the killed worker ran twice, and sent its mail twice.
    assert lines["send_receipt"].received > lines["send_receipt"].distinct_keys
    assert lines["notify_warehouse"].retried > 0
    assert lines["record_sale"].received == 72  # exactly once, even if the job was rescued


def assert_the_evening_is_proven(evening: EveningResult) -> None:
    effects = {line.effect: line.happened for line in evening.effects}
    assert effects == {"workflow": 12, "reserve": 99, "charge": 10, "ship": 9, "refund": 1, "release": 21}
    assert evening.order == 115
    assert evening.steps_before > 0
    assert evening.steps_after > 0
    assert evening.steps_before + evening.steps_after == 19


def assert_the_proof_fails_if_one_effect_is_double_or_missing(dsn: str, evening: EveningResult) -> None:
    def is_proven(conn: psycopg.Connection) -> bool:
        return evening_result.prove(conn, LONG_AGO, order=evening.order, job=evening.job).ok

    with psycopg.connect(dsn) as conn:
        assert is_proven(conn)
        for table in EFFECTS:
            for change in (
                f"INSERT INTO demo.{table} SELECT * FROM demo.{table} LIMIT 1",
                f"DELETE FROM demo.{table} WHERE ctid = (SELECT min(ctid) FROM demo.{table})",
            ):
                conn.execute(change)
                assert not is_proven(conn), change
                conn.rollback()
        assert is_proven(conn)


def test_an_interrupted_demo_leaves_no_process_and_can_run_again(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(self: Evening) -> None:
        for _ in self.looks():
            if self.conn.execute("SELECT count(*) > 0 FROM demo.reservations").fetchone() == (True,):
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Evening, "kill_a_worker", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(dsn, act=2, console=console()[0])
    assert_no_process_is_left(dsn)

    result = run(dsn, act=2, json_output=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert result.ok, printed.err
    assert result.day is None
    assert re.search(r"first, \d+ workflows? of an interrupted demo are undone", printed.err)
    assert "is killed" in printed.err


def test_the_demo_exits_with_7_if_an_effect_happens_twice(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    careless = workers.WORK.replace("pgqueue.dev.demo.large_orders:app", careless_shop.PATH)
    assert careless != workers.WORK
    monkeypatch.setattr(workers, "WORK", careless)
    with pytest.raises(typer.Exit) as ended:
        play.demo(act=2, dsn=dsn)
    shown = capsys.readouterr().out
    assert ended.value.exit_code == play.CHECK_FAILED == 7, shown
    [line] = [line.split() for line in shown.splitlines() if "CDs reserved" in line]
    assert (line[2], line[4], line[6:]) == ("99", "0", ["NOT", "PROVEN"])
    assert int(line[3]) == 99 + int(line[5]) > 99
    assert "undo of charge" in shown


def test_the_demo_does_not_drop_a_schema_demo_that_a_user_has_made(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE SCHEMA demo")
        with pytest.raises(InvalidSettingError):
            run(dsn, orders=40)
        conn.execute("DROP SCHEMA demo")


def test_the_demo_refuses_too_few_or_too_many_orders() -> None:
    for number in (19, 493):
        with pytest.raises(InvalidOptionError):
            run("unused", orders=number)


def test_the_file_of_orders_has_492_orders_and_one_of_them_is_free() -> None:
    orders = list(read_orders())
    assert len(orders) == 492
    assert [order.order_id for order in orders] == list(range(1, 493))
    assert [order.order_id for order in orders if float(order.amount) == 0] == [12]
    assert [order.order_id for order in read_large_orders()] == [
        41, 62, 106, 112, 113, 115, 119, 128, 149, 156, 160, 161
    ]  # fmt: skip
