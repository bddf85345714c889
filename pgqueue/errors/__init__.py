"""All errors that pgqueue raises. Each error says what happened, why (if it is known) and what to do. Each has a code that never changes.

::

    PgQueueError
    ├── ConfigError                     a wrong or missing setting, found before any connection
    │   ├── DriverMissingError          PGQ-101   psycopg finds no libpq
    │   ├── NoDsnError                  PGQ-102   no setting contains a DSN
    │   ├── InvalidSettingError         PGQ-107   a flag, variable or file contains a wrong value
    │   ├── PackageMissingError         PGQ-111   an optional package is not installed
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
    │   ├── LockedError                 PGQ-207   another session has locked what the call needs
    │   ├── TakenIdError                PGQ-208   two jobs would have the same id
    │   └── SchemaNotUpgradedError      PGQ-209   pgq migrate cannot upgrade the schema, and has changed nothing
    ├── AppError                        a problem with the module of the user's tasks
    │   ├── AppImportError              PGQ-301   -A names no module or no App
    │   ├── NoTasksError                PGQ-302   the App declares no tasks
    │   ├── UnknownTaskError            PGQ-303   no task has this name
    │   ├── DuplicateTaskError          PGQ-304   two tasks have the same name
    │   └── UnnameableTaskError         PGQ-305   the function is a lambda, or is inside another function
    ├── InvalidJobError                 the job was refused, and nothing was stored
    │   ├── InvalidArgumentsError       PGQ-401   the arguments do not fit the signature
    │   ├── InvalidPayloadError         PGQ-402   a value that JSON cannot represent
    │   ├── PayloadTooLargeError        PGQ-403   more JSON than a job can have
    │   ├── InvalidOptionError          PGQ-404   a bad value, or options that cannot be combined
    │   ├── InvalidNameError            PGQ-405   a task, queue or schedule has a bad name
    │   ├── InvalidBatchError           PGQ-408   some items are bad, so none was stored
    │   └── InvalidWorkflowError        PGQ-430   the nodes of a workflow do not fit together
    ├── DuplicateJobError               PGQ-406   a job has the key, and on_conflict="raise"
    ├── IdempotencyConflictError        PGQ-407   a job with other arguments has the key
    ├── JobUnchangedError               PGQ-409   the job's state does not allow the change
    ├── WorkflowUnchangedError          PGQ-431   a node of the workflow cannot run again
    ├── BatchClosedError                PGQ-440   the batch takes no more jobs: it is sealed, was cancelled or has ended
    ├── QueueInUseError                 PGQ-510   the queue is not removed: jobs or workers use it
    ├── ActionNotUndoneError            PGQ-514   nothing of an operator's action was undone
    ├── InvalidScheduleError            PGQ-420   the schedule was refused, and nothing was stored
    ├── ScheduleExistsError             PGQ-421   another schedule has this name
    ├── WrongConnectionError            PGQ-505   an async connection instead of a sync one or the reverse, another driver, not PostgreSQL, or None
    ├── CommitUnconfirmedError          PGQ-511   the commit got no answer: it is not known whether it succeeded
    ├── NotFoundError                   the thing that a command or call asks for does not exist
    │   ├── JobNotFoundError            PGQ-503   the job is not committed, is not kept, or was removed
    │   ├── BatchNotFoundError          PGQ-540   the batch is not committed, or was removed
    │   ├── WorkerNotFoundError         PGQ-541   no worker has this id, or the worker has ended
    │   ├── LimitNotFoundError          PGQ-516   no limit has this number
    │   ├── PageNotFoundError           PGQ-713   the web page or the terminal has no page at this address
    │   ├── QueueNotFoundError          PGQ-506   no row, job or worker has this queue
    │   ├── ScheduleNotFoundError       PGQ-520   no schedule has this name
    │   ├── AlertNotFoundError          PGQ-509   no alert has this number
    │   ├── ActionNotFoundError         PGQ-513   no action in the audit has this number
    │   ├── ErrorGroupNotFoundError     PGQ-515   no recent error has this fingerprint
    │   ├── WorkflowNotFoundError       PGQ-530   the workflow is not committed, or was removed
    │   ├── NodeNotFoundError           PGQ-531   the workflow has no node of this name
    │   ├── OperationNotFoundError      PGQ-712   no operation of the HTTP API has this id
    │   └── StepNotFoundError           PGQ-512   the job has no step of this name and key
    ├── CheckFailedError                PGQ-720   a check, such as pgq health, has found something wrong
    ├── WaitTimeoutError                PGQ-507   the job is not finished yet
    ├── JobFailedError                  PGQ-508   the awaited job became dead or cancelled
    ├── AccessError                     the web page or the HTTP API refuses to serve a request
    │   ├── NotAuthenticatedError       PGQ-701   the request has no valid token
    │   ├── NotAllowedError             PGQ-702   the caller's role or token does not allow the act
    │   ├── TooManyGuessesError         PGQ-703   too many wrong tokens came from one address
    │   ├── ForeignRequestError         PGQ-704   a page of another web site sent the request
    │   └── UnknownHostError            PGQ-705   the header Host is not a name of this server
    ├── InvalidRequestError             PGQ-710   an HTTP request has a part that its route does not take
    ├── ServerBusyError                 PGQ-711   too many requests wait, or the database is too slow for a request
    └── AttemptError                    why an attempt of a job failed
        ├── LeaseLostError              PGQ-601   another worker is allowed to run the job now
        ├── ProcessDiedError            PGQ-602   the process crashed, or was killed from outside
        ├── LoopBlockedError            PGQ-608   an async handler blocked the event loop
        ├── JobTimeoutError             PGQ-603   the attempt took longer than timeout=
        ├── UndecodableJobError         PGQ-604   the job's row or arguments cannot be read
        ├── DeadlineExceededError       PGQ-605   the deadline leaves no time for an attempt
        ├── WrongOutcomesError          PGQ-609   the handler of a chunk returned too few or too many outcomes
        ├── BadResultError              PGQ-610   the handler's result cannot be stored
        ├── SignalTimeoutError          PGQ-615   no signal has come within the time-out of wait_for()
        ├── ChildrenFailedError         PGQ-617   children of gather() did not complete
        ├── SwallowedSuspensionError    PGQ-616   the handler went on although it sleeps or waits for a signal
        └── StepError                   why a step of a handler was not done or not stored; the job is not run again
            ├── CheckpointMismatchError PGQ-611   the stored step had other arguments, or its value no longer fits
            ├── DuplicateStepError      PGQ-612   the handler took two steps with the same name and key
            ├── StepTooLargeError       PGQ-613   a step's value, or the number of steps, is too large
            └── StepRefusedError        PGQ-614   the value cannot be stored, or no step can be taken here

Warnings: ``AutocommitWarning`` (PGQ-502).
A code never gets another meaning. No message contains a password, because ``database.dsn.redact`` removes it from each DSN.
"""

from __future__ import annotations

from pgqueue.errors.access import (
    AccessError,
    ForeignRequestError,
    InvalidRequestError,
    NotAllowedError,
    NotAuthenticatedError,
    ServerBusyError,
    TooManyGuessesError,
    UnknownHostError,
)
from pgqueue.errors.attempts import (
    AttemptError,
    BadResultError,
    CheckpointMismatchError,
    ChildrenFailedError,
    DeadlineExceededError,
    DuplicateStepError,
    JobTimeoutError,
    LeaseLostError,
    LoopBlockedError,
    ProcessDiedError,
    SignalTimeoutError,
    StepError,
    StepRefusedError,
    StepTooLargeError,
    SwallowedSuspensionError,
    UndecodableJobError,
    WrongOutcomesError,
)
from pgqueue.errors.base import PgQueueError
from pgqueue.errors.calls import (
    ActionNotFoundError,
    ActionNotUndoneError,
    AlertNotFoundError,
    BatchClosedError,
    BatchNotFoundError,
    CheckFailedError,
    CommitUnconfirmedError,
    DuplicateJobError,
    ErrorGroupNotFoundError,
    IdempotencyConflictError,
    InvalidArgumentsError,
    InvalidBatchError,
    InvalidJobError,
    InvalidNameError,
    InvalidOptionError,
    InvalidPayloadError,
    InvalidScheduleError,
    InvalidWorkflowError,
    JobFailedError,
    JobNotFoundError,
    JobUnchangedError,
    LimitNotFoundError,
    NodeNotFoundError,
    NotFoundError,
    OperationNotFoundError,
    PageNotFoundError,
    PayloadTooLargeError,
    QueueInUseError,
    QueueNotFoundError,
    ScheduleExistsError,
    ScheduleNotFoundError,
    StepNotFoundError,
    WaitTimeoutError,
    WorkerNotFoundError,
    WorkflowNotFoundError,
    WorkflowUnchangedError,
    WrongConnectionError,
)

__all__ = [
    "AccessError",
    "ActionNotFoundError",
    "ActionNotUndoneError",
    "AlertNotFoundError",
    "AppError",
    "AppImportError",
    "AttemptError",
    "AutocommitWarning",
    "BadResultError",
    "BatchClosedError",
    "BatchNotFoundError",
    "CheckFailedError",
    "CheckpointMismatchError",
    "ChildrenFailedError",
    "CommitUnconfirmedError",
    "ConfigError",
    "DatabaseError",
    "DatabaseUnreachableError",
    "DeadlineExceededError",
    "DriverMissingError",
    "DuplicateJobError",
    "DuplicateStepError",
    "DuplicateTaskError",
    "EmbeddedPostgresError",
    "ErrorGroupNotFoundError",
    "ForeignRequestError",
    "IdempotencyConflictError",
    "InvalidArgumentsError",
    "InvalidBatchError",
    "InvalidJobError",
    "InvalidNameError",
    "InvalidOptionError",
    "InvalidPayloadError",
    "InvalidRequestError",
    "InvalidScheduleError",
    "InvalidSettingError",
    "InvalidWorkflowError",
    "JobFailedError",
    "JobNotFoundError",
    "JobTimeoutError",
    "JobUnchangedError",
    "LeaseLostError",
    "LimitNotFoundError",
    "LockedError",
    "LoginRefusedError",
    "LoopBlockedError",
    "MissingPrivilegeError",
    "NoDsnError",
    "NoTasksError",
    "NodeNotFoundError",
    "NotAllowedError",
    "NotAuthenticatedError",
    "NotFoundError",
    "OperationNotFoundError",
    "PackageMissingError",
    "PageNotFoundError",
    "PayloadTooLargeError",
    "PgQueueError",
    "PoolExhaustedError",
    "ProcessDiedError",
    "QueueInUseError",
    "QueueNotFoundError",
    "ReadOnlyServerError",
    "ScheduleExistsError",
    "ScheduleNotFoundError",
    "SchemaMissingError",
    "SchemaNotUpgradedError",
    "SchemaTooNewError",
    "SchemaTooOldError",
    "ServerBusyError",
    "SignalTimeoutError",
    "StepError",
    "StepNotFoundError",
    "StepRefusedError",
    "StepTooLargeError",
    "SwallowedSuspensionError",
    "TakenIdError",
    "TooManyConnectionsError",
    "TooManyGuessesError",
    "UndecodableJobError",
    "UnknownHostError",
    "UnknownTaskError",
    "UnnameableTaskError",
    "UnsupportedServerError",
    "WaitTimeoutError",
    "WorkerNotFoundError",
    "WorkflowNotFoundError",
    "WorkflowUnchangedError",
    "WrongConnectionError",
    "WrongOutcomesError",
]


class ConfigError(PgQueueError):
    exit_code = 2


class DriverMissingError(ConfigError):
    code = "PGQ-101"


class NoDsnError(ConfigError):
    code = "PGQ-102"


class InvalidSettingError(ConfigError):
    code = "PGQ-107"


class PackageMissingError(ConfigError):
    code = "PGQ-111"


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


class SchemaNotUpgradedError(DatabaseError):
    code = "PGQ-209"
    exit_code = 4


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


class AutocommitWarning(UserWarning):
    """PGQ-502: a job was enqueued on an autocommit connection outside a transaction. So the job does not commit together with other writes."""
