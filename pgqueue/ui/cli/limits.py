"""``pgq limits``."""

from __future__ import annotations

from typing import Annotated

import typer

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements.limits import Limit
from pgqueue.errors import InvalidOptionError, LimitNotFoundError
from pgqueue.model.names import check_name
from pgqueue.model.units import LARGEST_WEIGHT, seconds
from pgqueue.text.counted import count
from pgqueue.text.times import ago, exact
from pgqueue.ui.cli import tables
from pgqueue.ui.cli.changes import operator
from pgqueue.ui.cli.common import AsJson, Dsn, database
from pgqueue.ui.cli.output import emit, emit_items, say
from pgqueue.ui.cli.tables import table

commands = typer.Typer(
    help="See and change limits: how many jobs are allowed to run or start.", no_args_is_help=True
)

SHORTEST = 0.001  # seconds; the shortest period of a rate that the constraint limits_period_check allows
PerKey = Annotated[
    bool, typer.Option("--per-key", help="Apply the limit to each concurrency_key separately.")
]


@commands.command("list")
def list_limits(as_json: AsJson = False, dsn: Dsn = None) -> None:
    """List all limits, and how many of their seats are taken."""
    with database(dsn) as connection:
        found = run(connection, statements.list_limits())
    if as_json:
        emit_items(found)
        return
    table(
        ("id", tables.name("queue"), tables.name("task"), tables.name("key"), tables.name("at most"), "taken", "full_keys", "free_at"),
        [(limit.id, limit.queue or "any", limit.task or "any", limit.key or ("each" if limit.per_key else ""),
          _shown(limit), limit.taken, limit.full_keys if limit.per_key else "", ago(limit.free_at)) for limit in found],
        empty="There are no limits.",
    )  # fmt: skip


def _shown(limit: Limit) -> str:
    parts = [] if limit.concurrency is None else [f"{limit.concurrency} running"]
    if limit.rate is not None:
        window = "in any" if limit.sliding else "every"
        parts.append(
            f"{count(limit.rate, 'start')} {window} {exact(limit.period or 0)}"
            + (f", {limit.burst} together" if limit.burst else "")
        )
    if limit.share is not None:
        parts.append(f"{limit.share} in each turn")
    return ", ".join(parts)


@commands.command("set")
def set_limit(
    queue: Annotated[
        str | None,
        typer.Option(show_default=False, help="Only for jobs of this queue; default: of all queues."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(show_default=False, help="Only for jobs of this task; default: of all tasks."),
    ] = None,
    per_key: PerKey = False,
    key: Annotated[
        str | None,
        typer.Option(
            show_default=False,
            help="Only for jobs with this concurrency_key; for these, this limit replaces the limit of --per-key.",
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=LARGEST_WEIGHT,
            metavar="N",
            show_default=False,
            help="How many jobs are allowed to run at the same time.",
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="N[/TIME]",
            show_default=False,
            help="How many jobs are allowed to start in a period: 100/1m, or 100 with --period 1m.",
        ),
    ] = None,
    period: Annotated[
        str | None,
        typer.Option(metavar="TIME", show_default=False, help="The period of --rate."),
    ] = None,
    sliding: Annotated[
        bool,
        typer.Option(
            "--sliding",
            help="No time span as long as the period has more starts than --rate. Starts need not be evenly spaced.",
        ),
    ] = False,
    burst: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=LARGEST_WEIGHT,
            metavar="N",
            show_default=False,
            help="How many jobs are allowed to start together after a time without starts.",
        ),
    ] = None,
    share: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            metavar="N",
            show_default=False,
            help="How many jobs of the --key are claimed in each of its turns. For other keys this is 1.",
        ),
    ] = None,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Make a limit, or change the given values of the limit with the same queue, task and key. Workers respect it immediately."""
    if concurrency is None and rate is None and share is None:
        raise InvalidOptionError(
            "None of --concurrency, --rate and --share is given.", do="give at least one of them"
        )
    if period is not None and rate is None:
        raise InvalidOptionError("--period needs --rate.", do="give both, such as --rate 100 --period 1m")
    if share is not None and (key is None or task is not None):
        raise InvalidOptionError(
            "--share needs --key, and cannot be given together with --task.",
            do="give the --key that gets the share, and leave out --task",
        )
    if sliding and rate is None:
        raise InvalidOptionError("--sliding needs --rate.", do="give both, such as --rate 10/1s --sliding")
    if burst is not None and (rate is None or sliding):
        raise InvalidOptionError(
            "--burst needs --rate, and cannot be given together with --sliding.", do="leave out --burst"
        )
    if key is not None and not 1 <= (size := len(key.encode("utf-8", "surrogateescape"))) <= 255:
        raise InvalidOptionError(f"--key has {size} bytes.", do="give 1 to 255")
    starts, length = _rate(rate, period) if rate is not None else (None, None)
    statement = statements.set_limit(
        queue=None if queue is None else check_name("queue", queue), task=None if task is None else check_name("task", task),
        per_key=per_key or key is not None, key=key, concurrency=concurrency, rate=starts, period=length, sliding=sliding,
        burst=burst, share=share, who=operator(),
    )  # fmt: skip
    with database(dsn) as connection:
        number = run(connection, statement)
    if as_json:
        emit({"id": number})
    else:
        say("limit", f"{number} is set")


def _rate(text: str, period: str | None) -> tuple[int, float]:
    """Reads ``100/1m``, or ``100`` and a period. Returns the number of starts, and the period in seconds."""
    number, _, time = text.partition("/")
    if period is not None and time:
        raise InvalidOptionError(f"--rate is {text!r}, and --period is given.", do=f"leave out /{time}")
    time = time or period or ""
    if not time or not number.isdecimal() or not 1 <= int(number) <= 2**30:
        raise InvalidOptionError(f"--rate is {text!r}.", do="give starts and a time, such as 100/1m")
    if (length := seconds(time, "the time of --rate")) < SHORTEST:
        raise InvalidOptionError(f"The time of --rate is {time!r}.", do="give at least a millisecond")
    if length * 1_000_000 < int(number):
        raise InvalidOptionError(
            f"--rate is {text!r}, which is more than one start in each microsecond.",
            do="give fewer starts or a longer time",
        )
    return int(number), length


@commands.command()
def remove(
    limit_id: Annotated[int, typer.Argument(metavar="ID", min=1, max=2**31 - 1)],
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Remove a limit."""
    with database(dsn) as connection:
        removed = run(connection, statements.remove_limit(limit_id, who=operator()))
    if removed is None:
        raise LimitNotFoundError(limit_id)
    if as_json:
        emit({"id": removed})
    else:
        say("limit", f"{removed} is removed")
