"""The first example of ``docs/rules/keys.md`` runs as it is written, on one thread and with one connection of the caller."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg

from pgqueue import App
from pgqueue.database import lock_waits

PAGE = Path(__file__).parents[2] / "docs/rules/keys.md"


def test_the_first_example_of_the_page_does_not_wait_for_its_own_transaction(dsn, db, monkeypatch):
    monkeypatch.setattr(
        lock_waits, "LOCK_PATIENCE", 2.0
    )  # if a call waits for the transaction, the test fails soon
    block = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    app = App(dsn, name="shop")
    with psycopg.connect(dsn) as conn:
        exec(block[1], {"app": app, "conn": conn, "__name__": "shop"})
    app.close()
    keys = "select count(*) from pgqueue.idempotency_keys where key like 'req-%'"
    assert db.execute(keys.encode()).fetchone() == (2,)
