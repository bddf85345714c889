"""Secret values of jobs stay out of everything that people see: commands, logs, stored errors, traces, replays and alerts."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from pgqueue import App
from tests.command_line import Done, pgq

APP = """
import logging
from dataclasses import dataclass
from typing import Annotated
from pydantic import BaseModel
from pgqueue import App, Job, Redact

app = App()

class Card(BaseModel):
    number: Annotated[str, Redact]
    owner: str

@app.task(name="pay", retry=[0.0])
def pay(card: Card, key: Annotated[str, Redact], job: Job) -> Annotated[str, Redact]:
    job.progress(1, 2, f"with {key}")
    job.step("charge", lambda: card.number)
    if card.owner == "bad":
        local = key
        raise ValueError(f"{card!r} was refused with {key}")
    return key

@app.task(name="login", retry=False)
async def login(user: str, password: str) -> dict[str, str]:
    if user == "bad":
        raise ValueError(f"{user}:{password}")
    return {"token": password}

@app.task(name="child", executor="process", retry=False)
def child(key: Annotated[str, Redact]) -> None:
    raise ValueError(key)

@dataclass
class Item:
    key: Annotated[str, Redact]

@app.task(name="chunked", chunk=5, retry=False)
def chunked(items: list[Item]) -> list[None]:
    raise ValueError(", ".join(item.key for item in items))

@pay.on_completed
def paid(job: Job) -> None:
    assert "CANARY" in str(job.args)
    raise ValueError(f"hook {job.args['key']}")
"""


@pytest.fixture
def canary() -> str:
    return f"CANARY-{uuid.uuid4()}"


@pytest.fixture
def finished(
    request: pytest.FixtureRequest, dsn: str, db: Connection[Any], tmp_path: Path, canary: str
) -> tuple[Done, list[int]]:
    """Enqueues jobs with the canary in all that can be secret, and runs them. Returns what the worker has said, and the jobs' ids."""
    (tmp_path / "mine.py").write_text(APP)
    secret_dsn = psycopg.conninfo.make_conninfo(dsn, password=canary)
    assert (
        pgq("work", "-A", "mine:app", "--drain", cwd=tmp_path, dsn=secret_dsn).returncode == 0
    )  # declares the tasks
    card = {"number": canary, "owner": "Ada"}
    jobs: list[tuple[str, object, object]] = [
        ("pay", {"card": card, "key": canary}, {"unique": True}),
        ("pay", {"card": {**card, "owner": "bad"}, "key": canary}, {"max_attempts": 2}),
        ("login", {"user": "ada", "password": canary}, {"meta": {"api_key": canary}}),
        ("login", {"user": "bad", "password": canary}, {"max_attempts": 1}),
        ("child", {"key": canary}, {"max_attempts": 1}),
        ("chunked", {"key": canary}, {"max_attempts": 1}),
        ("chunked", {"key": f"{canary}-other"}, {"max_attempts": 1}),
    ]
    ids = [
        db.execute(
            "select id from pgqueue.enqueue(%s, %s, %s)", [task, json.dumps(args), json.dumps(options)]
        ).fetchone()[0]  # type: ignore[index]
        for task, args, options in jobs
    ]
    return pgq(
        "-v",
        "work",
        "-A",
        "mine:app",
        "--drain",
        "--log-jobs",
        "--log-format",
        getattr(request, "param", "json"),
        cwd=tmp_path,
        dsn=secret_dsn,
    ), ids


@pytest.mark.parametrize("finished", ["text", "json"], indirect=True)
def test_no_secret_value_of_a_job_is_in_a_log_line_or_a_stored_error(
    finished: tuple[Done, list[int]], db: Connection[Any], canary: str
) -> None:
    done, ids = finished
    assert done.returncode == 0, done.stderr
    assert "ValueError" in done.stderr
    assert canary not in done.stdout + done.stderr
    stored = db.execute(
        "select t.error, t.traceback from pgqueue.transitions t where t.job_id = any(%s) and t.error is not null"
        " union all select j.last_error, j.last_traceback from pgqueue.jobs j where j.last_error is not null",
        [ids],
    ).fetchall()
    assert len(stored) >= 6
    assert canary not in str(stored)
    assert "[redacted]" in str(stored)
    [(args, result)] = db.execute(
        "select args, result from pgqueue.jobs_done where id = %s", [ids[0]]
    ).fetchall()
    assert (args["key"], result) == (canary, canary), (
        "the handler gets the real value, and the result is stored"
    )


SHAPES: list[list[str]] = [[], ["--json"]]


def test_no_command_shows_a_secret_value_unless_it_is_asked_to_reveal_it(
    finished: tuple[Done, list[int]], dsn: str, tmp_path: Path, canary: str
) -> None:
    _, ids = finished
    show = [["jobs", "show", str(one)] for one in ids]
    steps = [["jobs", "steps", str(one)] for one in ids[:2]]
    wait = [["jobs", "wait", str(one)] for one in ids]
    replay = [
        ["jobs", "replay", str(one), "--dry-run", "--yes", "--run-steps", "-A", "mine:app"] for one in ids
    ]
    reveal = [["jobs", "list"], *show, *steps, wait[0], wait[2], *replay]
    others = [
        ["why", str(ids[0])],
        ["tasks", "list"],
        ["alerts", "list"],
        ["jobs", "count"],
        ["cron", "list"],
    ]
    for number, words in enumerate([*reveal, *others, *wait[3:]]):
        # The commands for several jobs differ only in the job, so they take turns. Every other command is run in both shapes.
        takes_turns = words in show or words in wait or words in replay
        for shape in [SHAPES[number % 2]] if takes_turns else SHAPES:
            done = pgq(*words, *shape, cwd=tmp_path, dsn=dsn)
            assert canary not in done.stdout + done.stderr, words
            assert 'Traceback (most recent call last):\n  File "/' not in done.stderr, words
    for words in (
        ["jobs", "list", "--json"],
        show[0],
        [*show[0], "--json"],
        steps[0],
        wait[0],
        wait[2],
        replay[0],
    ):
        done = pgq(*words, "--reveal", cwd=tmp_path, dsn=dsn)
        assert canary in done.stdout, words


def test_a_declaration_without_redaction_of_an_early_worker_leaves_the_declared_one(
    finished: tuple[Done, list[int]], db: Connection[Any]
) -> None:
    found = "select redact from pgqueue.tasks where name = 'pay'"
    before = db.execute(found).fetchone()
    assert before is not None
    assert sorted(before[0]["args"]) == [["card", "number"], ["key"]]
    db.execute("update pgqueue.tasks set seen_at = now() - interval '1 day'")
    db.execute("""select pgqueue.sync_tasks('a', '[{"name": "pay", "options": {}, "keep": "all"}]', 1)""")
    assert db.execute(found).fetchone() == before


def test_a_schedule_shows_its_arguments_masked(
    finished: tuple[Done, list[int]], dsn: str, tmp_path: Path, canary: str
) -> None:
    args = json.dumps({"card": {"number": canary, "owner": "Ada"}, "key": canary})
    assert (
        pgq(
            "cron", "add", "hourly", "pay", "--cron", "0 * * * *", "--args", args, cwd=tmp_path, dsn=dsn
        ).returncode
        == 0
    )
    assert canary not in pgq("cron", "list", "--json", cwd=tmp_path, dsn=dsn).stdout
    assert canary in pgq("cron", "list", "--json", "--reveal", cwd=tmp_path, dsn=dsn).stdout


def test_names_of_the_settings_are_masked_too(app: App, dsn: str, tmp_path: Path, canary: str) -> None:
    @app.task(name="greet")
    def greet(nickname: str, greeting: str) -> None: ...

    job_id = str(greet.enqueue(nickname=canary, greeting="Hello").id)
    assert canary in pgq("jobs", "show", job_id, cwd=tmp_path, dsn=dsn).stdout
    (tmp_path / "pyproject.toml").write_text('[tool.pgqueue]\nredact = ["nickname"]\n')
    in_file = pgq("jobs", "show", job_id, cwd=tmp_path, dsn=dsn).stdout
    assert canary not in in_file
    assert "Hello" in in_file
    seen = pgq(
        "jobs", "show", job_id, cwd=tmp_path, dsn=dsn, env={"PGQUEUE_REDACT": "other, greeting"}
    ).stdout
    assert "Hello" not in seen


REFUSED = """
import time
from dataclasses import dataclass
from typing import Annotated
from pgqueue import App, Redact

app = App()

@app.task(name="on_loop")
async def on_loop(key: Annotated[str, Redact]) -> None: ...

@app.task(name="in_child", executor="process")
def in_child(key: Annotated[str, Redact]) -> None: ...

@dataclass
class Item:
    key: Annotated[str, Redact]

@app.task(name="chunked", executor="process", chunk=5)
def chunked(items: list[Item]) -> None: ...
"""
# Refuses to write a row of these states, unless the row has lost its arguments. Makes the same kind of error as a check of a table.
REFUSE = """
create function refuse() returns trigger language plpgsql as $$
begin
    if tg_argv[0] like '%' || new.state || '%' and new.args ? 'key' then
        raise check_violation using message = 'refused ' || (new.args ->> 'key'),
            detail = 'Failing row contains (' || new.args::text || ', plain-' || new.task || ').', hint = 'ask Ada';
    end if;
    return new;
end $$;
create trigger refuse before insert or update on pgqueue.jobs for each row execute function refuse('{states}');
"""


@pytest.mark.parametrize("states", ["completed", "completed,dead"])
def test_no_value_of_a_job_is_in_the_error_of_a_database_that_refuses_its_outcome(
    dsn: str, db: Connection[Any], tmp_path: Path, canary: str, states: str
) -> None:
    (tmp_path / "mine.py").write_text(REFUSED)
    db.execute(REFUSE.format(states=states))  # type: ignore[arg-type]
    tasks = ["chunked", "in_child", "on_loop"]
    for task in tasks:
        db.execute("select from pgqueue.enqueue(%s, %s)", [task, json.dumps({"key": canary})])
    done = pgq("work", "-A", "mine:app", "--drain", cwd=tmp_path, dsn=dsn)
    stored = db.execute(
        "select task, last_error, last_traceback from pgqueue.jobs where state = 'dead' order by task"
    ).fetchall()
    assert [task for task, _, _ in stored] == tasks
    said = "CheckViolation: refused [redacted]; ask Ada; PL/pgSQL function public.refuse() line 4 at RAISE"
    assert {(error, traceback) for _, error, traceback in stored} == {(said, None)}
    for leak in (canary, "plain-", "Failing row"):
        assert leak not in str(stored) + done.stdout + done.stderr
    assert "refused [redacted]" in done.stderr
