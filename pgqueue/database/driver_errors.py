"""Turns an error of the driver into an error of pgqueue, which says what the user can do.

``outage.py`` decides whether an error means that the server was lost, so that a worker tries again.
"""

from __future__ import annotations

import re
import sys
from typing import Any, NamedTuple

import psycopg

from pgqueue import errors
from pgqueue.database.dsn import redact
from pgqueue.text import described
from pgqueue.text.described import ERROR_LIMIT, clean
from pgqueue.text.values import name_of

LOGIN = "check user, password and database of the DSN"
CONNECTIONS = "run fewer workers (each process holds 4 connections), or raise max_connections"
GRANT = "pgq db grants prints what an enqueuer, a worker, an operator and a reader need; the schema's owner runs what it prints"
OWNER = "connect as the owner of the schema; pgq db grants prints what other roles need"

# For each SQLSTATE: pgqueue's error, its first sentence, and what the user can do.
MEANINGS: dict[str, tuple[type[errors.PgQueueError], str, str]] = {
    "28P01": (errors.LoginRefusedError, "The server refused the login", LOGIN),
    "28000": (errors.LoginRefusedError, "The server refused the login", LOGIN),
    "3D000": (errors.LoginRefusedError, "The server has no such database", LOGIN),
    "53300": (errors.TooManyConnectionsError, "The server has no free connection", CONNECTIONS),
    "42501": (errors.MissingPrivilegeError, "This database role is not allowed to do that", GRANT),
    "PQ201": (errors.MissingPrivilegeError, "This database role is not allowed to do that", OWNER),
    "55P03": (
        errors.LockedError,
        "Another transaction has locked a row or a table that this needs",
        "end that transaction, and try again",
    ),
    "25006": (
        errors.ReadOnlyServerError,
        "This transaction is read-only",
        "connect to the primary, not to a standby; if it is the primary, look at default_transaction_read_only",
    ),
    "3F000": (errors.SchemaMissingError, "This database has no pgqueue tables", "pgq migrate"),
    "42P01": (errors.SchemaMissingError, "This database has no pgqueue tables", "pgq migrate"),
    "42883": (errors.SchemaMissingError, "This database has no such pgqueue function", "pgq migrate"),
    "PQ003": (
        errors.SchemaTooOldError,
        "The schema cannot be changed yet",
        "drop the view, run pgq migrate, and create the view again",
    ),
    "PQ004": (
        errors.SchemaTooOldError,
        "The schema cannot be changed yet",
        "stop all workers, run pgq migrate again, then start workers of this version",
    ),
    "22P05": (
        errors.InvalidOptionError,
        "The database's encoding lacks a character of this text",
        "use a database in UTF8",
    ),
    "PQ404": (errors.InvalidOptionError, "The database refused the job", "correct the option"),
    "PQ440": (
        errors.BatchClosedError,
        "The batch takes no more jobs",
        "store another batch, or leave this one open until all its jobs are added",
    ),
    "PQ540": (errors.BatchNotFoundError, "There is no such batch", "pgq batches list"),
    "23514": (errors.InvalidOptionError, "The database refused a value of the job", "correct the value"),
}
# If a login fails, there is no SQLSTATE, only libpq's text. The first entry whose text is a part of libpq's text gives the SQLSTATE.
SAYINGS: tuple[tuple[str, str], ...] = (
    ("password authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("too many clients", "53300"),
    ("too many connections", "53300"),
    ("remaining connection slots", "53300"),
    ('role "', "28000"),
    ("does not exist", "3D000"),
)
NAME_TAKEN = "if pgqueue did not make the object of this name, rename or drop the object"
# What the user can do if an upgrade of the schema failed with this SQLSTATE.
REMEDIES = {
    **dict.fromkeys(("42701", "42P07", "42710", "42723", "42P13", "42P16", "42809"), NAME_TAKEN),
    "PQ005": "leave only the row of the revision that was installed last in that table",
    "2BP01": "drop the objects that depend on it (create them again later)",
}
OF_A_FUNCTION = re.compile(r"(PL/pgSQL|SQL) function (?!inline_code_block)")
OF_AN_ID = re.compile(r"jobs_(live|dead|done_\w+)_id_key")
BAD_PORT = ("invalid port number", "Servname not supported")


class Answer(NamedTuple):
    """What an error says, whichever driver has raised it. ``state``: the SQLSTATE; None: the server did not answer, or refused a login."""

    error: BaseException
    state: str | None
    primary: str | None
    detail: str | None
    schema: str | None
    constraint: str | None


def answer_of(error: BaseException) -> Answer | None:
    """Returns what an error of psycopg, asyncpg, psycopg2 or pg8000 says, or of SQLAlchemy above one of them; None for any other error.

    Only the real type of the error counts, because a user's class can define another ``__class__``.
    """
    origin: Any = error
    if issubclass(type(error), _class_in("sqlalchemy.exc", "DBAPIError")):
        origin = error.orig  # type: ignore[attr-defined]
        if issubclass(type(origin.__cause__), _class_in("asyncpg", "PostgresError")):
            origin = origin.__cause__
    if issubclass(type(origin), psycopg.Error):
        return _of_libpq(origin, origin.sqlstate)
    if issubclass(type(origin), _class_in("asyncpg", "PostgresError")):
        return Answer(
            origin, origin.sqlstate, origin.message, origin.detail, origin.schema_name, origin.constraint_name
        )
    if issubclass(type(origin), _class_in("psycopg2", "Error")):
        return _of_libpq(origin, origin.pgcode)
    if issubclass(type(origin), _class_in("pg8000.exceptions", "DatabaseError")):
        # The fields of the server's message, by the letters of its protocol. Other errors of pg8000 have only a text.
        said = origin.args[0] if origin.args and isinstance(origin.args[0], dict) else {}
        return Answer(origin, *(said.get(field) for field in ("C", "M", "D", "s", "n")))
    return None


def _of_libpq(error: Any, state: str | None) -> Answer:
    said = error.diag
    return Answer(
        error, state, said.message_primary, said.message_detail, said.schema_name, said.constraint_name
    )


def _class_in(module: str, name: str) -> type | tuple[()]:
    """Returns a class of a package that pgqueue does not import. If the program has not imported it, either, returns no class."""
    found: type | tuple[()] = getattr(sys.modules.get(module), name, ())
    return found


def _can_pass(answer: Answer) -> bool:
    """Returns whether the error can pass by itself: psycopg has an OperationalError for each such SQLSTATE."""
    if isinstance(answer.error, psycopg.Error):
        return isinstance(answer.error, psycopg.OperationalError)
    try:
        return issubclass(psycopg.errors.lookup(answer.state or ""), psycopg.OperationalError)
    except KeyError:  # an SQLSTATE of pgqueue or of a user
        return False


def sqlstate(error: psycopg.Error) -> str | None:
    """Returns the SQLSTATE of an error. If a login failed, libpq passes on only the server's text, so the text decides.

    None: the server said nothing, or its text matches no entry of SAYINGS.
    """
    whole = str(error)
    return error.sqlstate or next((state for saying, state in SAYINGS if saying in whole), None)


def explain(error: BaseException, dsn: str = "") -> errors.PgQueueError | None:
    """Returns the error of pgqueue for this error of a driver. Returns None if there is no such error."""
    answer = answer_of(error)
    return None if answer is None else _explained(answer, dsn)


def _explained(answer: Answer, dsn: str) -> errors.PgQueueError | None:
    error, state = answer.error, answer.state
    whole = str(error)
    said = (whole.strip().splitlines() or [type(error).__name__])[0]
    # If a password contains an @, libpq reads what follows the @ as the host.
    said = re.sub(r"(resolve host ')[^']*@", r"\1", said)
    where = f" ({redact(dsn)})." if dsn else "."
    unreadable = isinstance(error, psycopg.ProgrammingError) or any(saying in whole for saying in BAD_PORT)
    if state is None and unreadable and dsn:
        do = "write it as postgresql://user@host:5432/database"
        # There is no why=, because libpq's text can contain the password.
        return errors.InvalidSettingError("The DSN cannot be read.", do=do)
    if state is None and isinstance(error, psycopg.OperationalError):
        state = sqlstate(error)
        if state is None:
            do = "is it running, and is this its host and port?"
            return errors.DatabaseUnreachableError(f"The database cannot be reached{where}", why=said, do=do)
    foreign = state in {"3F000", "42P01", "42883", "23514"} and "pgqueue" not in whole + (answer.schema or "")
    if state == "23505" and OF_AN_ID.fullmatch(answer.constraint or ""):
        return errors.TakenIdError(
            "The id of this job is in use by another job" + where,
            why=f"{answer.detail or said} An enqueuer chose it, or the sequence pgqueue.jobs_id_seq is smaller than the ids in the tables.",
            do="pgq doctor compares the sequence with the ids, and says how to move the sequence",
        )
    if state not in MEANINGS or foreign:
        return None
    kind, what, do = MEANINGS[state]
    return kind(what + where, why=answer.primary or said, do=do)


def message(error: BaseException) -> str:
    """Returns the message of an error. Of what the server said, leaves out what can show the values of a row.

    That is DETAIL ("Failing row contains …"), and CONTEXT except the name of the function that raised the error.
    """
    if not isinstance(error, psycopg.Error) or error.diag.message_primary is None:
        return described.message(error)
    said = error.diag
    parts = (said.message_primary, said.message_hint, _function_of(said))
    return clean("; ".join(part.strip() for part in parts if part), ERROR_LIMIT)


def describe(error: BaseException) -> str:
    """Returns the name of an error and its ``message``."""
    said = message(error)
    return f"{name_of(error)}: {said}" if said else name_of(error)


def _function_of(said: psycopg.errors.Diagnostic) -> str | None:
    """Returns the line of CONTEXT that names the function that raised the error. Such a line has no values."""
    return next((line for line in (said.context or "").splitlines() if OF_A_FUNCTION.match(line)), None)


def not_upgraded(error: psycopg.Error) -> errors.SchemaNotUpgradedError:
    """Returns the error for what the server said while it changed the schema. The text names the object and the user's function, if any."""
    said = error.diag
    parts = (
        said.message_primary or type(error).__name__, said.message_detail, said.message_hint, _function_of(said),
    )  # fmt: skip
    return errors.SchemaNotUpgradedError(
        f"The server refused to upgrade the schema (SQLSTATE {error.sqlstate}). Nothing was changed.",
        why="; ".join(part.strip().rstrip(".") for part in parts if part),
        do=f"{REMEDIES.get(error.sqlstate or '', 'remove the cause')}, then pgq migrate",
    )


def may_not_read(error: errors.MissingPrivilegeError) -> errors.MissingPrivilegeError:
    """Returns an error with a clearer text, for a role that tried to read a job or to wait for it.

    The text says which grants are missing: those that an enqueuer does not have by default.
    """
    return errors.MissingPrivilegeError(
        "This database role is not allowed to read jobs or workflows, or to wait for them.",
        why=error.why,
        do="run, as the schema's owner, what pgq db grants --role enqueuer prints below 'If the application also waits for jobs'",
    )


class explained:  # noqa: N801 - it reads like a function; a generator would cost each statement four calls more
    """Translates an error that the user can mend.

    If an error can pass by itself, raises it unchanged, because the code that tries again expects the driver's errors.
    """

    __slots__ = ("_dsn",)

    def __init__(self, dsn: str = "") -> None:
        self._dsn = dsn

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, Exception):
            return
        answer = answer_of(error)
        if answer is None or (_can_pass(answer) and not self._dsn):
            return
        known = _explained(answer, self._dsn)
        if known is not None:
            # libpq's text can contain a part of the DSN's password
            raise known from None if self._dsn else error
