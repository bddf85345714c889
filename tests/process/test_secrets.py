"""Passwords and other secrets are not in the list of processes, the environment of handlers, logs, errors or reprs."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from pgqueue.config import read_file
from pgqueue.errors import InvalidArgumentsError, InvalidSettingError
from pgqueue.maintenance.alerting.settings import AlertSettings
from pgqueue.model.new_job import NewJob
from pgqueue.model.payload import SHOW_VALUES
from pgqueue.runtime.origin import without_dsn
from tests.command_line import pgq, shop
from tests.waiting import wait_until

SECRET = f"hunter2{secrets.token_hex(6)}"  # random, because process_list() also sees the processes of other test runs
APP = """
import json, os, pathlib
from pgqueue import App

app = App()

def look():
    files = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
    return {"environ": dict(os.environ), "files": files, "dsn": bool(app.dsn)}

@app.task(name="thread")
def thread() -> None:
    pathlib.Path("thread").write_text(json.dumps(look()))
    once.enqueue()
    other.tasks["again"].enqueue()

@app.task(name="process", executor="process")
def process() -> None:
    pathlib.Path("process").write_text(json.dumps(look()))
    once.enqueue()

@app.task(name="once")
def once() -> None: ...

other = App()
other.task(name="again")(lambda: None)
"""

BEGINNING = """
import os, pathlib, sys

(pathlib.Path(__file__).parent / f"begun.{os.getpid()}").write_text(" ".join(sys.orig_argv))
"""


def process_list(text: str) -> list[str]:
    """Returns the command lines and the environments that contain this text, of all processes of this machine."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                said = (folder / name).read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if text in said:
                found.append(f"{folder.name} {name}: {said}")
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no list of processes to read")
@pytest.mark.parametrize("processes", [1, 2])
def test_a_password_on_the_command_line_does_not_reach_other_processes_or_the_environment_of_handlers(
    dsn, db, tmp_path, processes
):
    (tmp_path / "mine.py").write_text(APP)
    # Each Python process runs this file before any code of pgqueue.
    (tmp_path / "sitecustomize.py").write_text(BEGINNING)
    db.execute("select pgqueue.enqueue('thread'), pgqueue.enqueue('process')")
    words = [
        "work",
        "-A",
        "mine:app",
        "--processes",
        str(processes),
        "--dsn",
        psycopg.conninfo.make_conninfo(dsn, password=SECRET),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "pgqueue", *words], cwd=tmp_path, env=environment, stderr=log
        )
    try:
        wait_until(lambda: db.execute("select count(*) from pgqueue.jobs_done").fetchone()[0] >= 4, 90)
        assert process_list(SECRET) == []
        begun = {path.suffix[1:]: path.read_text() for path in tmp_path.glob("begun.*")}
        assert SECRET in begun.pop(str(worker.pid))
        assert len(begun) >= processes
        assert SECRET not in str(begun), "for a moment, the list of processes contained the password"
        for name in ("thread", "process"):
            seen = json.loads((tmp_path / name).read_text())
            assert SECRET not in json.dumps(seen)
            assert "PGQUEUE_DSN" not in seen["environ"]
            assert seen["dsn"]
    finally:
        worker.terminate()
        worker.wait(60)
    assert SECRET not in (tmp_path / "log").read_text()


def test_the_options_that_a_supervisor_passes_to_its_workers_contain_no_dsn():
    assert without_dsn(["work", "--dsn", "x", "-A", "a:b", "--dsn=y", "-c", "2"]) == [
        "work",
        "-A",
        "a:b",
        "-c",
        "2",
    ]
    assert without_dsn(["--dsn", "x"]) == []


def test_a_dsn_in_the_users_environment_stays_in_the_environment_of_handlers(dsn, db, tmp_path):
    (tmp_path / "mine.py").write_text(APP)
    db.execute("select pgqueue.enqueue('thread')")
    done = pgq("work", "-A", "mine:app", "--drain", cwd=tmp_path, dsn=dsn)
    assert done.returncode == 0
    assert json.loads((tmp_path / "thread").read_text())["environ"]["PGQUEUE_DSN"] == dsn


def test_a_workers_log_never_shows_the_password_of_its_dsn(dsn, db, tmp_path):
    """The test terminates a connection of the worker, so that the worker logs the error of this connection."""
    shop(tmp_path)
    secret = psycopg.conninfo.make_conninfo(dsn, password=SECRET)
    with (tmp_path / "log").open("wb") as log:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)]),
            "PGQUEUE_DSN": secret,
        }
        worker = subprocess.Popen(
            [sys.executable, "-m", "pgqueue", "-v", "work", "-A", "shop:app"],
            cwd=tmp_path,
            env=environment,
            stderr=log,
        )
    said = (tmp_path / "log").read_text
    try:
        wait_until(lambda: db.execute("select from pgqueue.workers").fetchall(), 60)
        sessions = (
            "from pg_stat_activity where application_name = 'pgqueue claim' and datname = current_database()"
        )
        wait_until(lambda: db.execute(f"select pg_terminate_backend(pid) {sessions}".encode()).fetchall(), 60)
        wait_until(lambda: "broke and is opened again" in said() or "is back after" in said(), 60)
    finally:
        worker.terminate()
        worker.wait(60)
    assert SECRET not in said()


# ------------------------------------------------------------------ values of arguments


@pytest.fixture
def task(app):
    @app.task(name="pay")
    def pay(pin: int, kind: dict[str, int] | None = None) -> None: ...

    return pay


def test_the_error_for_an_invalid_argument_does_not_contain_its_value(task, monkeypatch):
    with pytest.raises(InvalidArgumentsError, match="pin: Input should be a valid integer") as caught:
        task.spec.decode(json.dumps({"pin": SECRET}))
    with pytest.raises(InvalidArgumentsError, match="pin") as sent:
        task.enqueue(pin=SECRET)
    for error in (caught.value, sent.value):
        assert SECRET not in str(error) + str(error.__cause__) + str(
            error.__context__ if not error.__suppress_context__ else ""
        )
    monkeypatch.setenv(SHOW_VALUES, "1")
    with pytest.raises(InvalidArgumentsError, match=f"not '{SECRET}'"):
        task.spec.decode(json.dumps({"pin": SECRET}))


def test_the_error_of_a_job_with_invalid_arguments_is_logged_and_stored_without_their_values(
    dsn, db, tmp_path
):
    shop(tmp_path)
    db.execute(
        "select pgqueue.enqueue('plan', %s, '{\"max_attempts\": 1}')",
        [json.dumps({"at": SECRET, "tags": SECRET})],
    )
    done = pgq("work", "-A", "shop:app", "--drain", cwd=tmp_path, dsn=dsn)
    assert "is dead" in done.stderr
    [(error, traceback)] = db.execute("select last_error, last_traceback from pgqueue.jobs_dead").fetchall()
    assert SECRET not in done.stderr + error + str(traceback)


def test_the_repr_of_a_job_has_no_arguments_results_or_errors(task, db):
    handle = task.enqueue(pin=4711)
    db.execute(
        "update pgqueue.jobs_live set meta = '{\"a\": \"4712\"}', last_error = '4713', progress = '4714'"
    )
    for text in (repr(handle.job()), repr(NewJob("t", '{"pin": 4711}')), repr(handle)):
        assert not re.search("471[1-4]", text)


@pytest.mark.parametrize(
    "url", ["http://example.org/", "http://10.0.0.1:80/", "http://localhost.example.org/"]
)
def test_a_token_is_refused_if_its_url_has_no_tls_and_is_on_another_machine(url):
    with pytest.raises(InvalidSettingError, match="without TLS"):
        AlertSettings(webhook=url, webhook_token="t")
    AlertSettings(webhook=url)


@pytest.mark.parametrize(
    "url", ["https://example.org/", "http://localhost:8080/x", "http://127.0.0.1/", "http://[::1]:1/"]
)
def test_a_token_is_allowed_if_its_url_has_tls_or_is_on_this_machine(url):
    AlertSettings(webhook=url, webhook_token="t")


# ------------------------------------------------------------------ another user's settings


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make another user's file"
)
def test_a_pyproject_in_a_parent_folder_is_not_read_if_it_belongs_to_another_user(tmp_path, caplog):
    mine = tmp_path / "mine" / "deeper"
    mine.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.pgqueue]\ndsn = "postgresql://evil/"')
    assert read_file(mine) == {"dsn": "postgresql://evil/"}
    os.chown(tmp_path / "pyproject.toml", 4711, 4711)
    assert read_file(mine) == {}
    assert "belongs to another user (4711)" in caplog.text
    os.chown(mine, 4711, 4711)
    assert read_file(mine) == {"dsn": "postgresql://evil/"}, (
        "the owner of the current folder is allowed to set the DSN"
    )
