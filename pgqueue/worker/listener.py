"""Receives notifications: wake-ups, requests to stop jobs, and the message that the leader has resigned.

A worker with a listener finds jobs and requests sooner. Without notifications, it finds the same jobs and requests by polling.

When it starts, a listener sends a notification to itself, because behind some poolers LISTEN silently delivers nothing.
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
from pgqueue.database.run import CHANNEL, wait_notified
from pgqueue.database.silence import within
from pgqueue.model.names import QUEUE_NAME
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.workers import ListenerDeaf
from pgqueue.worker.claiming.served_queues import ServedQueues

# functions/cancel.sql sends this message. The number is the id of the worker that runs the job.
CANCEL = re.compile(r"cancel (\d{1,18})", re.ASCII)
ELECTION = "elect leader"  # stop_worker.sql and end_lease.sql send this message when the leader has resigned
# The time limit, in seconds, for an answer of the server, and for the notification that the listener sends to itself.
LONGEST_ANSWER = 2.0
# After this many seconds without a notification, the connection is tested. TCP's keep-alive tests it earlier, but if there is a proxy, TCP
# tests only the connection to the proxy.
PROBE = 60.0


class Listener:
    """``wake_up`` is called when a job was enqueued in one of ``queues``, which are names and patterns as in -Q.

    ``cancelled`` is called with the ids of the workers that have jobs to stop. Notifications can be missed while there is no connection. So
    when a new connection is ready, ``cancelled`` is called with None, which stands for all workers.
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
        self._wake_up()  # perhaps jobs were enqueued while there was no connection
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
        # Every role can send any text on this channel. Text that pgqueue did not send is dropped here, before it takes memory.
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
