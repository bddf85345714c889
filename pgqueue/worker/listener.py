"""Turns notifications into wake-ups, and into looks for jobs that were asked to stop.

A listener only makes a worker faster: without notifications the worker still polls, and looks by itself.

At its start a listener proves that LISTEN delivers, because behind some poolers LISTEN silently delivers nothing.
"""

from __future__ import annotations

import asyncio
import random
import re
import secrets
from collections.abc import Callable, Iterable

from psycopg import AsyncConnection

from pgqueue.database.link import Link
from pgqueue.database.outage import Trouble
from pgqueue.database.run import wait_notified
from pgqueue.database.silence import within
from pgqueue.model.names import QUEUE_NAME
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.workers import ListenerDeaf
from pgqueue.worker.claiming.served_queues import ServedQueues

CHANNEL = "pgqueue"
# functions/cancel.sql sends this, with the id of the worker that runs the job.
CANCEL = re.compile(r"cancel (\d{1,18})", re.ASCII)
ELECTION = "elect leader"  # stop_worker.sql sends this
# Seconds that an answer may take here. The notification that proves that LISTEN delivers may take as long.
LONGEST_ANSWER = 2.0
PROBE = 60.0  # seconds of silence after which the connection is probed; TCP's keep-alive looks sooner, but not past a proxy


class Listener:
    """``wake_up`` is called when a job was enqueued in one of ``queues``: names and patterns as in -Q.

    ``cancelled`` is called with the ids of the workers that have jobs to stop. None stands for all workers, because
    notifications may have come while nothing listened.
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
                await self._begin(connection)
                trouble.over()
                while True:
                    await self._pass_on_next(connection)
            except Exception as error:  # noqa: BLE001 - it is logged
                pause = trouble.after(error)
                await self._link.lost(error)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

    async def _begin(self, connection: AsyncConnection) -> None:
        with within(connection, LONGEST_ANSWER):
            await connection.execute(f"listen {CHANNEL}".encode())
        await self._prove(connection)
        self._wake_up()  # for the jobs that were announced while nothing listened
        if self.proven.is_set():
            self._cancelled(None)

    async def _pass_on_next(self, connection: AsyncConnection) -> None:
        payloads = await wait_notified(connection, PROBE)
        if payloads:
            self._pass_on(payloads)
        else:
            with within(connection, LONGEST_ANSWER):
                await connection.execute("select 1")

    def _pass_on(self, payloads: list[str]) -> None:
        # Every role may send any text: what pgqueue did not send is dropped here, before it costs memory.
        workers = {int(cancel[1]) for payload in payloads if (cancel := CANCEL.fullmatch(payload))}
        if workers:
            self._cancelled(workers)
        if ELECTION in payloads:
            self._vacant()
        if any(not payload or self._is_served(payload) for payload in payloads):
            self._wake_up()

    def _is_served(self, payload: str) -> bool:
        return QUEUE_NAME.fullmatch(payload) is not None and self._served.serving_name(payload) is not None

    async def _prove(self, connection: AsyncConnection) -> None:
        token = f"proof:{secrets.token_hex(8)}"
        with within(connection, LONGEST_ANSWER):
            await connection.execute("select pg_notify(%s, %s)", [CHANNEL, token])
        loop = asyncio.get_running_loop()
        end = loop.time() + LONGEST_ANSWER
        while (left := end - loop.time()) > 0:
            if token in await wait_notified(connection, left):
                self.proven.set()
                return
        if not self._warned:
            self._warned = True
            emit(ListenerDeaf())
