"""All errors that pgqueue raises. Each error says what happened, why (if it is known) and what to do. Each has a code that never changes.

::

    PgQueueError
    ├── ConfigError                     a wrong or missing setting, found before any connection
    │   ├── DriverMissingError          PGQ-101   psycopg finds no libpq
    │   ├── NoDsnError                  PGQ-102   no setting names a database
    │   ├── InvalidSettingError         PGQ-107   a flag, variable or file holds a wrong value
    │   └── EmbeddedPostgresError       PGQ-108   the embedded server is missing or did not start
    ├── DatabaseError                   a problem with the server, the login or the schema
    │   ├── DatabaseUnreachableError    PGQ-103   no answer from the server
    │   ├── LoginRefusedError           PGQ-104   wrong role, password or database
    │   ├── TooManyConnectionsError     PGQ-106   the server or role has no connection left
    │   ├── PoolExhaustedError          PGQ-110   the app's own pool has no connection left
    │   ├── MissingPrivilegeError       PGQ-201   the role lacks a privilege
    │   ├── ReadOnlyServerError         PGQ-202   the server is a standby, or its transactions are read-only
    │   ├── UnsupportedServerError      PGQ-203   PostgreSQL is too old, or the database is not in UTF8
    │   ├── SchemaMissingError          PGQ-204   no tables yet: run pgq migrate
    │   ├── SchemaTooOldError           PGQ-205   the code is newer than the schema
    │   ├── SchemaTooNewError           PGQ-206   the schema is newer than the code
    │   ├── LockedError                 PGQ-207   another session has locked the tables
    │   └── TakenIdError                PGQ-208   two jobs would have the same id
    ├── AppError                        a problem with the module of the user's tasks
    │   ├── AppImportError              PGQ-301   -A names no module or no App
    │   ├── NoTasksError                PGQ-302   the App declares no tasks
    │   ├── UnknownTaskError            PGQ-303   no task has this name
    │   ├── DuplicateTaskError          PGQ-304   two tasks have the same name
    │   └── UnnameableTaskError         PGQ-305   the function is a lambda, or is inside another function
    ├── InvalidJobError                 the job was refused, and nothing was stored
    │   ├── InvalidArgumentsError       PGQ-401   the arguments do not fit the signature
    │   ├── InvalidPayloadError         PGQ-402   a value that JSON cannot hold
    │   ├── PayloadTooLargeError        PGQ-403   more JSON than a job may carry
    │   ├── InvalidOptionError          PGQ-404   a bad value, or options that cannot be combined
    │   ├── InvalidNameError            PGQ-405   a task, queue or schedule has a bad name
    │   └── InvalidBatchError           PGQ-408   some items are bad, so none was stored
    ├── DuplicateJobError               PGQ-406   a job has the key, and on_conflict="raise"
    ├── IdempotencyConflictError        PGQ-407   a job with other arguments has the key
    ├── JobUnchangedError               PGQ-409   the job's state does not allow the change
    ├── QueueInUseError                 PGQ-510   the queue is not removed: jobs or workers use it
    ├── InvalidScheduleError            PGQ-420   the schedule was refused, and nothing was stored
    ├── ScheduleExistsError             PGQ-421   another schedule has this name
    ├── WrongConnectionError            PGQ-505   an async connection instead of a sync one or the reverse, another driver, not PostgreSQL, or None
    ├── CommitUnconfirmedError          PGQ-511   the commit got no answer: it is not known whether it succeeded
    ├── NotFoundError                   the thing that a command or call asks for does not exist
    │   ├── JobNotFoundError            PGQ-503   the job is not committed, is not kept, or was removed
    │   ├── QueueNotFoundError          PGQ-506   no row, job or worker has this queue
    │   ├── ScheduleNotFoundError       PGQ-520   no schedule has this name
    │   └── AlertNotFoundError          PGQ-509   no alert has this number
    ├── WaitTimeoutError                PGQ-507   the job is not finished yet
    ├── JobFailedError                  PGQ-508   the awaited job became dead or cancelled
    └── AttemptError                    why an attempt of a job failed
        ├── LeaseLostError              PGQ-601   another worker may run the job now
        ├── ProcessDiedError            PGQ-602   the process crashed, or was killed from outside
        ├── LoopBlockedError            PGQ-608   an async handler blocked the event loop
        ├── JobTimeoutError             PGQ-603   the attempt took longer than timeout=
        ├── UndecodableJobError         PGQ-604   the job's row or arguments cannot be read
        ├── DeadlineExceededError       PGQ-605   the deadline leaves no time for an attempt
        ├── WrongOutcomesError          PGQ-609   the handler of a chunk returned too few or too many outcomes
        └── BadResultError              PGQ-610   the handler's result cannot be stored

Warnings: ``AutocommitWarning`` (PGQ-502).
A code never gets another meaning. No message contains a password, because ``database.dsn.redact`` removes it from each DSN.
"""

from __future__ import annotations

from typing import ClassVar


class PgQueueError(Exception):
    """The base of all errors of pgqueue.

    ``what``: one sentence that says what happened, with the wrong value. ``why``: the cause, if it is known. ``do``: what the user can do,
    if possible a command to paste. ``facts``: further values, each with a label.
    """

    code: ClassVar[str] = "PGQ-001"
    exit_code: ClassVar[int] = 1

    def __init__(
        self, what: str, *, why: str = "", do: str = "", facts: dict[str, str] | None = None
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.do = do
        self.facts = facts or {}

    def __str__(self) -> str:
        more = [f"{label}: {text}" for label, text in (("why", self.why), ("do", self.do)) if text]
        return "  ".join([f"{self.code}  {self.what}", *more])

    def as_dict(self) -> dict[str, object]:
        """Returns the error as the option ``--json`` prints it."""
        return {"code": self.code, "message": self.what, "why": self.why, "do": self.do, **self.facts}


class ConfigError(PgQueueError):
    exit_code = 2


class DriverMissingError(ConfigError):
    code = "PGQ-101"


class NoDsnError(ConfigError):
    code = "PGQ-102"


class InvalidSettingError(ConfigError):
    code = "PGQ-107"


class EmbeddedPostgresError(ConfigError):
    code = "PGQ-108"
    exit_code = 3


class DatabaseError(PgQueueError):
    exit_code = 3


class DatabaseUnreachableError(DatabaseError):
    code = "PGQ-103"


class LoginRefusedError(DatabaseError):
    code = "PGQ-104"


class TooManyConnectionsError(DatabaseError):
    code = "PGQ-106"


class PoolExhaustedError(DatabaseError):
    code = "PGQ-110"


class MissingPrivilegeError(DatabaseError):
    code = "PGQ-201"
    exit_code = 11


class ReadOnlyServerError(DatabaseError):
    code = "PGQ-202"


class UnsupportedServerError(DatabaseError):
    code = "PGQ-203"
    exit_code = 4


class SchemaMissingError(DatabaseError):
    code = "PGQ-204"
    exit_code = 4


class SchemaTooOldError(DatabaseError):
    code = "PGQ-205"
    exit_code = 4


class SchemaTooNewError(DatabaseError):
    code = "PGQ-206"
    exit_code = 4


class LockedError(DatabaseError):
    code = "PGQ-207"
    exit_code = 6


class TakenIdError(DatabaseError):
    code = "PGQ-208"


class AppError(PgQueueError):
    exit_code = 8


class AppImportError(AppError):
    code = "PGQ-301"


class NoTasksError(AppError):
    code = "PGQ-302"


class UnknownTaskError(AppError):
    code = "PGQ-303"
    exit_code = 5


class DuplicateTaskError(AppError):
    code = "PGQ-304"


class UnnameableTaskError(AppError):
    code = "PGQ-305"


class InvalidJobError(PgQueueError):
    exit_code = 2


class InvalidArgumentsError(InvalidJobError):
    code = "PGQ-401"


class InvalidPayloadError(InvalidJobError):
    code = "PGQ-402"


class PayloadTooLargeError(InvalidJobError):
    code = "PGQ-403"


class InvalidOptionError(InvalidJobError):
    code = "PGQ-404"


class InvalidNameError(InvalidJobError):
    code = "PGQ-405"


class InvalidBatchError(InvalidJobError):
    """Some items of a batch are bad, so no item was stored. ``reasons`` maps the index of each bad item to the reason."""

    code = "PGQ-408"

    def __init__(self, what: str, *, reasons: dict[int, str]) -> None:
        super().__init__(what, do="correct or drop these items and send the batch again; none was stored")
        self.reasons = reasons


class DuplicateJobError(PgQueueError):
    """Job ``job_id``, which was in ``state``, has the key. This error is raised only if the enqueuer chose ``on_conflict="raise"``."""

    code = "PGQ-406"
    exit_code = 6

    def __init__(self, task: str, job_id: int, state: str | None) -> None:
        super().__init__(
            f"Job {job_id} of task {task}, which is {state}, has the key.",
            do=f"pgq jobs show {job_id}; nothing of this call was stored",
        )
        self.job_id = job_id
        self.state = state


class IdempotencyConflictError(PgQueueError):
    """Job ``job_id``, which was enqueued with other arguments, has the idempotency key."""

    code = "PGQ-407"
    exit_code = 6

    def __init__(self, what: str, *, job_id: int, do: str = "") -> None:
        super().__init__(what, do=do)
        self.job_id = job_id


class JobUnchangedError(PgQueueError):
    code = "PGQ-409"
    exit_code = 6


class InvalidScheduleError(PgQueueError):
    code = "PGQ-420"
    exit_code = 2


class QueueInUseError(PgQueueError):
    code = "PGQ-510"
    exit_code = 6


class ScheduleExistsError(PgQueueError):
    code = "PGQ-421"
    exit_code = 6


class WrongConnectionError(PgQueueError):
    code = "PGQ-505"
    exit_code = 2


class CommitUnconfirmedError(PgQueueError):
    """A commit got no answer. ``job_ids``: the ids of the jobs that exist if the server has committed. Empty: the ids are unknown."""

    code = "PGQ-511"
    exit_code = 3

    def __init__(self, why: str) -> None:
        super().__init__(
            "The connection broke before its commit was confirmed. So it is not known whether its writes and its jobs exist.",
            why=why,
            do="look for the writes, or repeat them with an idempotency_key or a unique_key, so that no job is stored twice",
        )
        self.job_ids: list[int] = []


class NotFoundError(PgQueueError):
    exit_code = 5


class JobNotFoundError(NotFoundError):
    code = "PGQ-503"

    def __init__(self, job_id: int) -> None:
        super().__init__(
            f"There is no job {job_id}.",
            why="its transaction was rolled back or has not committed yet, its task keeps no finished jobs, or retention removed it",
            do="check that the enqueuing transaction committed",
        )
        self.job_id = job_id


class QueueNotFoundError(NotFoundError):
    code = "PGQ-506"


class ScheduleNotFoundError(NotFoundError):
    code = "PGQ-520"


class AlertNotFoundError(NotFoundError):
    code = "PGQ-509"


class WaitTimeoutError(PgQueueError):
    code = "PGQ-507"
    exit_code = 9


class JobFailedError(PgQueueError):
    """The awaited job became ``dead`` or ``cancelled`` (``state``). ``last_error`` is its last error."""

    code = "PGQ-508"
    exit_code = 10

    def __init__(self, job_id: int, state: str, last_error: str | None) -> None:
        super().__init__(
            f"Job {job_id} is {state}" + (f": {last_error}" if last_error else "."),
            do=f"pgq jobs show {job_id}",
        )
        self.job_id = job_id
        self.state = state
        self.last_error = last_error


class AttemptError(PgQueueError):
    """An error of one attempt. The worker writes it into the job's ``last_error``, or raises it inside the handler."""


class LeaseLostError(AttemptError):
    """This worker no longer has the lease of the job. From now on, the database ignores all that the worker writes for the job."""

    code = "PGQ-601"

    def __init__(self, job_id: int, lease_id: int) -> None:
        super().__init__(
            f"The lease {lease_id} on job {job_id} is lost.",
            why="the worker did not renew it in time, and another worker may be running the job now",
            do="stop; a job with a lost lease is run again",
        )
        self.job_id = job_id
        self.lease_id = lease_id


class ProcessDiedError(AttemptError):
    code = "PGQ-602"


class LoopBlockedError(AttemptError):
    code = "PGQ-608"


class JobTimeoutError(AttemptError):
    code = "PGQ-603"


class UndecodableJobError(AttemptError):
    code = "PGQ-604"


class DeadlineExceededError(AttemptError):
    code = "PGQ-605"


class WrongOutcomesError(AttemptError):
    code = "PGQ-609"


class BadResultError(AttemptError):
    code = "PGQ-610"


class AutocommitWarning(UserWarning):
    """PGQ-502: a job was enqueued on an autocommit connection outside a transaction. So the job does not commit together with other writes."""
