"""The files of docs/deploy. ``python -m tests.deploy image`` builds the image, which takes too long for this."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgqueue import App
from pgqueue.config import WorkerSettings
from pgqueue.errors import InvalidSettingError
from pgqueue.worker.worker import Worker
from tests.deploy import files, manifests, units
from tests.factories import enqueue
from tests.http_servers import listening
from tests.servers import directory_for_servers
from tests.waiting import wait_until

needs_pgbouncer = pytest.mark.skipif(
    shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin") is None,
    reason="pgbouncer is not installed",
)


def test_each_command_of_the_files_is_one_of_this_version():
    assert files.complaints() == []
    assert {name for name, command in files.commands() if command[:2] == ["pgq", "work"]} == {
        "Dockerfile", "compose.yaml", "worker.yaml",
    }  # fmt: skip


def test_the_manifests_fit_the_schemas_of_kubernetes_and_the_times_of_the_worker():
    assert manifests.complaints() == []


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("spec", "replicas"), "two", "Kubernetes"),
        (("spec", "template", "spec", "terminationGracePeriodSeconds"), 45, "not longer than --grace"),
        (("spec", "template", "spec", "containers", 0, "livenessProbe", "httpGet", "path"), "/health", "livenessProbe asks"),
    ],
)  # fmt: skip
def test_a_manifest_with_a_mistake_is_complained_about(monkeypatch, path, value, complaint):
    [changed] = [
        each
        for _, each in files.resources()
        if each["kind"] == "Deployment" and each["metadata"]["name"] == "pgqueue-worker"
    ]
    inner: Any = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    others = [(name, each) for name, each in files.resources() if each["kind"] == "Secret"]
    monkeypatch.setattr(manifests, "resources", lambda: [("worker.yaml", changed), *others])
    assert [said for said in manifests.complaints() if complaint in said]


def test_systemd_has_no_complaints_about_the_units():
    assert units.complaints() == []


def test_systemd_complains_about_a_unit_with_a_mistake(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    assert units.verified("[Service]\nExecStart=/bin/true\nProtectSytem=strict\n", tmp_path, "shop.service")


def test_keda_counts_due_and_running_jobs_of_queues_that_are_not_paused(db):
    [scaled] = [each for _, each in files.resources() if each["kind"] == "ScaledObject"]
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    assert db.execute(query.encode()).fetchall() == [(0,)]
    for queue in ("default", "default", "mail", "mail", "other"):
        enqueue(db, "t", queue=queue)
    assert db.execute(query.encode()).fetchall() == [(4,)]
    db.execute(
        "insert into pgqueue.queues (name, paused) values ('mail', true) on conflict (name) do update set paused = true"
    )
    assert db.execute(query.encode()).fetchall() == [(2,)]


def test_the_image_leaves_out_what_its_folder_must_not_show():
    ignored = (files.FOLDER / "app" / ".dockerignore").read_text().splitlines()
    assert {".git", ".venv", "tokens.toml", ".env*"} <= set(ignored)


def test_the_compose_file_hands_the_password_to_the_server_and_the_app():
    text = files.COMPOSE.read_text()
    services = yaml.safe_load(text)["services"]
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")
    for name in ("migrate", "worker", "web"):
        assert "${POSTGRES_PASSWORD:?" in services[name]["environment"]["PGQUEUE_DSN"]


# ------------------------------------------------------------------ PgBouncer


@contextmanager
def bouncing(dsn: str, mode: str) -> Iterator[str]:
    """Runs PgBouncer with the file of this mode, for the test's server and without passwords. Yields the DSN of the pooler."""
    server = conninfo_to_dict(dsn)
    with listening() as door:
        port = door.getsockname()[1]
    settings = (files.FOLDER / "pgbouncer" / f"{mode}.ini").read_text()
    target = f"host={server['host']} port={server.get('port', 5432)} dbname={server['dbname']} user={server['user']}"
    for pattern, value in {
        r"^shop = .*$": f"shop = {target}",
        r"^listen_port = .*$": f"listen_port = {port}\nunix_socket_dir =",
        r"^auth_type = .*$": "auth_type = any",
        r"^auth_file = .*\n": "",
    }.items():
        settings, count = re.subn(pattern, value, settings, flags=re.MULTILINE)
        assert count == 1, pattern
    with directory_for_servers() as folder:
        (folder / "pgbouncer.ini").write_text(settings)
        account = {
            "user": pwd.getpwnam("nobody").pw_uid,
            "group": pwd.getpwnam("nobody").pw_gid,
            "extra_groups": [],
        }
        program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        with (folder / "log").open("wb") as log:
            pooler = subprocess.Popen(
                [program, "-q", folder / "pgbouncer.ini"],
                stderr=log,
                **(account if os.geteuid() == 0 else {}),
            )
        pooled = make_conninfo(host="127.0.0.1", port=port, dbname="shop", user="someone")
        try:
            wait_until(lambda: answers(pooled, pooler, folder / "log"))
            yield pooled
        finally:
            pooler.kill()
            pooler.wait()


def answers(dsn: str, pooler: subprocess.Popen[bytes], log: Path) -> bool:
    assert pooler.poll() is None, log.read_text()
    return psycopg.pq.PGconn.ping(dsn.encode()) == psycopg.pq.Ping.OK


def app_with_a_task(dsn: str) -> App:
    app = App(dsn)
    app.task(name="t")(lambda: None)
    return app


@needs_pgbouncer
def test_a_worker_and_an_app_work_through_pgbouncer_in_session_mode(db: Connection[Any], dsn: str):
    with bouncing(dsn, "session") as pooled:
        app = app_with_a_task(pooled)
        app.tasks["t"].enqueue()
        assert Worker(app, WorkerSettings(queues={"default": None}, drain=True)).run() == 0
        app.close()
    assert db.execute("select state from pgqueue.jobs").fetchall() == [("completed",)]


@needs_pgbouncer
def test_an_app_enqueues_through_pgbouncer_in_transaction_mode_and_a_worker_refuses_it(
    db: Connection[Any], dsn: str
):
    with bouncing(dsn, "transaction") as pooled:
        app = app_with_a_task(pooled)
        for _ in range(12):  # more than five, because psycopg would prepare a statement at its sixth use
            app.tasks["t"].enqueue()
        with pytest.raises(InvalidSettingError, match="pooler in transaction mode"):
            Worker(app, WorkerSettings(queues={"default": None})).run()
        app.close()
    assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (12,)
