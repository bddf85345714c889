"""``pgq work``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgqueue.config import WorkerSettings, read_file
from pgqueue.errors import InvalidSettingError
from pgqueue.model.units import size
from pgqueue.text.values import shown
from pgqueue.ui.cli.common import AppPath, Dsn, Quiet, Verbose, app_path, app_with_database, choose_level
from pgqueue.worker.claiming.served_queues import parse_queues

if TYPE_CHECKING:
    from pgqueue.app.app import App

Queues = Annotated[
    str | None,
    typer.Option(
        "-Q",
        "--queues",
        metavar="NAMES",
        help="Queues to serve, each with slots of its own if given: mail:20,shop.*,default; * is anything. Default: those of the app's tasks.",
        show_default=False,
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "-c",
        "--concurrency",
        metavar="N",
        help="Jobs at once in each process.  \\[default: 10]",
        show_default=False,
    ),
]

FRESH = 1.5  # times the memory of a fresh process is the least that --max-rss may be


def add(cli: typer.Typer) -> None:
    cli.command("work")(work)


def settings_for(app: App, queues: str | None, **given: Any) -> WorkerSettings:
    """Flags, then pyproject.toml, then defaults; raises InvalidSettingError."""
    file = read_file()
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        if value is not None:
            chosen[name] = value
        elif name in file:
            chosen[name] = file[name]
    if "max_rss" in chosen:
        chosen["max_rss"] = size(chosen["max_rss"], "--max-rss")
    text = queues or file.get("queues") or ""
    if not isinstance(text, str):
        raise InvalidSettingError(
            f"queues in [tool.pgqueue] is {shown(text)}.", do='give one text: queues = "mail:20,default"'
        )
    served: dict[str, int | None] = (
        parse_queues(text, "-Q" if queues else "queues of [tool.pgqueue]")
        if text
        else dict.fromkeys(sorted({task.spec.queue for task in app.tasks.values()} | {"default"}))
    )
    try:
        return WorkerSettings(queues=served, **chosen)
    except TypeError as error:
        raise InvalidSettingError(f"[tool.pgqueue] holds a value of the wrong type: {error}") from None


def process_count(given: int | None) -> int:
    """Of --processes, or pyproject.toml; raises InvalidSettingError."""
    count = read_file().get("processes", 1) if given is None else given
    if isinstance(count, bool) or not isinstance(count, int):
        raise InvalidSettingError(
            f"processes in [tool.pgqueue] is {shown(count)}.", do="give a whole number: processes = 2"
        )
    if not 1 <= count <= 256:
        raise InvalidSettingError(f"--processes is {count}.", do="use 1 to 256")
    return count


def work(
    app: AppPath = None,
    queues: Queues = None,
    concurrency: Concurrency = None,
    executor: Annotated[
        str | None,
        typer.Option(
            metavar="async|thread|process",
            help="Where handlers run. async: async def on the loop, def on threads.  \\[default: async]",
            show_default=False,
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(metavar="N", help="Worker processes to run.  \\[default: 1]", show_default=False),
    ] = None,
    drain: Annotated[bool, typer.Option("--drain", help="Work until nothing is due, then exit.")] = False,
    grace: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Time for running jobs after SIGTERM.  \\[default: 30]",
            show_default=False,
        ),
    ] = None,
    no_listen: Annotated[
        bool, typer.Option("--no-listen", help="Poll only; where LISTEN delivers nothing.")
    ] = False,
    poll: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Longest time without looking for jobs; 1.8 times that while wake-ups arrive.  \\[default: 1]",
            show_default=False,
        ),
    ] = None,
    lease: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="A silent worker's jobs are rescued after this.  \\[default: 30]",
            show_default=False,
        ),
    ] = None,
    heartbeat: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="How often the lease is renewed.  \\[default: 5]", show_default=False
        ),
    ] = None,
    crash_limit: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="A job is dead after this many crashes of its workers.  \\[default: 3]",
            show_default=False,
        ),
    ] = None,
    blocked: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="A process whose event loop is blocked for so long ends; its jobs go on elsewhere. 0: never, for debuggers.  \\[default: 30]",
            show_default=False,
        ),
    ] = None,
    patience: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Jobs due for longer get a share of the claims, however many urgent ones there are.  \\[default: 60]",
            show_default=False,
        ),
    ] = None,
    wait_for_db: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Keep trying that long to reach the database.  \\[default: 0]",
            show_default=False,
        ),
    ] = None,
    max_jobs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="A process that has run N jobs drains; with --processes another takes its place, else it exits 0.",
            show_default=False,
        ),
    ] = None,
    max_rss: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="The same for one that occupies more memory, without its children, than SIZE, such as 512M.",
            show_default=False,
        ),
    ] = None,
    log_jobs: Annotated[bool, typer.Option("--log-jobs", help="A line for each job that has ended.")] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    supervisor: Annotated[str | None, typer.Option(hidden=True)] = None,
    dsn: Dsn = None,
) -> None:
    """Run a worker until it is stopped.

    SIGTERM or Ctrl-C: take no more, finish what runs within --grace, hand back the rest. Twice: hand back now.
    """
    from pgqueue.maintenance.alerting.settings import find_alerts
    from pgqueue.worker import Worker
    from pgqueue.worker.processes.recycling import rss
    from pgqueue.worker.processes.supervisor import supervise
    from pgqueue.worker.running.hook_tasks import serving

    choose_level(verbose=verbose, quiet=quiet)
    fds = None if supervisor is None else tuple(int(fd) for fd in supervisor.split(","))
    for fd in fds or ():  # what the app starts has no use for them
        os.set_inheritable(fd, False)
    path = app_path(app)
    loaded = app_with_database(path, dsn)
    settings = settings_for(
        loaded, queues, concurrency=concurrency, executor=executor, drain=drain or None, grace=grace,
        listen=False if no_listen else None, poll=poll, lease=lease, heartbeat=heartbeat, crash_limit=crash_limit,
        blocked=blocked, patience=patience, wait_for_db=wait_for_db, max_jobs=max_jobs, max_rss=max_rss,
        log_jobs=log_jobs or None,
    )  # fmt: skip
    count = process_count(processes)
    if supervisor is None and settings.max_rss is not None and settings.max_rss < FRESH * rss():
        raise InvalidSettingError(
            f"--max-rss {settings.max_rss >> 20}M leaves no room for jobs.",
            why=f"the app alone occupies {rss() >> 20}M once it is imported",
            do=f"use at least {int(FRESH * rss()) + 1 >> 20}M",
        )
    alerts = find_alerts(read_file())
    if count > 1:
        raise typer.Exit(supervise(count, loaded.dsn, serving(settings, loaded, alerts)))
    worker = Worker(loaded, settings, app_path=path, supervisor=fds, alerts=alerts)
    raise typer.Exit(worker.run(ends_process=True))
