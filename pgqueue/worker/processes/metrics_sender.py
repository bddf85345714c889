"""Sends the metrics of a worker to its supervisor, so that Prometheus scrapes one target for all processes of ``--processes``.

Every EVERY seconds, the worker sends what it has counted since then, and the supervisor adds it to its own numbers. So the counters of the
supervisor never go back, even if a worker is replaced. If a worker is killed, what it counted in the last EVERY seconds is lost.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

from pgqueue.telemetry.metrics import RECORDER
from pgqueue.worker.processes.channels import METRICS

EVERY = 2.0  # seconds
LARGEST = 30_000  # characters of one message, because a datagram that does not fit into the socket's buffer is refused


class MetricsSender:
    """``send`` sends a message to the supervisor. It returns False if there is no room for the message now."""

    def __init__(self, send: Callable[[str], bool]) -> None:
        self._send = send

    async def run(self) -> None:
        """Sends again and again until it is cancelled, and then sends the rest."""
        try:
            while True:
                await asyncio.sleep(EVERY)
                self.send_all()
        finally:
            self.send_all()

    def send_all(self) -> None:
        for rows in in_parts(RECORDER.take()):
            if not self._send(f"{METRICS} {json.dumps(rows)}"):
                RECORDER.merge(rows)  # it is sent with what is counted until the next time


def in_parts(rows: list[list[Any]]) -> Iterator[list[list[Any]]]:
    """Divides the rows into parts that fit into a message each."""
    part: list[list[Any]] = []
    size = 0
    for row in rows:
        length = len(json.dumps(row)) + 2
        if part and size + length > LARGEST:
            yield part
            part, size = [], 0
        part.append(row)
        size += length
    if part:
        yield part


def merge(text: str) -> None:
    """Adds the numbers of a worker's message to those of this process, which is the supervisor."""
    RECORDER.merge(json.loads(text))
