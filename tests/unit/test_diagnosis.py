"""Messages of libpq about a connection that fails, and the error of pgqueue for each message."""

from __future__ import annotations

import psycopg
import pytest

from pgqueue.database.driver_errors import explain


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('role "bob" does not exist', "PGQ-104  The server refused the login"),
        ('database "shop" does not exist', "PGQ-104  The server has no such database"),
        ('too many connections for role "bob"', "PGQ-106  The server has no free connection"),
    ],
)
def test_each_refusal_of_a_connection_by_the_server_has_its_own_error(said, expected):
    error = explain(psycopg.OperationalError(f"connection failed: FATAL:  {said}"), "dbname=shop user=bob")
    assert str(error).startswith(expected)
