"""Tables fit terminals of any width: no line is longer than the terminal is wide, and columns that identify a row are never cut."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import Connection
from rich.cells import cell_len

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import Outcome
from pgqueue.model.progress import Progress
from pgqueue.model.schedule import make
from pgqueue.model.units import seconds
from pgqueue.text.counted import count
from pgqueue.text.times import exact, span
from pgqueue.ui import cli
from pgqueue.ui.cli import tables
from tests.worker_by_hand import Hand

WIDTHS = (60, 80, 100, 160)
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
QUEUE = "q" * 63
TASK = "webshop." + "jobs.of.a.department." * 5 + "webhooks"
ERROR = (
    "HTTPStatusError: Server error '503' for url 'http://127.0.0.1/flaky'\n" + "界" * 300 + "\ttail " * 200
)
TIME = r"(?:in )?[\d.]+ [smhd](?: ago)?"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, dsn: str, tmp_path: Path) -> Callable[..., str]:
    """Returns a function that runs ``pgq …`` on a terminal with the given number of columns, and returns the text that a person sees."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PGQUEUE_DSN", dsn)
    monkeypatch.delenv("NO_COLOR", raising=False)

    def play(*words: str, columns: int = 80) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "argv", ["pgq", *words])
        terminal = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            patch.setattr(sys, "stderr", terminal)
            with pytest.raises(SystemExit):
                cli.main()
        return ESCAPE.sub("", terminal.getvalue())

    return play


@pytest.fixture
def hostile(db: Connection[Any]) -> Connection[Any]:
    """Stores rows in every table, with very long values in many cells, and returns the connection."""
    db.execute("select setval('pgqueue.jobs_id_seq', 123456789)")
    hand = Hand(db, [TASK], QUEUE)
    for state in ("pending", "retrying", "waiting", "pending"):
        db.execute(
            "insert into pgqueue.jobs (task, queue, state, last_error, args, unique_key) values (%s, %s, %s, %s, %s, %s)",
            [TASK, QUEUE, state, ERROR, json.dumps({"a": "b" * 5000}), f"{state}{'k' * 200}" if state != "pending" else None],
        )  # fmt: skip
    for outcome in (Outcome.dead("permanent_error", ValueError(ERROR)), Outcome.completed('"x"')):
        [attempt] = hand.claim(1)
        hand.settle(attempt, outcome)
    db.execute("insert into pgqueue.jobs (task, queue) values (%s, %s)", [TASK, QUEUE])
    [attempt] = hand.claim(1)
    run(
        db,
        statements.write_progress(hand.id, [(attempt.id, attempt.lease_id, Progress(7, 900, ERROR[:150]))]),
    )
    db.execute("update pgqueue.workers set host = %s, queues = %s", ["h" * 200, [QUEUE, "b" * 60, "c*"]])
    db.execute("insert into pgqueue.limits (queue, task, per_key, concurrency, rate, period) values (%s, %s, true, 2, 40, '1 s')", [QUEUE, TASK])  # fmt: skip
    db.execute(
        "insert into pgqueue.alerts (kind, subject, queue, job_id, count, text) values ('stalled', %s, %s, 1, 12345, %s)",
        [TASK, QUEUE, ERROR],
    )
    db.execute("insert into pgqueue.tasks (name, app, options, keep, digest) values (%s, %s, %s, 'failures', 'x')", [TASK, "a" * 90, json.dumps({"queue": QUEUE, "timeout": 90, "unique": ["n" * 90]})])  # fmt: skip
    schedule = make(
        "nightly." + "n" * 100, TASK, cron="1-59/2,0 1,2,3,4,5,6,7,8,9,10 * * MON-FRI", tz="Europe/Warsaw"
    )
    run(db, statements.add_schedule(schedule))
    return db


TABLES = {
    ("jobs", "list"): ("id", "state"),
    ("jobs", "count", "--by", "task,queue,state"): ("state", "count"),
    ("queues", "list"): ("due", "running"),
    ("workers", "list"): ("id", "state", "pid", "slots"),
    ("limits", "list"): ("id", "taken"),
    ("alerts",): ("id", "kind", "count"),
    ("cron", "list"): ("source",),
    ("tasks", "list"): ("keep", "workers"),
}


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("words", TABLES, ids=" ".join)
def test_columns_that_identify_a_row_are_shown_whole_at_any_width(
    shown, hostile, capsys, monkeypatch, words, columns
):
    text = shown(*words, columns=columns)
    assert max(map(cell_len, text.splitlines())) <= columns
    items = json.loads(shown(*words, "--json"))["items"]
    assert items
    heads = text.split()
    tokens = "\n".join(text.splitlines())
    for head in TABLES[words]:
        assert head in heads
        for item in items:
            if head in item:
                assert re.search(rf"(?<!\S){re.escape(str(item[head]))}(?!\S)", tokens), (head, item[head])
    if words[0] in ("jobs", "alerts", "workers") and "count" not in words:
        assert len(re.findall(rf"(?<!\S){TIME}(?!\S)", text)) >= len(items) - ("jobs" in words)


def test_a_job_is_shown_with_its_whole_timeline_within_the_terminals_width(shown, db):
    hand = Hand(db, ["t"])
    db.execute("insert into pgqueue.jobs (task, args, timeout, unique_key) values ('t', %s, '10 m', 'k')", ['{"pages": 100}'])  # fmt: skip
    [attempt] = hand.claim()
    hand.settle(attempt, Outcome.retried(0.0, ValueError("x" * 300)))
    db.execute("update pgqueue.jobs_live set run_at = now()")
    [attempt] = hand.claim()
    hand.settle(attempt, Outcome.completed('{"done": true}'))
    for columns in WIDTHS:
        text = shown("jobs", "show", str(attempt.id), columns=columns)
        for word in (
            '{"pages": 100}',
            "10 m",
            '{"done": true}',
            "enqueued",
            "claimed",
            "failed",
            "completed",
            " UTC",
        ):
            assert word in text, word
        assert f"{hand.id} (" in text
        table = text.split("\n\n", 1)[1]
        assert max(map(len, table.splitlines())) <= columns
    printed = json.loads(shown("jobs", "show", str(attempt.id), "--json"))
    view = db.execute(
        "select at, reason from pgqueue.job_timeline where job_id = %s order by at", [attempt.id]
    )
    assert [(datetime.fromisoformat(e["at"]), e["reason"]) for e in printed["timeline"]] == view.fetchall()


def test_a_list_shows_the_worker_the_running_time_and_the_progress_of_running_jobs(shown, db):
    hand = Hand(db, ["t"])
    db.execute("insert into pgqueue.jobs (task) values ('t')")
    [attempt] = hand.claim()
    run(db, statements.write_progress(hand.id, [(attempt.id, attempt.lease_id, Progress(25, 100))]))
    db.execute("insert into pgqueue.jobs (task, run_at) values ('t', now() + interval '5 m 1 s')")
    text = shown("jobs", "list", columns=120)
    heads, later, running = text.splitlines()
    assert heads.split() == ["id", "state", "queue", "task", "attempt", "when", "worker", "progress"]
    assert "due in 5 m" in later
    assert re.search(rf"for \d+(\.\d)? s  +{hand.id} +25 of 100, 25 %", running)
    assert "due" not in running


def test_columns_and_lines_without_a_value_are_not_shown(shown, db):
    """The job has no progress, no result and no error."""
    db.execute("insert into pgqueue.jobs (task) values ('t')")
    heads, row = shown("jobs", "list").splitlines()
    assert heads.split() == ["id", "state", "queue", "task", "attempt", "when"]
    assert row.split()[:5] == ["1", "pending", "default", "t", "0/6"]
    words = shown("jobs", "show", "1").split("\n\n")[0].split()
    assert not {"progressed", "result", "last_error", "null", "None"} & set(words)


def test_lines_of_errors_are_not_longer_than_the_terminal_is_wide(shown, db):
    for columns in (60, 100):
        text = shown("queues", "resume", "z" * 40, columns=columns)
        db.execute(
            "insert into pgqueue.queues (name) select 'queue_' || n from generate_series(1, 30) n on conflict do nothing"
        )
        text = shown("queues", "resume", "z" * 40, columns=columns)
        assert "queue_30" in text
        assert max(map(len, text.splitlines())) <= columns


# ------------------------------------------------------------------ numbers


@pytest.mark.parametrize(
    ("given", "expected"),
    [(0, "0 s"), (0.26, "0.3 s"), (1.057, "1.1 s"), (9.96, "10 s"), (42.4, "42 s"), (59.7, "1 m"), (111, "2 m"), (3599, "60 m"),
     (7200, "2 h"), (172_800, "2 d"), (1e8, "1,157 d")],
)  # fmt: skip
def test_a_span_is_shown_in_the_unit_that_fits_its_length(given, expected):
    assert span(given) == expected


@given(st.floats(0, 3e7, allow_nan=False))
def test_a_span_differs_from_the_true_length_by_at_most_half_a_unit(length):
    number, unit = span(length).replace(",", "").split()
    size = {"s": 1, "m": 60, "h": 3600, "d": 86_400}[unit]
    assert abs(float(number) * size - length) <= (size / 2 if length >= 9.95 else 0.06)
    assert abs(seconds(exact(length).replace(" ", ""), "") - length) <= 0.00051


def test_a_count_of_one_has_a_noun_in_the_singular():
    assert [count(n, "job") for n in (0, 1, 2, 10_036)] == ["0 jobs", "1 job", "2 jobs", "10,036 jobs"]


# ------------------------------------------------------------------ the layout


words = st.text(st.sampled_from("ab .,/界\n\t"), max_size=120)
columns = st.sampled_from(["id", tables.name("name"), tables.text("text")])


@settings(max_examples=200)
@given(st.data(), st.integers(20, 200))
def test_every_table_fits_the_width_without_cutting_an_id(data, width):
    heads = data.draw(st.lists(columns, min_size=1, max_size=8))
    cell = {str: st.integers(0, 10**12)}
    rows = data.draw(
        st.lists(st.tuples(*(cell.get(type(head), words) for head in heads)), min_size=1, max_size=4)
    )
    terminal = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        patch.setenv("COLUMNS", str(width))
        tables.table(heads, rows, empty="")
    text = ESCAPE.sub("", terminal.getvalue())
    assert max(map(cell_len, text.splitlines())) <= width
    for row in rows:
        for head, value in zip(heads, row, strict=True):
            assert head != "id" or str(value) in text.split()


def test_an_end_in_the_future_is_shown_as_zero_seconds_ago(shown, db):
    """The clocks of the database and of this machine differ, so a job can end at a time that is still to come on this machine."""
    db.execute("insert into pgqueue.jobs (task, state, finished_at) values ('t', 'dead', %s)", [datetime.now(UTC) + timedelta(seconds=3)])  # fmt: skip
    assert "0 s ago" in shown("jobs", "list")
