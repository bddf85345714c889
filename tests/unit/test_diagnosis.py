"""What libpq says before there is a session, in pgqueue's words."""

from __future__ import annotations

import psycopg
import pytest

from pgqueue.database.driver_errors import explain


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('role "bob" does not exist', "PGQ-104  The server refused the login"),
        ('database "shop" does not exist', "PGQ-104  The server has no such database"),
        ('too many connections for role "bob"', "PGQ-106  The server has no free connection"),
    ],
)
def test_a_refusal_of_the_server_is_named_for_what_it_is(said, told):
    error = explain(psycopg.OperationalError(f"connection failed: FATAL:  {said}"), "dbname=shop user=bob")
    assert str(error).startswith(told)
