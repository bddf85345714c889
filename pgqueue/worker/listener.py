"""Turns notifications into wake-ups, and into looks at which jobs were asked to stop.

An accelerator only: a worker that hears nothing still polls, and looks by itself.

At its start it proves that LISTEN delivers, because behind some poolers it silently does not.
"""

from __future__ import annotations

import asyncio
import random
import re
import secrets
from collections.abc import Callable, Iterable

import psycopg

from pgqueue.database.link import Link
from pgqueue.database.outage import Trouble
from pgqueue.database.run import wait_notified
from pgqueue.database.silence import within
from pgqueue.model.names import QUEUE_NAME
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.workers import ListenerDeaf
from pgqueue.worker.claiming.served_queues import ServedQueues

CHANNEL = "pgqueue"
CANCEL = re.compile(
    r"cancel (\d{1,18})", re.ASCII
)  # the id of the worker that runs the job: functions/cancel.sql
ELECTION = "elect leader"  # stop_worker.sql
PROOF = 2.0
PROBE = 60.0  # seconds of silence after which the connection is probed; TCP's keep-alive looks sooner, but not past a proxy


class Listener:
    """``cancelled`` is called with the ids of workers that have jobs to stop; None: it may be any, because no listener was there until now.

    ``vacant`` is called when the leader has resigned.
    """

    def __init__(
        self,
        link: Link,
        queues: Iterable[str],
        wake_up: Callable[[], None],
        cancelled: Callable[[set[int] | None], None],
        vacant: Callable[[], None],
    ) -> None:
        self._link, self._served, self._wake_up = link, ServedQueues(queues), wake_up
        self._cancelled, self._vacant = cancelled, vacant
        self.proven = asyncio.Event()
        self._warned = False

    async def run(self) -> None:
        trouble = Trouble("the listener")
        while True:
            try:
                connection = await self._link.connection()
                with within(connection, PROOF):
                    await connection.execute(f"listen {CHANNEL}".encode())
                await self._prove(connection)
                trouble.over()
                self._wake_up()  # what was announced while it did not listen
                if self.proven.is_set():
                    self._cancelled(None)
                while True:
                    payloads = await wait_notified(connection, PROBE)
                    if payloads:
                        self._hear(payloads)
                    else:
                        with within(connection, PROOF):
                            await connection.execute("select 1")
            except Exception as error:  # noqa: BLE001 - it is logged
                pause = trouble.after(error)
                await self._link.lost(error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

    def _hear(self, payloads: list[str]) -> None:
        # Any role may send anything: what is none of ours is dropped here, before anything remembers it.
        workers = {int(cancel[1]) for payload in payloads if (cancel := CANCEL.fullmatch(payload))}
        if workers:
            self._cancelled(workers)
        if ELECTION in payloads:
            self._vacant()
        if any(not payload or self._is_served(payload) for payload in payloads):
            self._wake_up()

    def _is_served(self, payload: str) -> bool:
        return QUEUE_NAME.fullmatch(payload) is not None and self._served.serving_name(payload) is not None

    async def _prove(self, connection: psycopg.AsyncConnection) -> None:
        token = f"proof:{secrets.token_hex(8)}"
        with within(connection, PROOF):
            await connection.execute("select pg_notify(%s, %s)", [CHANNEL, token])
        loop = asyncio.get_running_loop()
        end = loop.time() + PROOF
        while (left := end - loop.time()) > 0:
            if token in await wait_notified(connection, left):
                self.proven.set()
                return
        if not self._warned:
            self._warned = True
            emit(ListenerDeaf())
