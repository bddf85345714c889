"""``pgq``: help, usage, ``enqueue``, ``work``, and the output on a terminal."""

from __future__ import annotations

import json
import os
import resource
import shlex
import subprocess
import sys
from typing import Any

import pytest
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.progress import Progress
from tests import command_line
from tests.command_line import on_terminal
from tests.factories import add_jobs
from tests.worker_by_hand import Hand, make_one_dead

# ------------------------------------------------------------------ help, usage

COMMANDS = [
    (), ("work",), ("dev",), ("demo",), ("enqueue",), ("migrate",), ("doctor",), ("jobs",), ("jobs", "list"),
    ("jobs", "show"), ("jobs", "revive"), ("jobs", "retry"), ("jobs", "cancel"), ("jobs", "edit"), ("jobs", "wait"), ("queues",), ("queues", "list"),
    ("queues", "pause"), ("queues", "resume"), ("queues", "remove"), ("jobs", "count"), ("workers",), ("workers", "list"), ("alerts",),
    ("alerts", "list"), ("alerts", "resolve"), ("alerts", "mute"), ("audit",), ("audit", "list"), ("audit", "undo"), ("errors", "list"),
    ("errors", "retry"), ("events", "tail"), ("jobs", "delete"), ("jobs", "run-now"), ("jobs", "export"), ("jobs", "import"), ("queues", "move"),
    ("queues", "purge"), ("tasks", "schema"), ("ls",), ("cancel",), ("revive",),
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_has_help_and_refuses_an_unknown_flag(pgq, words, flag):
    shown = pgq(*words, flag)
    assert (shown.code, "Usage: pgq " + " ".join(words) in shown.out) == (0, True)
    if words != ("enqueue",):  # this command has a flag for each argument of the task
        assert pgq(*words, "--no-such-flag").code == 2


def test_a_closed_stdout_or_stderr_is_no_error_and_a_wrong_option_for_internal_use_is_refused(
    empty_dsn, tmp_path
):
    def shell(line: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PGQUEUE_DSN": empty_dsn, "PYTHONPATH": os.pathsep.join(sys.path)}
        words = ["sh", "-c", line.format(pgq=f"{shlex.quote(sys.executable)} -m pgqueue")]
        return subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    assert shell("{pgq} migrate >&-").returncode == 0
    assert (shell("{pgq} jobs list >&-").returncode, shell("{pgq} jobs list >&- 2>&-").returncode) == (0, 0)
    assert shell("{pgq} jobs show 1 2>&-").returncode == 5
    for wrong in ("x", "99,98", "1"):
        refused = shell(f"{{pgq}} work -A shop:app --supervisor {wrong}")
        assert (refused.returncode, "PGQ-107  --supervisor is" in refused.stderr) == (2, True)


GROUPS = {(), ("audit",), ("jobs",), ("queues",), ("workers",)}

ONLY_JSON = {("jobs", "export"), ("tasks", "schema")}  # these print JSON without being asked

RUN_ON = {("work",), ("dev",)}  # these run until they are stopped, and their output is a log


@pytest.mark.parametrize(
    "words", [words for words in COMMANDS if words not in GROUPS | RUN_ON | ONLY_JSON], ids=" ".join
)
def test_every_command_that_prints_an_answer_has_the_option_json(pgq, words):
    assert "--json" in pgq(*words, "--help").out


def test_help_takes_less_than_a_second_of_processor_time(tmp_path):
    def spent() -> float:
        """Returns the processor time of child processes in seconds, which does not depend on the load of the machine."""
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = spent()
    assert command_line.pgq("--help", cwd=tmp_path).returncode == 0
    assert spent() - before < 1.0


def test_help_imports_no_module_that_only_some_commands_need():
    loaded = "import sys, pgqueue.ui.cli.commands as c; c.root(); print([m for m in ('sqlalchemy', 'alembic', 'pydantic', 'opentelemetry', 'pgqueue.worker', 'pgqueue.dev.demo', 'rich.console') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_pgqueue_does_not_import_its_dependencies():
    loaded = "import sys, pgqueue; print([m for m in ('psycopg', 'pydantic', 'tenacity', 'opentelemetry') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("typo", "meant"), [(("jbos",), "jobs"), (("jobs", "lst"), "list"), (("migrat",), "migrate")]
)
def test_the_error_for_a_misspelt_command_suggests_the_right_command(pgq, typo, meant):
    done = pgq(*typo)
    assert (done.code, f"'{meant}'" in done.err) == (2, True)


def test_the_option_version_prints_the_version(pgq):
    assert pgq("--version").out.startswith("pgqueue-jobs 0.2.0")


# ------------------------------------------------------------------ enqueue


def args(db: Connection[Any]) -> Any:
    return db.execute("select args from pgqueue.jobs order by id desc limit 1").fetchone()[0]


@pytest.mark.parametrize(
    ("words", "stored"),
    [
        (("greet", "--name", "Ada"), {"name": "Ada"}),
        (("greet", "--name=7", "--times", "3"), {"name": "7", "times": 3}),
        (("greet", "--args", '{"name": "Ada"}', "--times", "2"), {"name": "Ada", "times": 2}),
        (
            ("plan", "--at", "2031-01-01T00:00Z", "--args", '{"at": "2030-01-01T00:00:00Z"}', "--tags", '["a"]', "--loud", "true"),
            {"at": "2030-01-01T00:00:00Z", "tags": ["a"], "loud": True},
        ),
        (("echo", "--value", "12"), {"value": "12"}),
        (("echo", "--value", '{"a": 1}'), {"value": {"a": 1}}),
        (("echo", "--value", "{broken"), {"value": "{broken"}),
    ],
)  # fmt: skip
def test_enqueue_converts_arguments_to_the_types_in_the_signature_of_the_task(pgq, db, words, stored):
    done = pgq("enqueue", *words)
    assert done.code == 0, done.err
    assert args(db) == stored


def test_enqueue_prints_the_id_on_stdout_and_a_message_on_stderr(pgq, db):
    done = pgq("enqueue", "greet", "--name", "Ada", "--unique-key", "k", "--queue", "mail", "--priority", "-3", "--tag", "a",
               "--tag", "b", "--max-attempts", "2", "--in", "1h")  # fmt: skip
    assert done.out.strip().isdigit()
    assert "enqueued" in done.err
    row = db.execute(
        "select id, queue, priority, tags, max_attempts, run_at > now() + interval '59 minutes' from pgqueue.jobs"
    ).fetchone()
    assert row == (int(done.out), "mail", -3, ["a", "b"], 2, True)
    again = pgq("enqueue", "greet", "--name", "Bob", "--unique-key", "k", "--json")
    assert json.loads(again.out) == {
        "id": row[0],
        "created": False,
        "state": "pending",
        "conflict": "unique_key",
        "stored_result": None,
        "stored_error": None,
    }
    assert again.err == ""
    refused = pgq("enqueue", "greet", "--name", "Bob", "--unique-key", "k", "--on-conflict", "raise")
    assert (refused.code, "PGQ-406" in refused.err) == (6, True)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("greet",), 2, "name is missing"),
        (("greet", "--name"), 2, "--name has no value"),
        (("greet", "Ada"), 2, "'Ada' stands alone"),
        (("greet", "--args", "{"), 2, "--args is not JSON"),
        (("greet", "--args", "[]"), 2, "not a JSON object"),
        (("greet", "--name", "Ada", "--times", "many"), 2, "times: "),
        (("greet", "--name", "Ada", "--at", "tomorrow"), 2, "PGQ-404"),
        (("greet", "--name", "Ada", "--at", "2031-01-01T09:00"), 2, "needs a time zone"),
        (("greet", "--name", "Ada", "--in", "-5"), 2, "PGQ-404"),
        (("greet", "--name", "Ada", "--in", "1h", "--at", "2031-01-01T09:00Z"), 2, "both given"),
        (("greet", "--name", "Ada", "--wait", "--timeout", "soon"), 2, "--timeout is 'soon'"),
        (("greet", "--name", "Ada", "--priority", "40000"), 2, "-32768 to 32767"),
        (("greet", "--name", "Ada", "--max-attempts", "0"), 2, "1 to 10000"),
        (("gret", "--name", "Ada"), 5, "did you mean greet?"),
        (("greet", "-A", "shopp", "--name", "Ada"), 8, "did you mean shop?"),
    ],
)
def test_enqueue_with_a_mistake_in_its_arguments_stores_no_job(pgq, db, words, code, said):
    done = pgq("enqueue", *words)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (0,)


# ------------------------------------------------------------------ work


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--concurrency", "0"), "--concurrency"), (("--concurrency", "-1"), "--concurrency"), (("--concurrency", "1000000"), "--concurrency"),
        (("--heartbeat", "20"), "heartbeat"), (("--executor", "fork"), "--executor"), (("--processes", "0"), "--processes"),
        (("-Q", "a b"), "PGQ-405"), (("-Q", "a:0"), "slots"), (("-Q", "a,a"), "twice"), (("--poll", "nan"), "poll"),
        (("--max-jobs", "0"), "--max-jobs"), (("--max-rss", "lots"), "--max-rss"), (("--max-rss", "1M"), "16M"),
    ],
)  # fmt: skip
def test_a_worker_with_invalid_options_does_not_start(pgq, flags, said):
    done = pgq("work", *flags)
    assert (done.code, said in done.err) == (2, True), done.err


def test_a_worker_with_the_option_drain_completes_all_due_jobs(dsn, db, tmp_path):
    add_jobs(db, task="greet", count=3, args='{"name": "Ada"}')
    done = command_line.pgq("work", "-A", "shop", "--drain", cwd=command_line.shop(tmp_path), dsn=dsn)
    assert done.returncode == 0, done.stderr
    assert db.execute("select distinct state, result from pgqueue.jobs").fetchall() == [
        ("completed", "Hello, Ada")
    ]


# ------------------------------------------------------------------ on a terminal


def test_a_table_on_a_terminal_has_colours_unless_no_color_is_set(db, dsn, tmp_path):
    [job] = add_jobs(db, task="greet")
    make_one_dead(db, job)
    coloured = on_terminal(["jobs", "list"], tmp_path, dsn)
    assert "\x1b[31mdead" in coloured
    assert "\t" not in coloured
    plain = on_terminal(["jobs", "list"], tmp_path, dsn, NO_COLOR="1")
    assert "\x1b[31m" not in plain
    assert "dead" in plain


def test_jobs_wait_shows_a_progress_bar_on_a_terminal(db, dsn, tmp_path):
    [job] = add_jobs(db, task="greet")
    hand = Hand(db, ["greet"])
    [attempt] = hand.claim()
    run(db, statements.write_progress(hand.id, [(job, attempt.lease_id, Progress(3, 10, "on [the] way"))]))
    shown = on_terminal(["jobs", "wait", str(job), "--timeout", "1.5"], tmp_path, dsn)
    assert f"job {job} running on [the] way" in shown
    assert "3/10" in shown
    assert "PGQ-507" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--task", "a\udcff"), "is not valid text"),
        (("--tag", "\udce9"), "is not valid text"),
        (("--args", '{"a": "\\ud800"}'), "--args"),
        (("--args", '{"a": "\\u0000"}'), "U+0000"),
        (("--args", '{"a": ' + "[" * 100_000), "--args is not JSON"),
        (("--arg", 'a="\\ud800"'), "--args"),
    ],
)
def test_a_filter_with_text_that_postgres_cannot_store_is_refused_with_an_error(pgq, words, said):
    done = pgq("jobs", "list", *words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "PGQ-001" not in done.err


@pytest.mark.parametrize("column", ["started_at", "finished_at"])
@pytest.mark.parametrize("moment", ["infinity", "-infinity", "4713-01-01 BC", "200000-01-01"])
def test_a_job_with_a_time_that_python_cannot_represent_is_shown(pgq, db, column, moment):
    columns = {"task": "ok", "state": "dead", "finished_at": "2026-01-01", column: moment}
    [(job,)] = db.execute(
        f"insert into pgqueue.jobs ({', '.join(columns)}) values ({', '.join(['%s'] * len(columns))}) returning id",
        list(columns.values()),
    ).fetchall()
    assert pgq("jobs", "show", str(job)).code == 0
    assert pgq("jobs", "show", str(job), "--json").code == 0
