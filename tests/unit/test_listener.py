from __future__ import annotations

import tracemalloc

import pytest

from pgqueue.worker.claiming.served_queues import MOST_KEPT, ServedQueues
from pgqueue.worker.listener import Listener


class Heard:
    """A listener without a connection, and what it passes on."""

    def __init__(self, *queues: str) -> None:
        self.woken, self.cancels, self.elections = 0, [], 0
        self.listener = Listener(None, queues, self.wake, self.cancels.append, self.elect)

    def wake(self) -> None:
        self.woken += 1

    def elect(self) -> None:
        self.elections += 1


def test_each_kind_of_payload_is_passed_on():
    heard = Heard("mail", "shop.*")
    heard.listener._hear(["mail", "mail"])
    heard.listener._hear(["shop.orders"])
    heard.listener._hear([""])
    heard.listener._hear(["cancel 7", "cancel 8"])
    heard.listener._hear(["elect leader"])
    assert (heard.woken, heard.cancels, heard.elections) == (3, [{7, 8}], 1)


@pytest.mark.parametrize("queues", [("mail",), ("*",), ("mail", "shop.*", "a*b*c")])
def test_a_flood_of_what_is_no_queue_costs_no_memory_and_wakes_nobody(queues):
    heard = Heard(*queues)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(0, 20_000, 100):
        heard.listener._hear([f"{'x' * 3000} {m}" for m in range(n, n + 100)])
        heard.listener._hear(
            ["cancel 1234567890123456789", "cancel x", "cancel", "elect", "proof:0", f"{n}", "a\nb"]
        )
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert kept < 200_000
    assert (heard.woken, heard.cancels, heard.elections) == (0, [], 0) or queues == ("*",)


@pytest.mark.parametrize("queues", [("mail",), ("mail", "shop.*"), ("*",)])
def test_any_number_of_names_of_queues_costs_bounded_memory(queues):
    served = ServedQueues(queues)
    for n in range(3 * MOST_KEPT):
        served.serving_name(f"strange_{n}")
    assert served._fitting.cache_info().currsize <= MOST_KEPT
    assert served.serving_name("mail") == ("*" if queues == ("*",) else "mail")
