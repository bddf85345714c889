"""Counts round trips between a worker process and the server: a proxy counts how often a client sends after the server has answered.

This count is the same for each driver and protocol. Several messages that a client sends before it reads an answer, as in a pipeline, are
one round trip.
"""

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from psycopg.conninfo import conninfo_to_dict

PARTS = ("user", "password", "dbname", "host", "port")


@dataclass
class Trips:
    """``dsn`` leads to the database through the proxy. ``count`` is the number of round trips so far."""

    dsn: str
    count: int = 0


@contextmanager
def counted(dsn: str) -> Iterator[Trips]:
    """Runs the proxy, on a thread of this process, while the block runs."""
    parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    host, port = parts.get("host", "localhost"), parts.get("port", "5432")
    loop = asyncio.new_event_loop()
    with tempfile.TemporaryDirectory(prefix="pgqueue-bench-") as folder:
        more = {name: value for name, value in parts.items() if name not in PARTS} | {
            "host": folder,
            "port": port,
            "sslmode": "disable",
        }
        user = ":".join(quote(parts[name], safe="") for name in ("user", "password") if name in parts)
        trips = Trips(f"postgresql://{user}@/{parts['dbname']}?{urlencode(more)}")

        async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if host.startswith("/"):
                server = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
            else:
                server = await asyncio.open_connection(host, int(port))
            await carry(trips, (reader, writer), server)

        async def start() -> asyncio.Server:
            return await asyncio.start_unix_server(connect, Path(folder) / f".s.PGSQL.{port}")

        door = loop.run_until_complete(start())
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield trips
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            door.close()
            if left := asyncio.all_tasks(loop):
                for task in left:
                    task.cancel()
                loop.run_until_complete(asyncio.wait(left))
            loop.run_until_complete(door.wait_closed())
            loop.close()


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def carry(trips: Trips, client: Stream, server: Stream) -> None:
    """Passes the data of a connection on, until one side closes it."""
    is_answered = True

    async def upward() -> None:
        nonlocal is_answered
        while data := await client[0].read(65536):
            trips.count += is_answered
            is_answered = False
            server[1].write(data)
        server[1].close()

    async def downward() -> None:
        nonlocal is_answered
        while data := await server[0].read(65536):
            is_answered = True
            client[1].write(data)
        client[1].close()

    try:
        with suppress(OSError):
            await asyncio.gather(upward(), downward())
    finally:
        for _, writer in (client, server):
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()  # otherwise the loop could be closed while the socket is open
