"""The errors of calls: what an enqueuer, a person or a program asks for. The tree in ``pgqueue/errors/__init__.py`` says what each means."""

from __future__ import annotations

from pgqueue.errors.base import PgQueueError
from pgqueue.text.values import shown


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

    @property
    def refusal(self) -> str:
        """Returns the sentence with which a function of the SQL API has refused the call."""
        return self.why.removeprefix("pgqueue: ")


class InvalidNameError(InvalidJobError):
    code = "PGQ-405"


class InvalidBatchError(InvalidJobError):
    """Some items of a batch are bad, so no item was stored. ``reasons`` maps the index of each bad item to the reason."""

    code = "PGQ-408"

    def __init__(self, what: str, *, reasons: dict[int, str]) -> None:
        super().__init__(what, do="correct or drop these items and send the batch again; none was stored")
        self.reasons = reasons


class InvalidWorkflowError(InvalidJobError):
    code = "PGQ-430"


class WorkflowUnchangedError(PgQueueError):
    code = "PGQ-431"
    exit_code = 6

    @classmethod
    def because(cls, workflow_id: int, error: InvalidOptionError) -> WorkflowUnchangedError:
        """Returns the error for a retry that the database refused. The reason is the sentence of the SQL function."""
        return cls(
            f"Workflow {workflow_id} was not changed: {error.refusal}.",
            do=f"pgq workflows show {workflow_id}",
        )


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


class BatchClosedError(PgQueueError):
    code = "PGQ-440"
    exit_code = 6


class CheckFailedError(PgQueueError):
    code = "PGQ-720"
    exit_code = 7


class InvalidScheduleError(PgQueueError):
    code = "PGQ-420"
    exit_code = 2


class QueueInUseError(PgQueueError):
    code = "PGQ-510"
    exit_code = 6


class ActionNotUndoneError(PgQueueError):
    code = "PGQ-514"
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
    """The base of the errors below. Each of them says what does not exist."""

    exit_code = 5


class JobNotFoundError(NotFoundError):
    """``job_id``: a text only if a request named a job by something that is no id."""

    code = "PGQ-503"

    def __init__(self, job_id: int | str) -> None:
        super().__init__(
            f"There is no job {job_id}.",
            why="its transaction was rolled back or has not committed yet, its task keeps no finished jobs, or retention removed it",
            do="check that the enqueuing transaction committed",
        )
        self.job_id = job_id


class WorkflowNotFoundError(NotFoundError):
    code = "PGQ-530"

    def __init__(self, workflow_id: int) -> None:
        super().__init__(
            f"There is no workflow {workflow_id}.",
            why="its transaction was rolled back or has not committed yet, or retention removed it",
            do="pgq workflows list",
        )
        self.workflow_id = workflow_id


class NodeNotFoundError(NotFoundError):
    code = "PGQ-531"

    def __init__(self, workflow_id: int, name: str) -> None:
        super().__init__(
            f"Workflow {workflow_id} has no node {shown(name)}.", do=f"pgq workflows show {workflow_id}"
        )
        self.workflow_id = workflow_id
        self.name = name


class BatchNotFoundError(NotFoundError):
    code = "PGQ-540"

    def __init__(self, batch: int | str, *, why: str = "", do: str = "") -> None:
        what = batch if isinstance(batch, str) else f"There is no batch {batch}."
        why = why or "its transaction was rolled back or has not committed yet, or retention removed it"
        super().__init__(what, why=why, do=do or "pgq batches list")


class WorkerNotFoundError(NotFoundError):
    code = "PGQ-541"

    def __init__(self, worker_id: int) -> None:
        super().__init__(f"No worker has the id {worker_id}, or it has ended.", do="pgq workers list --all")


class LimitNotFoundError(NotFoundError):
    code = "PGQ-516"

    def __init__(self, limit_id: int) -> None:
        super().__init__(f"There is no limit {limit_id}.", do="pgq limits list")


class PageNotFoundError(NotFoundError):
    code = "PGQ-713"


class QueueNotFoundError(NotFoundError):
    code = "PGQ-506"


class ScheduleNotFoundError(NotFoundError):
    code = "PGQ-520"


class AlertNotFoundError(NotFoundError):
    code = "PGQ-509"


class ActionNotFoundError(NotFoundError):
    code = "PGQ-513"


class ErrorGroupNotFoundError(NotFoundError):
    code = "PGQ-515"


class OperationNotFoundError(NotFoundError):
    code = "PGQ-712"


class StepNotFoundError(NotFoundError):
    code = "PGQ-512"


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
