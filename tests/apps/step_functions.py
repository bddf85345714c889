"""The functions that the handlers of step_tasks.py call in their steps, and the file in which they note each call."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection, Connection

from pgqueue import Job

NOTES = "PGQUEUE_STEP_NOTES"  # the environment variable with the path of the file


def note(*what: object) -> None:
    with Path(os.environ[NOTES]).open("a") as file:
        file.write(json.dumps(what) + "\n")


def notes(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@dataclass
class Page:
    """A value that only the annotation of its step brings back."""

    number: int
    at: datetime


def fetch(n: int) -> Page:
    note("fetch", n)
    return Page(n, datetime(2026, 1, n, tzinfo=UTC))


async def afetch(n: int) -> Page:
    await asyncio.sleep(0.01)
    return fetch(n)


def fail_once(job: Job) -> None:
    if job.attempt == 1:
        raise ValueError("the first attempt fails")


def shown(pages: list[Page]) -> list[list[Any]]:
    return [[type(page).__name__, page.number, page.at.day] for page in pages]


def book(connection: Connection[Any], n: int) -> Page:
    note("book", n)
    connection.execute("insert into booked (n) values (%s)", [n])
    return Page(n, datetime(2026, 1, n, tzinfo=UTC))


async def abook(connection: AsyncConnection[Any], n: int) -> Page:
    note("book", n)
    await connection.execute("insert into booked (n) values (%s)", [n])
    return Page(n, datetime(2026, 1, n, tzinfo=UTC))


def die_at(job: Job, point: str, here: str) -> None:
    """Kills this process when the job comes to the point for the first time."""
    mark = Path(os.environ[NOTES]).parent / f"killed-{job.id}"
    if point == here and not mark.exists():
        mark.write_text(point)
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


def is_open() -> bool:
    return Path(os.environ[NOTES] + ".open").exists()
