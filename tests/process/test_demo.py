"""``pgq demo`` with fewer orders than usual. Its workers are real processes, and one of them is killed."""

from __future__ import annotations

import io

import psycopg
import pytest
from rich.console import Console

from pgqueue.dev.demo.day import Day
from pgqueue.dev.demo.run import run
from pgqueue.dev.demo.shop import read_orders
from pgqueue.errors import InvalidOptionError, InvalidSettingError
from tests.pids import is_gone


def console() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=140), text


def worker_pids(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as conn:
        return [pid for (pid,) in conn.execute("SELECT pid FROM pgqueue.workers")]


def assert_no_process_is_left(dsn: str) -> None:
    pids = worker_pids(dsn)
    assert pids
    assert all(is_gone(pid) for pid in pids)


def test_the_demo_proves_that_no_job_of_a_committed_order_is_lost(dsn: str) -> None:
    screen, text = console()
    result = run(dsn, orders=80, console=screen)
    shown = text.getvalue()
    assert result.ok, shown
    assert result.orders_written == 80
    assert result.orders_rolled_back == 8  # a batch of six and two single orders
    assert result.orders_committed == 72
    lines = {line.task: line for line in result.lines}
    assert list(lines) == ["send_receipt", "notify_warehouse", "record_sale"]
    for line in result.lines:
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
    assert "is killed" in shown
    assert shown.count("proven") >= 3
    assert result.seconds < 30
    assert_no_process_is_left(dsn)


def test_an_interrupted_demo_leaves_no_process_and_can_run_again(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(self: Day, orders: object) -> None:
        while not worker_pids(dsn):
            self.look()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Day, "kill_a_worker", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(dsn, orders=40, console=console()[0])
    assert_no_process_is_left(dsn)

    assert run(dsn, orders=40, json_output=True).ok
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "is killed" in printed.err


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
