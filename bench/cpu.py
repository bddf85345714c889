"""CPU time a job costs, in the worker and in its server processes: steadier than rates on a machine that is shared.

Read from /proc, so there is none to show elsewhere or for a server on another host.
"""

import math
import os
from pathlib import Path
from typing import Any

import psycopg

TICKS = os.sysconf("SC_CLK_TCK")
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


class Meter:
    """From its making on, what one client process and all connections to this database have used."""

    def __init__(self, conn: psycopg.Connection[Any], client: int) -> None:
        self.conn, self.client = conn, client
        self.client_before, self.server_before = self._client(), self._server()

    def per_job(self, jobs: int) -> dict[str, float]:
        """Microseconds; a connection that has ended meanwhile is not counted."""
        server = sum(used - self.server_before.get(pid, 0.0) for pid, used in self._server().items())
        client = self._client() - self.client_before
        return {"client_us": 1e6 * client / jobs, "server_us": 1e6 * server / jobs}

    def _client(self) -> float:
        return used_seconds(self.client)

    def _server(self) -> dict[int, float]:
        return {pid: used_seconds(pid) for (pid,) in self.conn.execute(BACKENDS)}


def used_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return math.nan
    return (int(fields[11]) + int(fields[12])) / TICKS
