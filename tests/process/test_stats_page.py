"""The SQL and the commands of ``docs/stats.md`` run as they are written, and its table lists the columns of the view."""

from __future__ import annotations

import re
from pathlib import Path

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements.stats import COUNTED
from pgqueue.maintenance.stats import HOURS_KEPT, MINUTES_KEPT
from pgqueue.ui.cli.stats import DRAINS
from tests.stages.test_stats import delta, minutes_ago

PAGE = (Path(__file__).parents[2] / "docs/stats.md").read_text(encoding="utf-8")
DAY = 86_400


def test_the_sql_of_the_page_runs_as_it_is_written(db):
    run(db, statements.add_stats([delta(minutes_ago(db, 1), completed=3, started=3, waits=[1, 2])]))
    blocks = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        [row] = db.execute(block.encode()).fetchall()
        assert "default" in row


def test_the_commands_of_the_page_run_as_they_are_written(db, pgq):
    run(db, statements.add_stats([delta(minutes_ago(db, 1), completed=3, started=3, waits=[1, 2])]))
    commands = re.findall(r"^pgq (stats.*?) +#", PAGE, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        if "--watch" not in command:
            done = pgq(*command.split())
            assert (done.code, bool(done.rows)) == (0, True), command


def test_the_page_explains_each_column_of_the_view_and_each_word_of_a_drain(db):
    described = db.execute("select * from pgqueue.throughput").description
    columns = [column.name for column in described or ()]
    table = PAGE.split("## The columns")[1].split("##")[0]
    listed = [
        name
        for line in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", line)
    ]
    assert sorted(listed) == sorted({*columns} - {"queue", "task"})
    words = re.findall(r"^\| `(.*?)` \|", PAGE.split("## When will")[1].split("##")[0], re.MULTILINE)
    assert {*words} >= {*DRAINS.values(), "paused"}


def test_the_numbers_of_the_page_are_those_of_the_code():
    assert (MINUTES_KEPT, HOURS_KEPT) == (DAY, 90 * DAY)
    text = " ".join(PAGE.split())
    assert "minutes that are older than a day into hours" in text
    assert "hours that are older than 90 days" in text
    assert f"Up to {COUNTED:,} jobs" in text
