"""Tests of how a listener reacts to notifications, and to a connection that delivers no notifications."""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from pgqueue.database.outage import ConnectionLost
from pgqueue.worker import listener as module
from pgqueue.worker.claiming.served_queues import MOST_KEPT, ServedQueues
from pgqueue.worker.listener import Listener
from tests.unit.fake_link import FakeLink
from tests.waiting import until


class Calls:
    """A listener, and the calls that it has made. ``woken`` and ``elections`` are the numbers of calls. ``cancels`` has the argument of each call."""

    def __init__(self, *queues: str, link: Any = None) -> None:
        self.woken, self.cancels, self.elections = 0, [], 0
        self.listener = Listener(link, queues, self.wake, self.cancels.append, self.elect)

    def wake(self) -> None:
        self.woken += 1

    def elect(self) -> None:
        self.elections += 1


class Connection:
    """A connection that first delivers the notifications that the listener itself sends, and then ``payloads``. After that it is silent, or it breaks."""

    def __init__(self, *payloads: list[str], delivers: bool = True, breaks: bool = False) -> None:
        self.payloads, self.delivers, self.breaks = list(payloads), delivers, breaks
        self.executed: list[Any] = []

    async def execute(self, query: Any, parameters: Any = None) -> None:
        self.executed.append(query)
        if parameters is not None and self.delivers:
            self.payloads.insert(0, [parameters[1]])

    async def wait(self, seconds: float) -> list[str]:
        if self.payloads:
            return self.payloads.pop(0)
        if self.breaks:
            raise ConnectionLost("it broke")
        await asyncio.sleep(min(seconds, 0.01))
        return []


class Connections(FakeLink):
    """A link that returns the next connection after one was lost."""

    def __init__(self, *connections: Connection) -> None:
        super().__init__()
        self.connections = list(connections)

    async def connection(self) -> Any:
        return self.connections[min(len(self.lost_with), len(self.connections) - 1)]


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Returns a function that runs a listener of the queue ``mail`` on given connections until a condition is true."""
    monkeypatch.setattr(module, "within", lambda _connection, _seconds: contextlib.nullcontext())
    monkeypatch.setattr(module, "wait_notified", lambda connection, seconds: connection.wait(seconds))
    monkeypatch.setattr(module, "LONGEST_ANSWER", 0.05)

    def run(condition: Callable[[Calls], object], *connections: Connection) -> tuple[Calls, Connections]:
        link = Connections(*connections)
        calls = Calls("mail", link=link)

        async def play() -> None:
            listening = asyncio.create_task(calls.listener.run())
            await until(lambda: condition(calls), 10)
            listening.cancel()
            await asyncio.wait([listening])

        asyncio.run(play())
        return calls, link

    return run


def test_a_listener_proves_that_notifications_arrive_and_looks_for_earlier_jobs_and_cancels(listen):
    connection = Connection(["mail"])
    calls, _ = listen(lambda calls: calls.woken >= 2, connection)
    assert calls.listener.proven.is_set()
    assert calls.cancels == [None]
    assert connection.executed[:2] == [b"listen pgqueue", "select pg_notify(%s, %s)"]


def test_a_listener_logs_one_line_and_looks_for_no_cancels_if_no_notification_arrives(listen, caplog):
    calls, _ = listen(lambda calls: calls.woken, Connection(delivers=False))
    assert not calls.listener.proven.is_set()
    assert calls.cancels == []
    assert caplog.text.count("PGQ-105") == 1


def test_a_silent_connection_is_tested_with_a_query(listen):
    connection = Connection()
    listen(lambda _: "select 1" in connection.executed, connection)


def test_a_listener_replaces_a_broken_connection_and_looks_for_missed_jobs_and_cancels(listen):
    calls, link = listen(lambda calls: calls.woken >= 2, Connection(breaks=True), Connection())
    assert [type(error) for error in link.lost_with] == [ConnectionLost]
    assert calls.cancels == [None, None]


def test_each_kind_of_payload_is_passed_on():
    calls = Calls("mail", "shop.*")
    calls.listener._pass_on(["mail", "mail"])
    calls.listener._pass_on(["shop.orders"])
    calls.listener._pass_on([""])
    calls.listener._pass_on(["cancel 7", "cancel 8"])
    calls.listener._pass_on(["elect leader"])
    assert (calls.woken, calls.cancels, calls.elections) == (3, [{7, 8}], 1)


@pytest.mark.parametrize("queues", [("mail",), ("*",), ("mail", "shop.*", "a*b*c")])
def test_a_flood_of_payloads_that_are_no_queues_costs_no_memory_and_wakes_no_worker(queues):
    calls = Calls(*queues)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(0, 20_000, 100):
        calls.listener._pass_on([f"{'x' * 3000} {m}" for m in range(n, n + 100)])
        calls.listener._pass_on(
            ["cancel 1234567890123456789", "cancel x", "cancel", "elect", "proof:0", f"{n}", "a\nb"]
        )
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert kept < 200_000
    assert (calls.woken, calls.cancels, calls.elections) == (0, [], 0) or queues == ("*",)


@pytest.mark.parametrize("queues", [("mail",), ("mail", "shop.*"), ("*",)])
def test_the_memory_for_names_of_queues_is_bounded(queues):
    served = ServedQueues(queues)
    for n in range(3 * MOST_KEPT):
        served.serving_name(f"strange_{n}")
    assert served._fitting.cache_info().currsize <= MOST_KEPT
    assert served.serving_name("mail") == ("*" if queues == ("*",) else "mail")
