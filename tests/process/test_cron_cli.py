"""``pgq cron``: the output of each command, its rows and its exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from psycopg import Connection

from pgqueue.ui import cli


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cron(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Returns a function that runs ``pgq cron …`` on the test's database, in the process of the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PGQUEUE_DSN", dsn)

    def play(*words: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["pgq", "cron", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return Done(caught.value.code or 0, *capfd.readouterr())

    return play


Cron = Callable[..., Done]


def stored(db: Connection[Any], columns: str) -> list[tuple[Any, ...]]:
    return db.execute(f"select {columns} from pgqueue.schedules order by name".encode()).fetchall()


def test_cron_commands_add_edit_pause_run_and_remove_a_schedule(cron: Cron, db: Connection[Any]) -> None:
    done = cron(
        "add", "nightly", "report", "--cron", "30 2 * * *", "--tz", "Europe/Warsaw", "--overlap", "skip", "--missed", "all",
        "--missed-cap", "5", "--jitter", "1m", "--args", '{"n": 1}', "--queue", "mail", "--priority", "3",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "nightly  30 2 * * *  Europe/Warsaw" in done.err
    columns = "name, task, cron, tz, overlap, missed, missed_cap, extract(epoch from jitter)::int, args, options, source"
    expected = ("nightly", "report", "30 2 * * *", "Europe/Warsaw", "skip", "all", 5, 60, {"n": 1}, {"queue": "mail", "priority": 3}, "cli")  # fmt: skip
    assert stored(db, columns) == [expected]

    assert cron("edit", "nightly", "--every", "5m", "--queue", "slow").code == 0
    assert stored(db, "cron, extract(epoch from every)::int, options, args") == [
        (None, 300, {"queue": "slow", "priority": 3}, {"n": 1})
    ]
    assert cron("pause", "nightly").code == 0
    assert stored(db, "paused") == [(True,)]
    assert cron("resume", "nightly").code == 0
    assert stored(db, "paused") == [(False,)]
    done = cron("run", "nightly")
    assert db.execute("select id, task, args, queue from pgqueue.jobs").fetchall() == [
        (int(done.out), "report", {"n": 1}, "slow")
    ]
    assert cron("remove", "nightly").code == 0
    assert stored(db, "name") == []


def test_cron_list_shows_the_fire_times_and_the_problem_of_each_schedule(
    cron: Cron, db: Connection[Any]
) -> None:
    assert "There is no schedule." in cron("list").err
    cron("add", "a", "t", "--every", "90s")
    cron("add", "b", "t", "--at", "2030-01-01T09:00+01:00")
    db.execute("insert into pgqueue.schedules (name, task, cron) values ('c', 't', 'x')")
    db.execute("update pgqueue.schedules set problem = 'it is bad', planned = true where name = 'c'")
    head, *rows = [line.split("\t") for line in cron("list").out.splitlines()]
    assert head[:4] == ["name", "task", "fires", "tz"]
    assert [row[:4] for row in rows] == [
        ["a", "t", "every 1m30s", "UTC"], ["b", "t", "at 2030-01-01 08:00:00+00:00", "UTC"], ["c", "t", "x", "UTC"],
    ]  # fmt: skip
    assert [row[4] for row in rows] == ["new", "new", "it is bad"]
    db.execute("update pgqueue.schedules set planned = true")
    assert [line.split("\t")[4] for line in cron("list").out.splitlines()[1:]] == [
        "over",
        "over",
        "it is bad",
    ]
    items = json.loads(cron("list", "--json").out)["items"]
    assert [(item["name"], item["every"], item["source"]) for item in items] == [
        ("a", 90.0, "cli"), ("b", None, "cli"), ("c", None, "sql"),
    ]  # fmt: skip
    assert items[1]["at"] == "2030-01-01T08:00:00Z"


def test_cron_add_and_cron_edit_print_the_next_fire_time_of_the_stored_schedule(
    cron: Cron, db: Connection[Any]
) -> None:
    for words in (("add", "s", "t", "--every", "1h"), ("edit", "s", "--every", "2h")):
        begun = datetime.now(UTC)
        printed = datetime.fromisoformat(json.loads(cron(*words, "--json").out)["next_fire_at"])
        [(anchor,)] = stored(db, "anchor")
        steps = (printed - anchor) / timedelta(hours=int(words[-1][0]))
        assert printed > begun
        assert steps == 1


def test_cron_next_shows_the_effect_of_daylight_saving_time(
    cron: Cron, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = ("--from", "2027-03-26T12:00Z")
    shown = cron("next", "30 2 * * *", "--tz", "Europe/Warsaw", "-n", "3", *since).out.splitlines()
    assert shown == [
        "local\tutc\tnote",
        "Sat 2027-03-27 02:30:00 +0100\t2027-03-27 01:30:00\t",
        "Sun 2027-03-28 03:00:00 +0200\t2027-03-28 01:00:00\tclocks go from 02:00 to 03:00 that day: a skipped time fires when they jump",
        "Mon 2027-03-29 02:30:00 +0200\t2027-03-29 00:30:00\t",
    ]
    assert cron("add", "s", "t", "--cron", "30 2 * * *", "--tz", "Europe/Warsaw").code == 0
    assert cron("next", "s", "-n", "3", *since).out.splitlines() == shown
    assert len(cron("next", "s").out.splitlines()) == 6
    monkeypatch.delenv("PGQUEUE_DSN")
    items = json.loads(cron("next", "@daily", "-n", "1", "--json", *since).out)["items"]
    assert items == [{"at": "2027-03-27T00:00:00Z", "local": "2027-03-27 00:00:00+00:00", "note": ""}]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["add", "s", "t", "--cron", "61 * * * *"], 2, "PGQ-420  '61' is no minute"),
        (["add", "s", "t", "--cron", "0 0 * * *", "--tz", "Europe/Warsav"], 2, "did you mean Europe/Warsaw?"),
        (["add", "s", "t"], 2, "does not say when it fires"),
        (["add", "s", "t", "--every", "5m", "--at", "2030-01-01T00:00Z"], 2, "says it twice"),
        (["add", "s", "t", "--every", "x"], 2, "every is 'x'"),
        (["add", "s", "t", "--at", "2030-01-01"], 2, "--at is '2030-01-01'"),
        (["add", "no name", "t", "--every", "5m"], 2, "cannot name a schedule"),
        (["add", "s", "t", "--every", "5m", "--args", "[1]"], 2, "--args is not a JSON object"),
        (["add", "s", "t", "--every", "5m", "--args", "{"], 2, "--args is not JSON"),
        (["add", "s", "t", "--every", "5m", "--overlap", "pile"], 2, "overlap is 'pile'"),
        (["add", "known", "t", "--every", "5m"], 6, "PGQ-421  There is a schedule 'known' already"),
        (["edit", "knwon", "--every", "5m"], 5, "did you mean known?"),
        (["edit", "known"], 2, "The edit changes nothing"),
        (["pause", "knwon"], 5, "did you mean known?"),
        (["resume", "other"], 5, "known: known"),
        (["remove", "knwon"], 5, "did you mean known?"),
        (["run", "knwon"], 5, "PGQ-520  There is no schedule 'knwon'"),
        (["next", "knwon"], 5, "did you mean known?"),
        (["next", "* * * *"], 2, "has 4 fields"),
        (["next", "* * * * *", "--from", "now"], 2, "--from is 'now'"),
    ],
)
def test_the_error_of_a_wrong_cron_command_contains_the_reason(
    cron: Cron, db: Connection[Any], words: list[str], code: int, said: str
) -> None:
    db.execute("insert into pgqueue.schedules (name, task, every) values ('known', 't', '1 hour')")
    before = stored(db, "name, every, paused")
    done = cron(*words)
    assert (done.code, said in done.err) == (code, True), done.err
    assert "Traceback" not in done.err
    assert stored(db, "name, every, paused") == before


def test_cron_remove_prints_a_note_if_the_schedule_is_declared_in_code(
    cron: Cron, db: Connection[Any]
) -> None:
    db.execute(
        "insert into pgqueue.schedules (name, task, every, source) values ('s', 't', '1 hour', 'code')"
    )
    assert "the code declares this schedule" in cron("remove", "s").err


def test_doctor_reports_a_schedule_that_cannot_run(
    cron: Cron, db: Connection[Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    db.execute("insert into pgqueue.schedules (name, task, cron) values ('s', 't', 'x')")
    db.execute("update pgqueue.schedules set problem = 'it is bad', planned = true")
    monkeypatch.setattr(sys, "argv", ["pgq", "doctor", "--json"])
    with pytest.raises(SystemExit):
        cli.main()
    findings = json.loads(capfd.readouterr().out)["findings"]
    assert [(f["what"], f["do"]) for f in findings if "Schedule" in f["what"]] == [
        ("Schedule s cannot run: it is bad", "pgq cron edit s")
    ]
