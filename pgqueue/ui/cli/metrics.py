"""``pgq metrics``."""

from __future__ import annotations

import sys

import typer

from pgqueue.database.run import run
from pgqueue.ui.cli.common import Dsn, database

MOST = 60.0  # seconds: the time limit of the measurement


def add(cli: typer.Typer) -> None:
    cli.command("metrics")(metrics)


def metrics(dsn: Dsn = None) -> None:
    """Print the metrics of the whole queue once, as Prometheus reads them: for cron, or for the node exporter's textfile collector.

    A worker with a health port serves these metrics, too, together with its own.
    """
    from pgqueue.database.silence import within
    from pgqueue.maintenance.measuring import measured, measurement
    from pgqueue.telemetry.prometheus import text_of

    with database(dsn) as connection, within(connection, MOST):
        answers = [run(connection, statement) for statement in measurement()]
    sys.stdout.write(text_of(measured(answers)).decode())
