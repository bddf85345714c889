"""Every error that pgqueue raises. Each says what happened, why if known, and what to do, and has a stable code.

::

    PgQueueError
    ├── ConfigError                     the settings, before any connection
    │   ├── DriverMissingError          PGQ-101   the driver finds no libpq
    │   ├── NoDsnError                  PGQ-102   no setting names a database
    │   ├── InvalidSettingError         PGQ-107   a flag, variable or file holds a wrong value
    │   └── EmbeddedPostgresError       PGQ-108   the embedded server is missing or did not start
    ├── DatabaseError                   the server, the login or the schema
    │   ├── DatabaseUnreachableError    PGQ-103   no answer from the server
    │   ├── LoginRefusedError           PGQ-104   wrong role, password or database
    │   ├── TooManyConnectionsError     PGQ-106   the server or role has no connection left
    │   ├── PoolExhaustedError          PGQ-110   the app's own pool has no connection left
    │   ├── MissingPrivilegeError       PGQ-201   the role lacks a grant
    │   ├── ReadOnlyServerError         PGQ-202   a standby, or read-only transactions
    │   ├── UnsupportedServerError      PGQ-203   PostgreSQL too old, or not UTF8
    │   ├── SchemaMissingError          PGQ-204   no tables yet: run pgq migrate
    │   ├── SchemaTooOldError           PGQ-205   the code is newer than the schema
    │   ├── SchemaTooNewError           PGQ-206   the schema is newer than the code
    │   ├── LockedError                 PGQ-207   another session holds the tables
    │   └── TakenIdError                PGQ-208   two jobs would have the same id
    ├── AppError                        the user's module of tasks
    │   ├── AppImportError              PGQ-301   -A names no module or no App
    │   ├── NoTasksError                PGQ-302   the App declares no tasks
    │   ├── UnknownTaskError            PGQ-303   no task of this name
    │   ├── DuplicateTaskError          PGQ-304   two tasks of one name
    │   └── UnnameableTaskError         PGQ-305   a lambda, or a function inside another
    ├── InvalidJobError                 refused at enqueue, nothing was written
    │   ├── InvalidArgumentsError       PGQ-401   the arguments do not fit the signature
    │   ├── InvalidPayloadError         PGQ-402   a value that JSON cannot hold
    │   ├── PayloadTooLargeError        PGQ-403   more JSON than a job may carry
    │   ├── InvalidOptionError          PGQ-404   a bad value, or options that exclude each other
    │   ├── InvalidNameError            PGQ-405   a bad name of a task, queue, key or schedule
    │   └── InvalidBatchError           PGQ-408   some items are bad, so none was stored
    ├── DuplicateJobError               PGQ-406   a job has the key, and on_conflict="raise"
    ├── IdempotencyConflictError        PGQ-407   the key belongs to other arguments
    ├── JobUnchangedError               PGQ-409   the job's state does not allow the change
    ├── QueueInUseError                 PGQ-510   not removed: jobs or workers need it
    ├── InvalidScheduleError            PGQ-420   refused, nothing was written
    ├── ScheduleExistsError             PGQ-421   the name is taken
    ├── WrongConnectionError            PGQ-505   async for sync, another driver, or not PostgreSQL
    ├── CommitUnconfirmedError          PGQ-511   written or not: the commit got no answer
    ├── NotFoundError                   what a command or call names is not there
    │   ├── JobNotFoundError            PGQ-503   not committed, not kept, or removed
    │   ├── QueueNotFoundError          PGQ-506   no row, job or worker names it
    │   ├── ScheduleNotFoundError       PGQ-520   no schedule of this name
    │   └── AlertNotFoundError          PGQ-509   no alert of this number
    ├── WaitTimeoutError                PGQ-507   the job is not finished yet
    ├── JobFailedError                  PGQ-508   the awaited job ended dead or cancelled
    └── AttemptError                    how one attempt of a job went wrong
        ├── LeaseLostError              PGQ-601   another worker may run the job now
        ├── ProcessDiedError            PGQ-602   the process crashed, or was killed from outside
        ├── LoopBlockedError            PGQ-608   an async handler did not yield
        ├── JobTimeoutError             PGQ-603   the attempt took longer than timeout=
        ├── UndecodableJobError         PGQ-604   the job's row or arguments cannot be read
        ├── DeadlineExceededError       PGQ-605   no time left for an attempt
        ├── WrongOutcomesError          PGQ-609   a handler of chunks returned too few or too many
        └── BadResultError              PGQ-610   what the handler returned cannot be stored

Warnings: ``AutocommitWarning`` (PGQ-502).
Codes never change their meaning. No message holds a password: DSNs are shown by ``database.dsn.redact``.
"""

from __future__ import annotations

from typing import ClassVar


class PgQueueError(Exception):
    """What happened, why, and what to do.

    ``what`` is one sentence with the offending value; ``why`` adds the cause where it is known; ``do`` is a
    step, if possible a command to paste; ``facts`` are further labelled values.
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
        """The error as ``--json`` prints it."""
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
    """Some items of a bulk enqueue are bad, so no item was written. ``reasons`` maps the index of a bad item to its reason."""

    code = "PGQ-408"

    def __init__(self, what: str, *, reasons: dict[int, str]) -> None:
        super().__init__(what, do="correct or drop these items and send the batch again; none was stored")
        self.reasons = reasons


class DuplicateJobError(PgQueueError):
    """Job ``job_id``, which was in ``state``, holds the key. Only ``on_conflict="raise"`` raises this."""

    code = "PGQ-406"
    exit_code = 6

    def __init__(self, task: str, job_id: int, state: str | None) -> None:
        super().__init__(
            f"Job {job_id} of task {task}, which is {state}, holds the key.",
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
    """No answer to a commit arrived. ``job_ids``: jobs that exist if it was made; empty if their ids are unknown."""

    code = "PGQ-511"
    exit_code = 3

    def __init__(self, why: str) -> None:
        super().__init__(
            "The connection broke before its commit was confirmed, so its writes, with all jobs, may exist or not.",
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
    """The awaited job ended ``dead`` or ``cancelled`` (``state``); ``last_error`` says why."""

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
    """The worker writes such an error into ``last_error``, or raises it inside a handler."""


class LeaseLostError(AttemptError):
    """This worker's lease on the job has run out. From then on, nothing that the worker writes for the job counts."""

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
    """PGQ-502: a job was enqueued on an autocommit connection outside a transaction, so nothing ties the job to other writes."""
