"""For test cases that commit."""

from __future__ import annotations

from typing import Any

import psycopg

from pgqueue.integrations.django import conf
from tests.django.project.jobs import ran


class Emptied:
    """Empties the queue before and after each test."""

    def setUp(self) -> None:
        super().setUp()  # type: ignore[misc]
        ran.clear()
        self.sql("delete from pgqueue.jobs")
        self.addCleanup(self.sql, "delete from pgqueue.jobs")  # type: ignore[attr-defined]

    def sql(self, text: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(conf.dsn(), autocommit=True) as connection:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []
