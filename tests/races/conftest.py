"""The tests of races run on a database that records every change of a job. After each test, the checker looks for broken invariants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from psycopg import Connection

from tests import checker
from tests.races.two_connections import Players


@pytest.fixture
def players(dsn: str, connect: Callable[..., Connection[Any]]) -> Iterator[Players]:
    checker.install(dsn)
    yield Players(connect(), connect(autocommit=False), connect(autocommit=False))
    checker.check(dsn)
