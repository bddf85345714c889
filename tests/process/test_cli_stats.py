"""``pgq stats``: what it prints for people and programs, its options, and how it watches."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.sql import grants
from tests.factories import add_jobs
from tests.stages.test_stats import delta
from tests.waiting import wait_until


@pytest.fixture
def counted(db):
    """Stores counts of the last minutes: two queues and two tasks, of which one queue has a backlog."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    for minutes in (1, 2, 3):
        at = now - timedelta(minutes=minutes)
        fields = {
            "started": 600,
            "wait_seconds": 300.0,
            "waits": [0] * 27 + [600],
            "runs": [0, 590],
            "run_seconds": 5.9,
        }
        run(
            db,
            statements.add_stats(
                [
                    delta(at, "mail", "send", completed=590, retried=8, dead=2, **fields),
                    delta(at, "default", "greet", completed=60, put_back=1, cancelled=3, crashed=1),
                ]
            ),
        )
    run(db, statements.add_stats([delta(now - timedelta(hours=2), "old", "old", completed=1)]))
    add_jobs(db, task="send", queue="mail", count=1200, run_at=now - timedelta(hours=1))
    return db


def test_the_attempts_of_each_queue_are_shown_with_their_rate_times_and_backlog(pgq, counted):
    rows = {row[0]: row[1:] for row in pgq("stats").rows}
    assert sorted(rows) == ["default", "mail"]
    started, completed, per_second, retried, dead, cancelled, put_back, crashed, *times, due, empty_in = rows[
        "mail"
    ]
    assert (started, completed, per_second, retried, dead) == ("1800", "1770", "0.492", "24", "6")
    assert (cancelled, put_back, crashed, due) == ("0", "0", "0", "1200")
    assert [time.split()[1] for time in times] == ["h", "h", "h", "ms", "ms", "ms"]
    assert re.fullmatch(r"~\d+ [sm]", empty_in)
    assert rows["default"][-2:] == ["0", "empty"]


def test_json_has_the_numbers_without_rounding(pgq, counted):
    items = {item["queue"]: item for item in pgq("stats", "--json").items}
    mail = items["mail"]
    assert (mail["completed"], mail["seconds"], mail["wait_mean"]) == (1770, 3600.0, 0.5)
    assert mail["per_second"] == pytest.approx(1770 / 3600)
    assert mail["run_p50"] == pytest.approx(2**-12.5)
    drain = mail["drain"]
    assert (drain["trend"], drain["due"], drain["is_exact"], drain["paused"]) == (
        "draining",
        1200,
        True,
        False,
    )
    assert drain["seconds"] == pytest.approx(1200 / drain["started_per_second"])
    assert items["default"]["drain"]["seconds"] == 0


def test_rows_can_be_tasks_and_a_window_and_filters_choose_what_is_summed(pgq, counted):
    assert [row[:3] for row in pgq("stats", "--by", "task").rows] == [
        ["send", "1800", "1770"],
        ["greet", "0", "180"],
    ]
    assert [row[0] for row in pgq("stats", "--by", "task", "--window", "3h").rows] == ["send", "greet", "old"]
    assert [row[0] for row in pgq("stats", "--queue", "default").rows] == ["default"]
    assert [row[0] for row in pgq("stats", "--by", "task", "--task", "greet").rows] == ["greet"]


def test_the_time_until_a_queue_is_empty_is_a_word_if_it_is_not_known(pgq, db):
    add_jobs(db, task="t", queue="idle", count=3)
    add_jobs(db, task="t", queue="paused", count=3)
    run(db, statements.pause_queue("paused"))
    assert [[row[0], *row[-2:]] for row in pgq("stats").rows] == [
        ["idle", "3", "no starts"],
        ["paused", "3", "paused"],
    ]


def test_without_any_count_a_sentence_says_so(pgq, db):
    done = pgq("stats")
    assert (done.code, done.out) == (0, "")
    assert "No attempt has ended in this time, and no job is due." in done.err


def test_the_jobs_in_each_state_are_counted(pgq, db):
    add_jobs(db, count=3)
    add_jobs(db, count=2, state="retrying")
    rows = dict(pgq("stats", "--by", "state").rows)
    assert (rows["due"], rows["pending"], rows["retrying"], rows["completed"]) == ("5", "3", "2", "0")
    items = pgq("stats", "--by", "state", "--json").items
    assert {"state": "retrying", "count": 2, "is_exact": True} in items


def test_a_count_that_is_an_estimate_begins_with_a_mark(pgq, db, monkeypatch):
    add_jobs(db, count=30)
    db.execute("update pgqueue.jobs_live set meta = jsonb_build_object('a', repeat(md5(id::text), 100))")
    small = statements.count_live(10)
    text = small.text.replace("<= 2000 then 100 else 100.0 * 500", "< 0 then 100 else 100.0 * 1.5")
    monkeypatch.setattr(statements, "count_live", lambda: replace(small, text=text))
    rows = dict(pgq("stats", "--by", "state").rows)
    assert rows["due"].startswith("~")
    assert rows["running"] == "0"


@pytest.mark.parametrize("by", ["queue", "task", "state"])
def test_the_printed_sql_runs_as_it_is(pgq, counted, by):
    done = pgq("stats", "--by", by, "--sql")
    for statement in done.out.split(";\n\n"):
        assert counted.execute(statement.encode()).fetchall()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--by", "que"], "did you mean queue?"),
        (["--window", "1s"], "give a time from 1m to 90d"),
        (["--window", "1000d"], "--window"),
        (["--window", "soon"], "--window"),
        (["--watch", "-1s"], "--watch"),
        (["--queue", "a b"], "PGQ-405"),
        (["--by", "state", "--queue", "mail"], "pgq queues list"),
    ],
)
def test_a_bad_option_is_refused_with_what_is_allowed(pgq, db, words, said):
    done = pgq("stats", *words)
    assert (done.code, said in done.err) == (2, True), done.err


def test_piped_output_of_a_watch_is_one_line_for_each_row_and_look_with_the_time(dsn, counted):
    process = subprocess.Popen(
        [sys.executable, "-m", "pgqueue", "stats", "--by", "task", "--watch", "0.5s"],
        env={**os.environ, "PGQUEUE_DSN": dsn}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines = [process.stdout.readline().rstrip("\n").split("\t") for _ in range(5)]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert lines[0][:3] == ["at", "task", "started"]
    assert [line[1] for line in lines[1:]] == ["send", "greet", "send", "greet"]
    times = [datetime.fromisoformat(line[0]) for line in lines[1:]]
    assert times == sorted(times)
    assert "at\ttask" not in out


def test_a_watch_as_json_prints_an_object_for_each_look(dsn, counted):
    process = subprocess.Popen(
        [sys.executable, "-m", "pgqueue", "stats", "--json", "--watch", "0.5s"],
        env={**os.environ, "PGQUEUE_DSN": dsn}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    looks = [json.loads(process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert [sorted(item["queue"] for item in look["items"]) for look in looks] == [["default", "mail"]] * 2


def test_a_watch_on_a_terminal_shows_each_look_in_the_place_of_the_former_one(dsn, counted):
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pgqueue", "stats", "--watch", "0.5s"],
        env={**os.environ, "PGQUEUE_DSN": dsn, "TERM": "xterm-256color", "COLUMNS": "80"}, stdin=follower, stdout=follower,
        stderr=follower,
    )  # fmt: skip
    os.close(follower)
    text = ""

    def looked_twice() -> bool:
        nonlocal text
        text += os.read(leader, 65536).decode()
        return text.count("\x1b[H\x1b[2J") >= 3

    wait_until(looked_twice, 60)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0
    os.close(leader)
    first = text.split("\x1b[H\x1b[2J")[1]
    assert "empty_in" in first
    assert "wait_p99" not in first, "80 columns have no room for it"
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip()) for line in first.splitlines()) <= 80


def test_a_reader_may_ask_everything_that_the_command_asks(role, dsn, counted):
    env = {**os.environ, "PGQUEUE_DSN": role(grants("reader"))}
    for by in ("queue", "task", "state"):
        words = [sys.executable, "-m", "pgqueue", "stats", "--by", by, "--json"]
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
