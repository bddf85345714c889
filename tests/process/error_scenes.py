"""The scene of ``test_errors.py``, and the mistakes in Python that it makes there. Each of them raises the error with its code."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from pgqueue import App, chain, errors
from pgqueue.database import migrate, pools
from pgqueue.errors import NotAuthenticatedError
from pgqueue.ui import api
from pgqueue.ui.access.access import Access
from pgqueue.ui.access.tokens import Token
from pgqueue.ui.access.who import Role, Who
from pgqueue.ui.api.service import Service
from pgqueue.ui.api.strict_json import decode
from pgqueue.ui.reading.asked import Asked
from pgqueue.worker.attempt_lease import AttemptLease
from tests.command_line import pgq
from tests.http_servers import Client, served
from tests.proxy import proxy_to
from tests.worker_by_hand import Hand

SECRET = "s3cr3t"  # every DSN contains this password, and no message is allowed to contain it


@dataclass
class Scene:
    """Has what the mistakes need: a migrated database, a database without tables, and a folder with an app."""

    dsn: str
    empty_dsn: str
    admin: str
    folder: Path

    def pgq(self, *words: str, dsn: str | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        return pgq(*words, cwd=self.folder, dsn=self.dsn if dsn is None else dsn, **options)

    def greet(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.pgq("enqueue", "greet", "-A", "shop:app", *words, **options)

    def write(self, **modules: str) -> None:
        for name, text in modules.items():
            (self.folder / f"{name}.py").write_text(text)

    def app(self) -> App:
        return App(self.dsn)

    def role(self, options: str, dsn: str | None = None) -> str:
        """Makes a role that can log in and has no other right, and returns its DSN.

        A role belongs to the whole server, not to a database, so the fixture ``scene`` drops it after the test.
        """
        name = f"pgqueue_test_{os.urandom(6).hex()}"
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(
                sql.SQL("create role {} login password {} " + options).format(sql.Identifier(name), SECRET)
            )
        self.roles.append(name)
        return psycopg.conninfo.make_conninfo(dsn or self.dsn, user=name, password=SECRET)

    def __post_init__(self) -> None:
        self.roles: list[str] = []


def locked(scene: Scene) -> None:
    with pytest.MonkeyPatch.context() as patch, psycopg.connect(scene.dsn) as connection:
        patch.setattr(migrate, "LOCK_PATIENCE", 0.0)
        connection.execute("lock table pgqueue.schema_version in access exclusive mode")
        migrate.upgrade(scene.dsn)


def old_server(scene: Scene) -> None:
    with pytest.MonkeyPatch.context() as patch, psycopg.connect(scene.dsn) as connection:
        patch.setattr(migrate, "OLDEST_SERVER", 990_000)
        migrate.check_server(connection)


def bad_batch(scene: Scene) -> None:
    scene.app().task(name="t")(named).enqueue_many([{"name": "Ada"}, {}])


def wrong_connection(scene: Scene) -> None:
    scene.app().task(name="t")(named).using(object()).enqueue("Ada")


def lost_lease(scene: Scene) -> None:
    """Changes the lease of the job before the handler's own transaction commits, as the claim of another worker does."""
    app = scene.app()
    app.task(name="t")(named).enqueue("Ada")
    with psycopg.connect(scene.dsn, autocommit=True) as db:
        [attempt] = Hand(db, ["t"]).claim()
        with AttemptLease(attempt, app).transaction(None, None):
            db.execute("update pgqueue.jobs_live set lease_id = lease_id + 1")


def named(name: str) -> None: ...


def unconfirmed(scene: Scene) -> None:
    with proxy_to(scene.dsn) as proxy:
        app = App(proxy.dsn)

        @app.task(name="t")
        def t() -> None: ...

        t.enqueue()
        proxy.cut_at = b"insert into pgqueue.jobs_live"  # a statement that commits by itself
        try:
            t.enqueue()
        finally:
            app.close()


def full_pool(scene: Scene) -> None:
    app = App(scene.dsn, pool_size=1)
    with pytest.MonkeyPatch.context() as patch, closing(app):
        patch.setattr(pools, "POOL_PATIENCE", 0.05)
        with app.connection(), app.connection():
            pass


def taken_column(scene: Scene) -> None:
    with psycopg.connect(scene.dsn, autocommit=True) as connection:
        connection.execute("update pgqueue.schema_version set version_num = '0016'")
        connection.execute("alter table pgqueue.tasks add column declared text")
    migrate.upgrade(scene.dsn)


def taken_id(scene: Scene) -> None:
    with psycopg.connect(scene.dsn, autocommit=True) as db:
        db.execute("insert into pgqueue.jobs (id, task) values (1, 't')")
    scene.app().task(name="t")(named).enqueue("Ada")


def two_nodes_of_one_name(scene: Scene) -> None:
    task = scene.app().task(name="t")(named)
    with scene.app().workflow("flow") as w:
        for name in ("Ada", "Bob"):
            w.add(task.job(name), name="greeting")


def retry_of_an_open_node(scene: Scene) -> None:
    app = scene.app()
    handle = app.enqueue_workflow(chain(app.task(name="t")(named).job("Ada")))
    with closing(app):
        handle.retry("t")


def job_of_no_node(scene: Scene) -> None:
    app = scene.app()
    handle = app.enqueue_workflow(chain(app.task(name="t")(named).job("Ada")))
    with closing(app):
        handle.job("charge")


def state_of_no_workflow(scene: Scene) -> None:
    with closing(scene.app()) as app:
        app.workflow_handle(7).state()


def add_to_a_sealed_batch(scene: Scene) -> None:
    app = scene.app()
    task = app.task(name="t")(named)
    with closing(app):
        with app.batch("import") as b:
            b.add([task.job("Ada")])
        b.add([task.job("Bob")])


def admitted(access: Access, **headers: str) -> Who:
    """Sends a request of another web site or of a program to the entrance of the HTTP API."""
    named = {"host": "localhost", **{name.replace("_", "-"): value for name, value in headers.items()}}
    raw = [(name.encode(), value.encode()) for name, value in named.items()]
    return asyncio.run(
        access.admit({"type": "http", "method": "POST", "client": ("127.0.0.1", 1), "headers": raw})
    )


def no_room(scene: Scene) -> None:
    service = Service(scene.app(), is_own=True, most_waiting=0)
    with service.waiting("ada"):
        pass


def eleven_wrong_tokens(scene: Scene) -> None:
    access = Access([Token("0" * 64, Who("ada"))])
    for _ in range(10):
        with contextlib.suppress(NotAuthenticatedError):
            admitted(access, authorization="Bearer wrong")
    admitted(access, authorization="Bearer wrong")


def no_operation(scene: Scene) -> None:
    """Asks the HTTP API for an operation that there is not, and raises the error that has the code of its answer."""
    with (
        served(api.create(scene.dsn, access=Access(anonymous=Who("ada", Role.admin)))) as port,
        Client(port) as client,
    ):
        said = client.get("/operations/7").json()
    [kind] = [kind for kind in vars(errors).values() if getattr(kind, "code", None) == said["code"]]
    raise kind(said["detail"])


RAISED: dict[str, Callable[[Scene], object]] = {
    "PGQ-110": full_pool,
    "PGQ-203": old_server,
    "PGQ-207": locked,
    "PGQ-208": taken_id,
    "PGQ-209": taken_column,
    "PGQ-408": bad_batch,
    "PGQ-430": two_nodes_of_one_name,
    "PGQ-431": retry_of_an_open_node,
    "PGQ-440": add_to_a_sealed_batch,
    "PGQ-505": wrong_connection,
    "PGQ-511": unconfirmed,
    "PGQ-530": state_of_no_workflow,
    "PGQ-531": job_of_no_node,
    "PGQ-601": lost_lease,
    "PGQ-701": lambda s: admitted(Access([Token("0" * 64, Who("ada"))])),
    "PGQ-702": lambda s: admitted(Access()).require(Role.operator, "cancel jobs"),
    "PGQ-703": eleven_wrong_tokens,
    "PGQ-704": lambda s: admitted(Access(), sec_fetch_site="cross-site"),
    "PGQ-705": lambda s: admitted(Access(), host="evil.test"),
    "PGQ-710": lambda s: decode(b"{"),
    "PGQ-711": no_room,
    "PGQ-712": no_operation,
    "PGQ-713": lambda s: Asked({"job": "x"}, {}).id("job", "job"),
}
