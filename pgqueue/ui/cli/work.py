"""``pgq work``."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from pgqueue.config import read_file
from pgqueue.errors import InvalidSettingError
from pgqueue.runtime.garbage import lasting
from pgqueue.telemetry import log_output
from pgqueue.ui.cli.common import AppPath, Dsn, Quiet, Verbose, app_path, app_with_database, choose_level
from pgqueue.ui.cli.options import with_settings

FRESH = 1.5  # --max-rss must be at least this many times the memory of a worker that has not yet run a job


def add(cli: typer.Typer) -> None:
    cli.command("work")(work)


def _pipes(supervisor: str) -> tuple[int, int]:
    """Returns the file descriptors of the pipes to the supervisor. The programs that the app starts do not inherit them."""
    try:
        read, write = (int(fd) for fd in supervisor.split(","))
        for fd in (read, write):
            os.set_inheritable(fd, False)
    except (ValueError, OSError, OverflowError):
        raise InvalidSettingError(
            f"--supervisor is {supervisor!r}.",
            why="only a worker with --processes gives this option, to the processes that it starts",
            do="leave the option out",
        ) from None
    return read, write


@with_settings()
def work(
    app: AppPath = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    supervisor: Annotated[str | None, typer.Option(hidden=True)] = None,
    dsn: Dsn = None,
    **flags: object,
) -> None:
    """Run a worker until it is stopped.

    After SIGTERM or Ctrl-C, it claims no more jobs, lets running jobs finish within --grace, and hands back the jobs that have not
    finished.
    A second SIGTERM or Ctrl-C ends this grace period immediately.
    """
    choose_level(verbose=verbose, quiet=quiet)
    fds = None if supervisor is None else _pipes(supervisor)
    path = app_path(app)
    with lasting():
        from pgqueue.maintenance.alerting.settings import find_alerts
        from pgqueue.worker.processes.recycling import rss
        from pgqueue.worker.settings import settings_for
        from pgqueue.worker.worker import Worker

        loaded = app_with_database(path, dsn)
    settings = settings_for(loaded, **flags)
    log_output.choose_format(settings.log_format)
    log_output.set_up()
    if supervisor is None and settings.max_rss is not None and settings.max_rss < FRESH * rss():
        raise InvalidSettingError(
            f"--max-rss {settings.max_rss >> 20}M leaves no room for jobs.",
            why=f"the imported app already occupies {rss() >> 20}M, without any job",
            do=f"use at least {int(FRESH * rss()) + 1 >> 20}M",
        )
    alerts = find_alerts(read_file())
    if settings.processes > 1:
        from pgqueue.worker.callbacks import called_back
        from pgqueue.worker.processes.supervisor import supervise
        from pgqueue.worker.running.hook_tasks import serving

        with called_back(loaded):
            code = supervise(settings.processes, loaded.dsn, serving(settings, loaded, alerts))
        raise typer.Exit(code)
    worker = Worker(loaded, settings, app_path=path, supervisor=fds, alerts=alerts)
    raise typer.Exit(worker.run(ends_process=True))
