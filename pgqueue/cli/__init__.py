"""``pgq``: thin commands over the library. Data goes to stdout, everything else to stderr.

Exit codes: 0 done; 1 a bug; 2 wrong usage; 3 database unreachable or login refused; 4 schema missing, too old or too new;
5 not found; 6 conflict; 7 a check failed; 8 the app cannot be imported; 9 timed out waiting; 10 the awaited job ended dead or
cancelled; 11 not allowed; 12 stopped with jobs still running (they were handed back); 130, 143 hurried by a second signal.
"""

from __future__ import annotations

import os
import sys
import traceback

import psycopg

from pgqueue.cli import doctor, enqueue, jobs, play, queues, schema, work
from pgqueue.cli.common import cli
from pgqueue.cli.output import fail
from pgqueue.database import explain
from pgqueue.errors import PgQueueError

__all__ = ["main"]

work.add(cli)
play.add(cli)
enqueue.add(cli)
schema.add(cli)
doctor.add(cli)
cli.add_typer(jobs.commands, name="jobs")
cli.add_typer(queues.commands, name="queues")
cli.add_typer(queues.workers, name="workers")


def main() -> None:
    """The console script: every error ends in one clear message and its documented exit code."""
    try:
        cli()
    except PgQueueError as error:
        sys.exit(fail(error))
    except psycopg.Error as error:
        known = explain(error)
        if known is not None:
            sys.exit(fail(known))
        _bug(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:  # noqa: BLE001
        _bug(error)


def _bug(error: Exception) -> None:
    if os.environ.get("PGQUEUE_TRACEBACK"):
        traceback.print_exc()
    problem = PgQueueError(
        f"Unexpected {type(error).__name__}: {str(error).strip() or 'no message'}",
        why="this is a bug in pgqueue",
        do="run it again with PGQUEUE_TRACEBACK=1 and report what it prints",
    )
    sys.exit(fail(problem))
