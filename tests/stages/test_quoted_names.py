"""A name in a suggested SQL command is quoted so that Postgres reads the same name back."""

from __future__ import annotations

import pytest

from pgqueue.text.shown import quoted
from tests.hostile_text import HOSTILE, KEPT, acts


@pytest.mark.parametrize("text", ["plain", "it's", "back\\slash", HOSTILE.replace("\ud800", ""), KEPT])
def test_postgres_reads_the_same_name_back_from_a_suggested_command(db, text):
    assert not acts(quoted(text), "")
    assert db.execute(f"select {quoted(text)}".encode()).fetchone() == (text,)
