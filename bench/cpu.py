"""Measures the CPU time that a job costs in the worker and in the server. On a shared machine, CPU times vary less than rates.

The times are read from /proc. So they are known only on Linux, and the server's time is known only if the server runs on this host.
"""

import contextlib
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg

TICKS = os.sysconf("SC_CLK_TCK")
SERVERS = {"postgres", "redis-server"}
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


class Meter:
    """Measures the CPU time that client processes, their children and the server use after this object was made.

    ``ignored``: server processes that are not counted, because they serve connections of the measuring process.
    """

    def __init__(self, conn: psycopg.Connection[Any], *clients: int, ignored: Iterable[int] = ()) -> None:
        self.conn, self.clients, self.ignored = conn, clients, set(ignored)
        self.client_before, self.server_before = self._client(), self._server()

    def per_job(self, jobs: int) -> dict[str, float]:
        """Returns the microseconds for each job. The time of a process or connection that has ended before this call is not counted."""
        client, server = since(self.client_before, self._client()), since(self.server_before, self._server())
        return {"client_us": 1e6 * client / jobs, "server_us": 1e6 * server / jobs}

    def _client(self) -> dict[int, float]:
        return {pid: used_seconds(pid) for client in self.clients for pid in tree(client)}

    def _server(self) -> dict[int, float]:
        redis = {pid for pid in children(os.getpid()) if name(pid) == "redis-server"}
        return {pid: used_seconds(pid) for pid in (backends(self.conn) - self.ignored) | redis}


def since(before: dict[int, float], now: dict[int, float]) -> float:
    return sum(used - before.get(pid, 0.0) for pid, used in now.items())


def backends(conn: psycopg.Connection[Any]) -> set[int]:
    """Returns the pids of the server processes of all other connections to this database."""
    return {pid for (pid,) in conn.execute(BACKENDS)}


def used_seconds(pid: int) -> float:
    return _ticks(pid, 11, 12)


def reaped_seconds(pid: int) -> float:
    """Returns the CPU time of the ended children of a process. For the postmaster, these are mostly the processes of closed connections."""
    return _ticks(pid, 13, 14)


def parent(pid: int) -> int:
    return int(_fields(pid)[1])


def name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has just ended
            found += map(int, task.read_text().split())
    return found


def tree(pid: int) -> list[int]:
    """Returns the pids of a process and of its descendants. Descendants that are database servers are left out."""
    return [pid, *(found for child in children(pid) if name(child) not in SERVERS for found in tree(child))]


def memory_mb(pids: Iterable[int], field: str = "VmRSS") -> float:
    """Returns the sum of the resident memory of the processes, in MB. With ``field="VmHWM"``, returns the sum of their peaks.

    If several processes share memory, the shared memory counts once for each of them.
    """
    kilobytes = 0
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return math.nan
        kilobytes += int(status.partition(f"{field}:")[2].split()[0])
    return kilobytes / 1000


def _ticks(pid: int, *fields: int) -> float:
    try:
        found = _fields(pid)
    except OSError:
        return math.nan
    return sum(int(found[field]) for field in fields) / TICKS


def _fields(pid: int) -> list[str]:
    """Returns the fields of /proc/PID/stat, beginning with the third field, the state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
