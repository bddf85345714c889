"""pgqueue: a job queue that lives in your Postgres.

Each public name is imported at its first use. So ``import pgqueue`` works even if libpq is missing. Then the first use of a name that needs
libpq raises an error of one sentence.
This module imports nothing, because ``pgq --help`` imports it, too, and the import of ``typing`` alone takes as long as the rest.
"""

TYPE_CHECKING = False  # type checkers take a name that is spelled like this as true

if TYPE_CHECKING:
    from pgqueue import errors
    from pgqueue.app.app import App
    from pgqueue.app.batch_handle import BatchHandle
    from pgqueue.app.batches import AsyncOpenBatch, OpenBatch
    from pgqueue.app.enqueue import Task
    from pgqueue.app.handle import JobHandle
    from pgqueue.app.workflow_handle import WorkflowHandle
    from pgqueue.app.workflows import AsyncWorkflow, Workflow
    from pgqueue.database.statements.batches import BatchProgress
    from pgqueue.database.statements.workflows import WorkflowProgress
    from pgqueue.errors import LeaseLostError, PgQueueError
    from pgqueue.model.chains import Chain, Group, chain, group
    from pgqueue.model.graph import Node
    from pgqueue.model.hooks import Call, Failure
    from pgqueue.model.job import Job
    from pgqueue.model.new_job import NewJob
    from pgqueue.model.nodes import NodeEnd
    from pgqueue.model.outcome import Cancel, Dead, RateLimited, Retry, Snooze
    from pgqueue.model.redact import Redact
    from pgqueue.model.retry import RetryPolicy
    from pgqueue.model.suspension import Signal, Suspended
    from pgqueue.model.worker_events import WorkerEvent
    from pgqueue.telemetry.job_context import JobContext, JobFields, current_job
    from pgqueue.telemetry.json_lines import JsonFormatter

__version__ = "0.2.0"

__all__ = [
    "App",
    "AsyncOpenBatch",
    "AsyncWorkflow",
    "BatchHandle",
    "BatchProgress",
    "Call",
    "Cancel",
    "Chain",
    "Dead",
    "Failure",
    "Group",
    "Job",
    "JobContext",
    "JobFields",
    "JobHandle",
    "JsonFormatter",
    "LeaseLostError",
    "NewJob",
    "Node",
    "NodeEnd",
    "OpenBatch",
    "PgQueueError",
    "RateLimited",
    "Redact",
    "Retry",
    "RetryPolicy",
    "Signal",
    "Snooze",
    "Suspended",
    "Task",
    "WorkerEvent",
    "Workflow",
    "WorkflowHandle",
    "WorkflowProgress",
    "chain",
    "current_job",
    "errors",
    "group",
]

_HOMES = {
    "app.app": ("App",),
    "app.enqueue": ("Task",),
    "app.handle": ("JobHandle",),
    "app.batch_handle": ("BatchHandle",),
    "app.batches": ("AsyncOpenBatch", "OpenBatch"),
    "database.statements.batches": ("BatchProgress",),
    "app.workflow_handle": ("WorkflowHandle",),
    "app.workflows": ("AsyncWorkflow", "Workflow"),
    "database.statements.workflows": ("WorkflowProgress",),
    "errors": ("LeaseLostError", "PgQueueError"),
    "model.chains": ("Chain", "Group", "chain", "group"),
    "model.graph": ("Node",),
    "model.hooks": ("Call", "Failure"),
    "model.job": ("Job",),
    "model.new_job": ("NewJob",),
    "model.nodes": ("NodeEnd",),
    "model.outcome": ("Cancel", "Dead", "RateLimited", "Retry", "Snooze"),
    "model.redact": ("Redact",),
    "model.retry": ("RetryPolicy",),
    "model.suspension": ("Signal", "Suspended"),
    "model.worker_events": ("WorkerEvent",),
    "telemetry.job_context": ("JobContext", "JobFields", "current_job"),
    "telemetry.json_lines": ("JsonFormatter",),
}


def __getattr__(name: str) -> object:
    from importlib import import_module  # noqa: PLC0415 - see above

    if name == "errors":
        return import_module(f"{__name__}.errors")
    for home, names in _HOMES.items():
        if name in names:
            found = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__doc__", "__file__", "__name__", "__path__", "__version__"]
