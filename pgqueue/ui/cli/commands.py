"""Adds every command to the root command, ``pgq``."""

from __future__ import annotations

from pgqueue.ui.cli import (
    alerts,
    api,
    audit,
    batches,
    bench,
    carrying,
    changes,
    config,
    cron,
    db,
    doctor,
    edit,
    enqueue,
    errors,
    events,
    explain,
    health,
    jobs,
    limits,
    mcp,
    metrics,
    play,
    queues,
    replay,
    schema,
    signal,
    stats,
    steps,
    tasks,
    top,
    wait,
    web,
    why,
    work,
    workers,
    workflows,
)
from pgqueue.ui.cli.common import cli

__all__ = ["cli"]

work.add(cli)
play.add(cli)
enqueue.add(cli)
schema.add(cli)
doctor.add(cli)
why.add(cli)
stats.add(cli)
metrics.add(cli)
web.add(cli)
top.add(cli)
bench.add(cli)
mcp.add(cli)
changes.add(jobs.commands)
carrying.add(jobs.commands)
edit.add(jobs.commands)
signal.add(jobs.commands)
steps.add(jobs.commands)
replay.add(jobs.commands)
wait.add(jobs.commands)
cli.command("ls")(jobs.list_jobs)
cli.command("cancel")(changes.cancel)
cli.command("revive")(changes.revive)
cli.add_typer(jobs.commands, name="jobs")
cli.add_typer(batches.commands, name="batches")
cli.add_typer(limits.commands, name="limits")
cli.add_typer(queues.commands, name="queues")
cli.add_typer(workers.commands, name="workers")
cli.add_typer(workflows.commands, name="workflows")
cli.add_typer(tasks.commands, name="tasks")
cli.add_typer(cron.commands, name="cron")
cli.add_typer(alerts.commands, name="alerts")
cli.add_typer(audit.commands, name="audit")
cli.add_typer(errors.commands, name="errors")
cli.add_typer(events.commands, name="events")
cli.add_typer(api.commands, name="api")
cli.add_typer(db.commands, name="db")
cli.add_typer(health.commands, name="health")
cli.add_typer(config.commands, name="config")
explain.add(cli)
