"""The root command, the options that many commands share, and the functions by which commands find the database and the app."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from psycopg import Connection

from pgqueue.config import read_file
from pgqueue.database.dsn import find_dsn, libpq_dsn
from pgqueue.database.migrate import check_server
from pgqueue.database.run import connect
from pgqueue.errors import AppImportError, NoDsnError
from pgqueue.model.setting import TEXT
from pgqueue.runtime import origin
from pgqueue.telemetry import log_output

if TYPE_CHECKING:
    from pgqueue.app.app import App

Dsn = Annotated[
    str | None,
    typer.Option(
        "--dsn",
        metavar="URL",
        help="The database. Default: from PGQUEUE_DSN, DATABASE_URL, pyproject.toml or PG*.",
        show_default=False,
    ),
]
AppPath = Annotated[
    str | None,
    typer.Option(
        "-A",
        "--app",
        metavar="MODULE[:APP]",
        help="The app with the tasks. Default: from PGQUEUE_APP or pyproject.toml.",
        show_default=False,
    ),
]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Log more.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Log only warnings and errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of tables for people.")]

Reveal = Annotated[
    bool, typer.Option("--reveal", help="Also show secret values, which are masked otherwise.")
]

cli = typer.Typer(
    name="pgq",
    help="A job queue that lives in your Postgres.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"pgqueue-jobs {version('pgqueue-jobs')} (pgq, pgqueue)")
        raise typer.Exit


@cli.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Exit codes and messages are documented in the README."""
    choose_level(verbose=verbose, quiet=quiet)


def choose_level(*, verbose: bool, quiet: bool) -> None:
    log_output.choose(logging.DEBUG if verbose else logging.WARNING if quiet else None)


def silence() -> None:
    """Writes no log lines, of any library, from now on: they would stand in the middle of the screen."""
    logging.disable()


def dsn_or_running(given: str | None) -> str:
    """Returns the configured DSN, or else the DSN of the server that a running `pgq dev` has started.

    Raises NoDsnError if there is neither.
    """
    try:
        return find_dsn(given)
    except NoDsnError:
        from pgqueue.dev.embedded import running

        found = running()
        if found is None:
            raise
        return found


@contextmanager
def database(given: str | None) -> Iterator[Connection]:
    """Opens a connection to the database. Raises an error if the database cannot be reached, or if pgqueue's schema in it does not fit."""
    log_output.set_up()
    with connect(dsn_or_running(given), name="pgq") as connection:
        check_server(connection)
        yield connection


def named_app(given: str | None) -> str | None:
    """Returns the app's path from -A, PGQUEUE_APP or pyproject.toml; None if it is given nowhere."""
    found = given or os.environ.get("PGQUEUE_APP")
    if not found and (in_file := read_file().get("app")) is not None:
        found = str(TEXT.read(in_file, "app in [tool.pgqueue]"))
    return found or None


def app_path(given: str | None) -> str:
    """Returns the app's path. Raises AppImportError if it is given nowhere."""
    path = named_app(given)
    if not path:
        raise AppImportError(
            "No app is named.",
            why="neither -A nor PGQUEUE_APP nor app in [tool.pgqueue] of pyproject.toml is set",
            do="name it with -A module:app",
        )
    return path


def app_with_database(path: str, dsn: str | None) -> App:
    """Loads the app and sets its database. Child processes that this process starts later use the same database.

    This sets no environment variable, because handlers, and the programs that they start, would see the variable.
    """
    from pgqueue.app.loading import load_app  # which imports pydantic

    app = load_app(path)
    log_output.set_up()
    dsn = dsn or origin.handed.dsn
    resolved = libpq_dsn(dsn) if dsn else app._dsn or dsn_or_running(None)  # noqa: SLF001 - its own command line
    origin.handed.dsn = resolved or None
    app._dsn = resolved or None  # noqa: SLF001
    return app
