"""Causes every error of ``pgqueue.errors`` by a real mistake. The message must contain the error's code and no traceback."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from pgqueue import errors
from pgqueue.database.run import connect
from pgqueue.worker.exit_codes import BLOCKED
from tests.command_line import shop
from tests.process.error_scenes import RAISED, SECRET, Scene, named
from tests.servers import with_database

CODES = {
    kind.code: kind
    for kind in vars(errors).values()
    if inspect.isclass(kind) and issubclass(kind, errors.PgQueueError) and "code" in vars(kind)
}


@pytest.fixture
def scene(dsn, empty_dsn, admin, tmp_path):
    scene = Scene(psycopg.conninfo.make_conninfo(dsn, password=SECRET), empty_dsn, admin, shop(tmp_path))
    yield scene
    with psycopg.connect(admin, autocommit=True) as connection:
        for name in scene.roles:
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


# ------------------------------------------------------------------ mistakes on the command line


def revised(scene: Scene, revision: str) -> subprocess.CompletedProcess[str]:
    with psycopg.connect(scene.dsn) as connection:
        connection.execute("update pgqueue.schema_version set version_num = %s", [revision])
    return scene.pgq("migrate", "--check")


def written(scene: Scene, text: str) -> subprocess.CompletedProcess[str]:
    scene.write(mine="import pgqueue\n" + text)
    return scene.pgq("work", "-A", "mine:app")


def failed(scene: Scene) -> subprocess.CompletedProcess[str]:
    job_id = scene.greet("--name", "Ada").stdout.strip()
    scene.pgq("jobs", "cancel", job_id)
    return scene.pgq("jobs", "wait", job_id)


def without_prometheus(scene: Scene) -> subprocess.CompletedProcess[str]:
    scene.write(prometheus_client="raise ImportError('it is missing')")
    return scene.pgq("metrics", env={"PYTHONPATH": str(scene.folder)})


COMMANDS: dict[str, Callable[[Scene], subprocess.CompletedProcess[str]]] = {
    "PGQ-101": lambda s: s.pgq("jobs", "list", env={"PSYCOPG_IMPL": "c"}),
    "PGQ-102": lambda s: s.pgq("jobs", "list", dsn="", env={"PGQUEUE_EMBEDDED_DIR": str(s.folder / "none")}),
    "PGQ-103": lambda s: s.pgq("jobs", "list", dsn=f"postgresql://u:{SECRET}@127.0.0.1:1/db"),
    "PGQ-104": lambda s: s.pgq("jobs", "list", dsn=with_database(s.dsn, "nowhere")),
    "PGQ-106": lambda s: s.pgq("jobs", "list", dsn=s.role("connection limit 0")),
    "PGQ-107": lambda s: s.pgq("work", "-A", "shop:app", "--concurrency", "0"),
    "PGQ-108": lambda s: s.pgq("demo", dsn="", env={"PGQUEUE_PG_BIN": str(s.folder)}),
    "PGQ-111": without_prometheus,
    "PGQ-201": lambda s: s.pgq("jobs", "list", dsn=s.role("")),
    "PGQ-202": lambda s: s.greet(
        "--name", "Ada",
        dsn=psycopg.conninfo.make_conninfo(s.dsn, options="-c default_transaction_read_only=on"),
    ),
    "PGQ-204": lambda s: s.pgq("jobs", "list", dsn=s.empty_dsn),
    "PGQ-205": lambda s: revised(s, "0000"),
    "PGQ-206": lambda s: revised(s, "9999"),
    "PGQ-301": lambda s: s.pgq("work", "-A", "shopp:app"),
    "PGQ-541": lambda s: s.pgq("workers", "show", "1"),
    "PGQ-720": lambda s: s.pgq("health", "live", "--health-port", "1"),
    "PGQ-302": lambda s: written(s, "app = pgqueue.App()"),
    "PGQ-303": lambda s: s.pgq("enqueue", "gret", "-A", "shop:app"),
    "PGQ-304": lambda s: written(s, "app = pgqueue.App()\nfor _ in '12':\n  @app.task(name='a')\n  def a(): ..."),
    "PGQ-305": lambda s: written(s, "app = pgqueue.App()\napp.task(lambda: None)"),
    "PGQ-401": lambda s: s.greet("--nam", "Ada"),
    "PGQ-402": lambda s: s.greet("--args", json.dumps({"name": "a\x00"})),
    "PGQ-403": lambda s: s.greet("--args", "-", input=json.dumps({"name": "x" * 300_000})),
    "PGQ-404": lambda s: s.greet("--name", "Ada", "--at", "2031-01-01T09:00"),
    "PGQ-405": lambda s: s.greet("--name", "Ada", "--queue", "my queue"),
    "PGQ-406": lambda s: [
        s.greet("--unique-key", "k", "--on-conflict", "raise", "--name", "Ada") for _ in range(2)
    ][1],
    "PGQ-407": lambda s: [s.greet("--idempotency-key", "k", "--name", name) for name in ("Ada", "Bob")][1],
    "PGQ-409": lambda s: [s.greet("--name", "Ada"), *(s.pgq("jobs", "cancel", "1") for _ in range(2))][2],
    "PGQ-420": lambda s: s.pgq("cron", "add", "nightly", "greet", "--cron", "61 * * * *"),
    "PGQ-421": lambda s: [s.pgq("cron", "add", "nightly", "greet", "--every", "5m") for _ in range(2)][1],
    "PGQ-503": lambda s: s.pgq("jobs", "show", "999"),
    "PGQ-509": lambda s: s.pgq("alerts", "resolve", "7"),
    "PGQ-506": lambda s: s.pgq("queues", "resume", "defalt"),
    "PGQ-507": lambda s: s.greet("--name", "Ada", "--wait", "--timeout", "0.05"),
    "PGQ-508": failed,
    "PGQ-510": lambda s: [s.greet("--name", "Ada"), s.pgq("queues", "remove", "default")][1],
    "PGQ-512": lambda s: [s.greet("--name", "Ada"), s.pgq("jobs", "forget-step", "1", "mail")][1],
    "PGQ-513": lambda s: s.pgq("audit", "undo", "7"),
    "PGQ-514": lambda s: [s.pgq("audit", "undo", "1") for _ in [s.pgq("queues", "pause", "mail"), 2]][1],
    "PGQ-515": lambda s: s.pgq("errors", "show", "0123"),
    "PGQ-516": lambda s: s.pgq("limits", "remove", "7"),
    "PGQ-540": lambda s: s.pgq("batches", "show", "7"),
    "PGQ-520": lambda s: s.pgq("cron", "pause", "nightly"),
}  # fmt: skip

WORDS = {
    "PGQ-101": "pip install 'pgqueue-jobs[binary]'",
    "PGQ-102": "--dsn; PGQUEUE_DSN; DATABASE_URL",
    "PGQ-103": "Connection refused",
    "PGQ-104": "nowhere",
    "PGQ-106": "max_connections",
    "PGQ-111": "pip install 'pgqueue-jobs[prometheus]'",
    "PGQ-201": "pgq db grants",
    "PGQ-202": "primary",
    "PGQ-204": "pgq migrate",
    "PGQ-205": "pgq migrate",
    "PGQ-206": "pip install -U",
    "PGQ-301": "did you mean shop?",
    "PGQ-303": "did you mean greet?",
    "PGQ-304": "mine.a has the name already",
    "PGQ-305": 'name="',
    "PGQ-401": "nam is unknown",
    "PGQ-402": "$.name",
    "PGQ-403": "293 KiB of JSON; the limit is 256 KiB",
    "PGQ-404": "needs a time zone",
    "PGQ-407": "belongs to job 1",
    "PGQ-409": "job 1, it is cancelled",
    "PGQ-506": "did you mean default?",
    "PGQ-508": "Job 1 is cancelled",
    "PGQ-510": "Queue default is in use, by 1 unfinished or dead job",
    "PGQ-512": "pgq jobs steps 1",
    "PGQ-513": "There is no action 7",
    "PGQ-514": "it was undone already, by action 2",
    "PGQ-515": "No group of errors has a fingerprint that begins with '0123'",
    "PGQ-516": "There is no limit 7",
    "PGQ-540": "There is no batch 7",
}


@pytest.mark.parametrize("code", COMMANDS)
def test_a_mistake_on_the_command_line_ends_with_a_message_and_the_exit_code_of_its_error(scene, code):
    done = COMMANDS[code](scene)
    assert done.returncode == CODES[code].exit_code, done.stderr
    assert f"{code}  " in done.stderr
    assert WORDS.get(code, "") in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert SECRET not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("limits", "set", "--queue", "mail", "--rate", "5/0"), "The time of --rate is '0'"),
        (("limits", "set", "--queue", "mail", "--rate", "5/0.1ms"), "The time of --rate is '0.1ms'"),
        (("limits", "set", "--key", "", "--concurrency", "5"), "--key has 0 bytes"),
        (("limits", "set", "--key", "ż" * 128, "--concurrency", "5"), "--key has 256 bytes"),
        (("limits", "set", "--sliding", "--concurrency", "5"), "--sliding needs --rate"),
        (("jobs", "list", "--before", "0"), "--before"),
        (("jobs", "edit", "1", "--run-at", "2030-01-01T09:00"), "--run-at is '2030-01-01T09:00'"),
        (("jobs", "edit", "1", "--expires", "2030-01-01"), "--expires is '2030-01-01'"),
    ],
)
def test_the_error_for_an_invalid_value_names_the_option(scene, words, said):
    done = scene.pgq(*words)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("queues", "resume", "defalt"), "PGQ-506"),
        (("jobs", "list", "--nosuch"), "PGQ-107"),
        (("jobs", "lst"), "PGQ-107"),
        (("jobs", "show", "x"), "PGQ-107"),
    ],
)
def test_a_mistake_is_one_json_object_on_stderr_if_the_option_json_is_given(scene, words, code):
    done = scene.pgq(*words, "--json")
    assert done.returncode == CODES[code].exit_code
    assert done.stdout == ""
    error = json.loads(done.stderr)["error"]
    assert (error["code"], set(error) >= {"message", "why", "do"}) == (code, True)


def test_the_message_of_an_error_in_the_users_module_contains_the_number_of_the_line(scene):
    scene.write(broken="import pgqueue\n\n1 / 0\n")
    done = scene.pgq("work", "-A", "broken")
    assert (done.returncode, "Traceback" in done.stderr) == (8, False)
    assert "ZeroDivisionError" in done.stderr
    assert "broken.py:3" in done.stderr


def test_a_command_says_what_to_install_if_libpq_is_missing_and_help_works_without_it(scene):
    scene.write(
        sitecustomize="import ctypes.util, sys\n"
        "sys.modules.update(psycopg_binary=None, psycopg_c=None)\n"
        "ctypes.util.find_library = lambda name: None\n"
    )
    env = {"PYTHONPATH": os.pathsep.join([str(scene.folder), *sys.path])}
    assert scene.pgq("--help", env=env).returncode == 0
    done = scene.pgq("queues", "list", env=env)
    assert (done.returncode, done.stderr.count("PGQ-101"), "Traceback" in done.stderr) == (2, 1, False)


DSNS = [
    f"postgresql://u:{SECRET}@localhost:abc/db",
    f"postgresql://u:x@{SECRET}@127.0.0.1:1/db",
    f"postgresql://u:%ZZ{SECRET}@h/db",
    f"host=127.0.0.1 port=99999 password={SECRET}",
    f"host=127.0.0.1 password=a {SECRET}",
    f"host=127.0.0.1 port=1 password='{SECRET}",
    f"nonsense {SECRET}",
]


@pytest.mark.parametrize("bad", DSNS)
def test_the_error_for_an_invalid_dsn_does_not_contain_its_password(scene, bad):
    done = scene.pgq("jobs", "list", dsn=bad)
    assert done.returncode in (2, 3), done.stderr
    assert "PGQ-10" in done.stderr
    assert SECRET not in done.stderr
    assert "Traceback" not in done.stderr
    with pytest.raises(errors.PgQueueError) as caught:
        connect(bad)
    assert SECRET not in str(caught.value) + str(caught.value.__cause__ or "")


# ------------------------------------------------------------------ mistakes in Python


@pytest.mark.parametrize("code", RAISED)
def test_a_mistake_in_python_raises_its_error(scene, code):
    with pytest.raises(CODES[code], match=f"{code}  "):
        RAISED[code](scene)


def test_enqueue_on_an_async_connection_raises_an_error_that_suggests_aenqueue(scene):
    async def enqueue() -> None:
        async with await psycopg.AsyncConnection.connect(scene.dsn) as connection:
            scene.app().task(name="t")(named).using(connection).enqueue("Ada")

    with pytest.raises(errors.WrongConnectionError, match="aenqueue"):
        asyncio.run(enqueue())


# ------------------------------------------------------------------ errors that a worker stores in a job's row

# For each code, a tuple that describes a job whose attempt fails with this error: its task, its arguments, its timeout, and the seconds
# until its deadline.
WRITTEN = {
    "PGQ-602": ("die", "{}", "1 s", None), "PGQ-603": ("slow", "{}", "1 s", None),
    "PGQ-604": ("fussy", '{"value": 0}', "1 s", None), "PGQ-605": ("slow", "{}", "1 s", 0.1),
    "PGQ-608": ("hog", "{}", None, None), "PGQ-609": ("miscount", "{}", "1 s", None),
    "PGQ-610": ("unstorable", "{}", "1 s", None), "PGQ-611": ("changed_step", "{}", "1 s", None),
    "PGQ-612": ("same_step_twice", "{}", "1 s", None), "PGQ-613": ("large_step", "{}", "1 s", None),
    "PGQ-614": ("unstorable_step", "{}", "1 s", None), "PGQ-615": ("impatient", "{}", "1 s", None),
    "PGQ-616": ("swallowing", "{}", "1 s", None), "PGQ-617": ("childless", "{}", "1 s", None),
}  # fmt: skip


@pytest.mark.parametrize("code", WRITTEN)
def test_the_error_of_a_failed_attempt_is_stored_in_the_row_of_its_job(scene, code):
    with psycopg.connect(scene.dsn, autocommit=True) as db:
        db.execute(
            "insert into pgqueue.jobs (task, args, timeout, deadline_at)"
            " values (%s, %s, %s, now() + make_interval(secs => %s))",
            [*WRITTEN[code]],
        )
        done = scene.pgq("work", "-A", "shop:app", "--drain", "--poll", "0.05", "--blocked", "5")
        assert done.returncode == (BLOCKED if code == "PGQ-608" else 0), done.stderr
        [(error,)] = db.execute("select last_error from pgqueue.jobs").fetchall()
    assert error.startswith(f"{CODES[code].__name__}: {code}  ")


# ------------------------------------------------------------------ unexpected errors, and the list of all codes


def unexpected(scene: Scene) -> subprocess.CompletedProcess[str]:
    """Causes an error that pgqueue does not expect: somebody has renamed a column of its tables."""
    with psycopg.connect(scene.dsn, autocommit=True) as db:
        db.execute("alter table pgqueue.jobs rename column priority to urgency")
    return scene.pgq("jobs", "list")


def test_an_unexpected_error_is_reported_as_a_bug_without_its_traceback(scene):
    done = unexpected(scene)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "PGQ-001  Unexpected UndefinedColumn" in done.stderr
    assert "PGQUEUE_TRACEBACK=1" in done.stderr


def test_every_code_is_caused_by_a_test_of_this_file():
    assert set(CODES) == {"PGQ-001", *COMMANDS, *RAISED, *WRITTEN}
