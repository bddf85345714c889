"""Runs a scheduler in a process without a worker: ``python -m tests.process.scheduler_alone DSN``."""

from __future__ import annotations

import asyncio
import sys

from pgqueue.database.link import Link
from pgqueue.database.outage import Outage
from pgqueue.maintenance.scheduler import Scheduler


def main() -> None:
    dsn = sys.argv[1]
    asyncio.run(Scheduler(Link(dsn, "pgqueue schedules", Outage(dsn))).run())


if __name__ == "__main__":
    main()
