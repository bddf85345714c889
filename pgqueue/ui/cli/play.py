"""``pgq dev`` and ``pgq demo``, which need no installed Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from pgqueue.config import read_file
from pgqueue.database import migrate, statements
from pgqueue.database.dsn import find_dsn, redact
from pgqueue.database.run import connect, run
from pgqueue.errors import NoDsnError
from pgqueue.runtime import origin
from pgqueue.ui.cli.common import AppPath, AsJson, Dsn, app_path, app_with_database
from pgqueue.ui.cli.options import with_settings
from pgqueue.ui.cli.output import as_dict, emit, say, tell

CHECK_FAILED = 7
HOW_TO_LOOK = "it stops when no program uses it; to look into it, start it again: PGQUEUE_EMBEDDED_DIR='{0}' pgq dev -A pgqueue.dev.demo.large_orders"


def add(cli: typer.Typer) -> None:
    cli.command("dev")(dev)
    cli.command("demo")(demo)


@contextmanager
def _server(given: str | None, *, demo: bool = False) -> Iterator[str]:
    """Yields the DSN of the configured database. If none is configured, starts an embedded Postgres, and yields its DSN.

    The database is migrated first. The embedded Postgres runs as long as any program uses it. The demo and ``pgq dev`` have different
    embedded servers, so that the demo's jobs do not mix with the user's jobs.
    """
    try:
        dsn = find_dsn(given)
    except NoDsnError:
        from pgqueue.dev.embedded import acquire, data_that_cannot_start, default_data_dir

        home = default_data_dir()
        home = home.with_name(f"{home.name}-demo") if demo else home
        for left in data_that_cannot_start() if not demo else []:
            say(
                "",
                f"{left} is not used, because this machine no longer has Postgres {left.name[2:]}, which made it",
            )
        first = "" if home.exists() else "; its first start takes some seconds"
        say("postgres", f"an embedded server starts, because no DSN is configured{first}")
        with acquire(home) as server:
            say("", f"export PGQUEUE_DSN='{server.dsn}'")
            yield _prepared(server.dsn)
        if demo:
            say("postgres", HOW_TO_LOOK.format(home))
    else:
        say("postgres", redact(dsn) or "the server of libpq's environment variables")
        yield _prepared(dsn)


def _prepared(dsn: str) -> str:
    say("schema", "is created or upgraded, if it is not current")
    migrate.upgrade(dsn, lambda said: say("waits", f"a lock is held by {said}"))
    with connect(dsn, name="pgq dev") as connection:
        migrate.check_server(connection)
        run(connection, statements.add_partitions(3))
    origin.handed.dsn = dsn
    return dsn


@with_settings("queues", "concurrency")
def dev(app: AppPath = None, dsn: Dsn = None, **flags: object) -> None:
    """For development: start a worker. If no database is configured, start a Postgres server, too. Create the schema if it is missing."""
    from pgqueue.maintenance.alerting.settings import find_alerts
    from pgqueue.worker.settings import settings_for
    from pgqueue.worker.worker import Worker

    path = app_path(app)
    with _server(dsn) as target:
        loaded = app_with_database(path, target)
        settings = settings_for(loaded, **flags)
        code = Worker(loaded, settings, app_path=path, alerts=find_alerts(read_file())).run()
    raise typer.Exit(code)


def demo(
    orders: Annotated[
        int, typer.Option(min=20, max=492, help="How many orders the shop takes in the first act.")
    ] = 300,
    act: Annotated[
        int | None, typer.Option(min=1, max=2, help="Play only this act.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Run a shop on which much goes wrong, and prove that nothing was lost and nothing happened twice.

    In the first act, orders are plain jobs: there are rollbacks, mail, a failing webhook, a dead letter and a killed worker. In the second
    act, orders are workflows: a worker is killed between two steps, a person approves charges, and what failed is undone.
    """
    from pgqueue.dev.demo.run import run as run_demo

    with _server(dsn, demo=True) as target:
        result = run_demo(target, orders=orders, act=act, json_output=as_json)
        if result.evening and result.evening.undone and not as_json:
            _draw(target, result.evening.undone)
    if as_json:
        emit(as_dict(result))
    raise typer.Exit(0 if result.ok else CHECK_FAILED)


def _draw(dsn: str, workflow_id: int) -> None:
    """Draws a workflow that was undone."""
    from pgqueue.ui.cli.workflows import draw

    tell(f"The order that was charged and could not be shipped; pgq workflows show {workflow_id}:")
    with connect(dsn, name="pgq demo") as connection:
        draw(run(connection, statements.list_nodes(workflow_id)))
