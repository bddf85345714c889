"""Jobs can contain any Unicode text. So ``pgq migrate`` refuses a database whose encoding cannot store every such text."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgqueue.database import migrate
from pgqueue.errors import UnsupportedServerError
from tests.servers import drop_database


@pytest.fixture(params=["SQL_ASCII", "LATIN1", "LATIN9", "EUC_JP"])
def encoded(request, admin):
    name = f"pgqueue_test_{secrets.token_hex(6)}"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(
            f"create database {name} encoding '{request.param}' lc_collate 'C' lc_ctype 'C' template template0"
        )
    yield request.param, make_conninfo(admin, dbname=name)
    drop_database(admin, name)


def test_a_database_with_an_encoding_other_than_utf8_is_refused_and_not_changed(encoded):
    encoding, dsn = encoded
    with pytest.raises(UnsupportedServerError, match=f"PGQ-203  The database .* has the encoding {encoding}"):
        migrate.upgrade(dsn)
    with psycopg.connect(dsn) as connection:
        found = connection.execute("select to_regnamespace('pgqueue') is null").fetchone()
    assert found == (True,)


def test_pgq_migrate_reports_the_wrong_encoding_in_one_sentence(encoded):
    encoding, dsn = encoded
    done = subprocess.run(
        [sys.executable, "-m", "pgqueue", "migrate", "--dsn", dsn],
        env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == UnsupportedServerError.exit_code
    assert encoding in done.stderr
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr
