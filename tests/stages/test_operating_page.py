"""docs/operating.md: its SQL runs, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database.statements.actions import ABLE
from tests.factories import add_jobs, look
from tests.worker_by_hand import Hand, make_one_dead

PAGE = (Path(__file__).parents[2] / "docs/operating.md").read_text(encoding="utf-8")


def test_the_sql_of_the_page_acts_and_undoes(db: Connection[Any]) -> None:
    db.execute("select setval('pgqueue.jobs_id_seq', 6)")
    add_jobs(db, count=3)
    for job in (7, 8):
        make_one_dead(db, job, task="t")
    [block] = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    retry, edit, undo = (part for part in block.split(";\n") if part.strip())
    assert [row[2] for row in db.execute(retry.encode())] == ["revived", "revived"]
    assert [row[2] for row in db.execute(edit.encode())] == ["edited"]
    assert look(db, 9, "queue, priority") == ("slow", 5)
    assert [row[2] for row in db.execute(undo.encode())] == ["undone"]
    assert look(db, 9, "queue, priority") == ("default", 0)
    assert Hand(db, ["t"]).claim()


@pytest.mark.parametrize("action", sorted(ABLE))
def test_the_page_lists_each_action_with_a_command_that_exists(pgq: Any, action: str) -> None:
    [command] = re.findall(rf"^\| {action} \| `pgq (.*?)`", PAGE, re.MULTILINE)
    assert pgq(*command.split(), "--help").code == 0
