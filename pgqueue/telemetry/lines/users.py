"""Log lines about mistakes in users' code."""

from __future__ import annotations

from pgqueue.telemetry.events import Fact
from pgqueue.telemetry.events import users as u
from pgqueue.telemetry.lines import Wording, by, error, warning

LINES: dict[type[Fact], Wording] = {
    u.InstructionUnclear: error("a Snooze, RateLimited or Retry has no usable delay, so it counts as a failure"),
    u.PolicyFailed: by(
        "part",
        {
            "permanent": error("a retry policy failed to decide whether an error is permanent, so the error counts as not permanent"),
            "stop": error("the `stop` of a retry policy failed, so it does not stop the job"),
            "wait": error("the `wait` of a retry policy failed, so the default wait is used"),
        },
    ),
    u.OutcomeUndecided: error(
        "job %d (%s): its exception or retry policy failed to decide the outcome, so the default policy decides",
        "job_id", "task",
    ),
    u.HookFailed: error(
        "the hook %s of %s failed for job %s; the job stays as it is", "hook", "hook_task", "job_id"
    ),
    u.CallbackFailed: error("the callback %s of the event %s failed", "callback", "on_event"),
    u.CallbackBehind: warning(
        "the callback %s of the event %s is too slow: %d events wait for it, and it misses others", "callback", "on_event", "waiting"
    ),
    u.EndOfWorkerAsked: error(
        "a job, or a task or callback that it left on the loop, asked the worker to end; the request is ignored"
    ),
    u.SpanNotBegun: warning("no span could be begun for job %d", "job_id"),
    u.SpanNotEnded: warning("the span of job %d could not be ended", "job_id"),
    u.SpanNotMarked: warning("a span could not be marked as failed"),
    u.SignalTaken: error("a handler replaced the worker's handling of the signal %s; the worker restored it", "signal"),
    u.ExecutorShutDown: error("a handler shut down the executor of the event loop; it was replaced"),
    u.TaskFactoryFailed: error("a handler set a task factory that fails; it was removed"),
    u.ForkCameBack: warning(
        "a process (pid %d) that a handler forked returned from the handler, and is ended", "pid"
    ),
    u.RequestFailed: error("the request %s %s could not be served", "method", "path"),
}  # fmt: skip
