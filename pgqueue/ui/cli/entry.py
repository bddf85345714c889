"""``pgq``: commands that call the library and contain little logic. Data is printed on stdout, and everything else on stderr.

Exit codes: 0 done; 1 a bug; 2 wrong usage; 3 the database cannot be reached or refuses the login; 4 the schema is missing, too old or
too new; 5 not found; 6 conflict; 7 a check failed; 8 the app cannot be imported; 9 the wait for a job or the handler of a replay timed out; 10 the command waited for
a job, and the job ended dead or cancelled, or the handler of a replay failed; 11 not allowed; 12 the worker stopped while jobs still ran, and handed them back; 13 the worker
ended because a handler blocked its loop; 130, 143 a second signal ended the worker early, or a signal came before the work began.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from pgqueue.errors import DriverMissingError, PgQueueError
from pgqueue.runtime import origin
from pgqueue.text.shown import bear
from pgqueue.ui.cli.arguments import check_texts, hide_passwords
from pgqueue.ui.cli.output import fail
from pgqueue.ui.cli.usage import explained, help_instead, is_usage_error

__all__ = [
    "main",
    "origin",
]  # the import of ``origin`` stores how the command was started; it must come before an app is imported


def main() -> None:
    """Runs the console script. Turns every error into one clear message and its documented exit code."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        bear(stream)
    hide_passwords()
    try:
        check_texts()
        sys.exit(_commands()(standalone_mode=False))
    except PgQueueError as error:
        sys.exit(fail(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:  # noqa: BLE001
        if is_usage_error(error) and (help_text := help_instead(error)) is not None:
            print(help_text)
            sys.exit(2)
        sys.exit(fail(_known(error) or _bug(error)))


def _commands() -> Callable[..., int]:
    """Returns the root command. If libpq is missing, an import here fails."""
    from pgqueue.ui.cli.commands import root

    return root(sys.argv[1:])


def _open_closed_streams() -> None:
    """Replaces a stdout or stderr that was closed before the start (``>&-``), for which Python has None. What is printed to it is dropped."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def _known(error: Exception) -> PgQueueError | None:
    if isinstance(error, ImportError):
        if not any(sign in str(error) for sign in ("pq wrapper", "psycopg")):
            return None
        return DriverMissingError(
            "psycopg, the driver, finds no libpq.",
            why=str(error).splitlines()[0],
            do="pip install 'pgqueue-jobs[binary]', or install your system's libpq",
        )
    from psycopg import Error

    from pgqueue.database.outage import shown_to_a_person

    if is_usage_error(error):
        return explained(error)
    return shown_to_a_person(error) if isinstance(error, Error) else None


def _bug(error: Exception) -> PgQueueError:
    if os.environ.get("PGQUEUE_TRACEBACK"):
        traceback.print_exc()
    return PgQueueError(
        f"Unexpected {type(error).__name__}: {str(error).strip() or 'no message'}",
        why="this is a bug in pgqueue",
        do="run it again with PGQUEUE_TRACEBACK=1 and report what it prints",
    )
