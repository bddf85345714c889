"""absurd-sdk, whose schema is made by absurdctl, as its guide on the database says."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path

from bench.peers import count_by_sql

VERSION = version("absurd-sdk")
SETTINGS = "only measured by `durable`"
QUEUE = "default"
DONE = "SELECT count(*) FROM absurd.t_default WHERE state = 'completed'"


def migrate(dsn: str) -> None:
    from pgqueue.dev.embedded import find_binaries

    path = f"{os.environ['PATH']}{os.pathsep}{find_binaries()}"  # absurdctl calls psql
    tool = Path(sys.executable).with_name("absurdctl")
    for words in (["init"], ["create-queue", QUEUE]):
        subprocess.run(
            [tool, words[0], "-d", dsn, *words[1:]],
            check=True,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"PATH": path},
        )


async def setup(dsn: str) -> None:
    await asyncio.to_thread(migrate, dsn)


def counter(dsn: str) -> AbstractContextManager[Callable[[], int]]:
    return count_by_sql(dsn, DONE)
