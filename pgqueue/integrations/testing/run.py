"""What all tests of one process share: the server, and a migrated database of the process's own. Both are made when a test needs them."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import ClassVar

from pgqueue.integrations.testing.databases import database
from pgqueue.integrations.testing.servers import server


class RunOfTests:
    """``given``: a DSN of a server; None: PGQUEUE_TEST_DSN, a container or the embedded server. ``name``: the same in all processes of a run."""

    _current: ClassVar[RunOfTests | None] = None

    def __init__(self, given: str | None = None, name: str | None = None) -> None:
        self._given, self._name = given, name or str(os.getpid())
        self._dsn: str | None = None
        self._stack = ExitStack()

    @classmethod
    def current(cls) -> RunOfTests:
        """Returns the one of this process. Runners that do not close it leave that to the end of the process."""
        if cls._current is None:
            cls._current = cls()
            atexit.register(cls._current.close)
        return cls._current

    def dsn(self, prepare: Callable[[str], object] = lambda _: None) -> str:
        """Returns the DSN of the database of this process. ``prepare`` is called once with it, to make the user's tables."""
        if self._dsn is None:
            dsn = self._stack.enter_context(
                database(self._stack.enter_context(server(self._given, self._name)))
            )
            prepare(dsn)
            self._dsn = dsn
        return self._dsn

    def close(self) -> None:
        """Drops the database, and stops a server that this process has started."""
        self._dsn = None
        self._stack.close()
