"""Every command under the one root."""

from __future__ import annotations

from pgqueue.cli import alerts, doctor, enqueue, jobs, play, queues, schema, work
from pgqueue.cli.common import cli

__all__ = ["cli"]

work.add(cli)
play.add(cli)
enqueue.add(cli)
schema.add(cli)
doctor.add(cli)
cli.add_typer(jobs.commands, name="jobs")
cli.add_typer(queues.commands, name="queues")
cli.add_typer(queues.workers, name="workers")
cli.add_typer(alerts.commands, name="alerts")
