"""Runs one suite with pgqueue's backend. Two backends of the framework are replaced, each by pgqueue's with what the suite uses of it.

``DummyBackend`` keeps what was enqueued, and runs nothing: pgqueue's backend without a worker. ``ImmediateBackend`` runs a task inside
``enqueue``: pgqueue's backend, and a real worker that drains the queue after each enqueue. Nothing of pgqueue's backend itself is replaced.
"""

from __future__ import annotations

import importlib
import os
import sys
import unittest
from typing import Any

import django
from of_pgqueue.draining import drain
from of_pgqueue.exceptions import EXCEPTIONS

PACKAGE = os.environ["SUITE_PACKAGE"]


def main(name: str) -> int:
    django.setup()
    from django.test.runner import DiscoverRunner
    from django.test.testcases import SimpleTestCase

    replace_backends()
    SimpleTestCase.databases = {"default"}  # a backend that stores its tasks needs the database

    class Runner(DiscoverRunner):
        def build_suite(self, *args: Any, **kwargs: Any) -> unittest.TestSuite:
            suite = super().build_suite(*args, **kwargs)
            for test in self._each(suite):
                reason = EXCEPTIONS.get(".".join(test.id().split(".")[-2:]))
                if reason is not None:
                    setattr(test, test._testMethodName, skipped(reason))
            return suite

        def _each(self, suite: Any) -> Any:
            for one in suite:
                yield from self._each(one) if isinstance(one, unittest.TestSuite) else [one]

        def suite_result(self, suite: Any, result: Any, **kwargs: Any) -> int:
            frame = importlib.import_module(PACKAGE)
            print(
                f"\n{PACKAGE} {getattr(frame, '__version__', django.get_version())} on Django {django.get_version()}"
            )
            ours = [(test, why) for test, why in result.skipped if why.startswith("exception: ")]
            theirs = len(result.skipped) - len(ours)
            print(f"{result.testsRun} tests, {len(ours)} exceptions, {theirs} skipped by the suite itself, "
                  f"{len(result.failures)} failures, {len(result.errors)} errors")  # fmt: skip
            for test, why in ours:
                print(f"  {test.id()}: {why.removeprefix('exception: ')}")
            return super().suite_result(suite, result, **kwargs)

    return Runner(verbosity=1, interactive=False).run_tests([name])


def skipped(reason: str) -> Any:
    @unittest.skip(f"exception: {reason}")
    def skip(*_: object) -> None: ...

    return skip


def replace_backends() -> None:
    from pgqueue.integrations.django.tasks import backend

    ours = backend.Backend if PACKAGE == "django.tasks" else backend.BackportBackend

    class DummyBackend(ours):
        """pgqueue's backend, with the two names that only the suite uses: ``results`` and ``clear``."""

        @property
        def results(self) -> list[Any]:
            """All that was enqueued. It is read on another thread, because async tests ask for it in their event loop."""
            import asyncio
            from concurrent.futures import ThreadPoolExecutor

            try:
                asyncio.get_running_loop()
            except RuntimeError:
                return self._results(close=False)
            with ThreadPoolExecutor(1) as thread:
                return thread.submit(self._results, close=True).result()

        def _results(self, *, close: bool) -> list[Any]:
            from django.db import connections

            from pgqueue.integrations.django.models import Job

            numbers = Job.objects.order_by("id").values_list("id", flat=True)
            try:
                return [self.get_result(str(number)) for number in numbers]
            finally:
                if close:
                    connections.close_all()

        def clear(self) -> None:
            erase()

    class ImmediateBackend(ours):
        """pgqueue's backend, and a worker that runs the task at once."""

        def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
            result = super().enqueue(task, args, kwargs)
            drain()
            found = self.get_result(result.id)
            for name in (
                "status",
                "errors",
                "_return_value",
                "finished_at",
                "started_at",
                "last_attempted_at",
                "worker_ids",
            ):
                object.__setattr__(result, name, getattr(found, name))
            return result

    for kind in (DummyBackend, ImmediateBackend):
        module = importlib.import_module(
            f"{PACKAGE}.backends.{kind.__name__.removesuffix('Backend').lower()}"
        )
        kind.__module__, kind.__qualname__ = module.__name__, kind.__name__
        setattr(module, kind.__name__, kind)


def erase() -> None:
    """Deletes the jobs. The connections of Django's sync and async code can differ, so this has a connection of its own."""
    import psycopg

    from pgqueue.integrations.django import conf

    with psycopg.connect(conf.dsn(), autocommit=True) as connection:
        connection.execute("delete from pgqueue.jobs")
        connection.execute("delete from pgqueue.transitions")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
