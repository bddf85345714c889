"""Log lines of wrong things that users' code did."""

from __future__ import annotations

from pgqueue.telemetry.events import Fact
from pgqueue.telemetry.events import users as u
from pgqueue.telemetry.lines import Wording, by, error, warning

LINES: dict[type[Fact], Wording] = {
    u.InstructionUnclear: error("a Snooze, RateLimited or Retry does not say for how long, so it counts as a failure"),
    u.PolicyFailed: by(
        "part",
        {
            "permanent": error("a retry policy cannot say whether an error is permanent, so the error is not permanent"),
            "stop": error("the stop of a retry policy failed, so it does not stop the job"),
            "wait": error("the wait of a retry policy failed; its default is used"),
        },
    ),
    u.OutcomeUndecided: error(
        "job %d (%s): what follows its error cannot be decided, so the default policy decides", "job_id", "task"
    ),
    u.HookFailed: error(
        "the hook %s of %s failed for job %s; the job stays as it is", "hook", "name", "job_id"
    ),
    u.EndOfWorkerAsked: error(
        "a job, or something that it left running, asks for the end of its worker; the request is ignored"
    ),
    u.SpanNotBegun: warning("no span could be begun for job %d", "job_id"),
    u.SpanNotEnded: warning("the span of job %d could not be ended", "job_id"),
    u.SpanNotMarked: warning("a span could not be marked as failed"),
    u.SignalTaken: error("a handler changed the handling of %s; the worker's own is back", "signal"),
    u.ExecutorShutDown: error("a handler shut down the executor of the event loop; it was replaced"),
    u.TaskFactoryFailed: error("a handler set a task factory that fails; it was removed"),
    u.ForkCameBack: warning(
        "a process (pid %d) that a handler forked came back from the handler, and is ended", "pid"
    ),
}  # fmt: skip
