"""``pgq bench``."""

from __future__ import annotations

from typing import Annotated

import typer

from pgqueue.ui.cli.common import AsJson, Dsn, choose_level, database, dsn_or_running
from pgqueue.ui.cli.output import emit, say, tell

Seconds = Annotated[
    float, typer.Option("--seconds", metavar="N", min=1, max=60, help="Measure for about N seconds.")
]
Anyway = Annotated[bool, typer.Option("--anyway", help="Measure although workers are alive or jobs are due.")]


def add(cli: typer.Typer) -> None:
    cli.command()(bench)


def bench(seconds: Seconds = 20, anyway: Anyway = False, as_json: AsJson = False, dsn: Dsn = None) -> None:
    """Measure what your server can carry, with jobs in a queue of their own, which are removed afterwards."""
    from pgqueue.ui.bench.measuring import Bench

    target = dsn_or_running(dsn)
    choose_level(verbose=False, quiet=True)
    with database(target) as connection:
        made = Bench(target, connection, seconds)
        if not anyway:
            made.check_idle()
        with made.prepared():
            found = made.measure(lambda what: None if as_json else say("measures", what))
    if as_json:
        emit(found.as_dict())
        return
    for head, value in found.rows():
        tell(value, f"{head:<22}")
    for sentence in found.sentences():
        tell(sentence)
