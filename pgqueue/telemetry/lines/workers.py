"""Log lines about workers and their processes."""

from __future__ import annotations

from logging import INFO

from pgqueue.telemetry.events import Fact
from pgqueue.telemetry.events import workers as w
from pgqueue.telemetry.lines import Line, Wording, by, error, info, warning
from pgqueue.text.counted import count
from pgqueue.text.shown import block


def whose(fact: w.LoopBlocked | w.BlockedProcessEnded) -> str:
    """Returns the part of a log line that names the job whose handler blocks the loop. Empty: the job is unknown."""
    more = f" and {fact.others} more of its chunk" if fact.others else ""
    return "" if fact.job is None else f" by {fact.job}{more}"


def worker_stopping(fact: w.WorkerStopping) -> Line | None:
    if not fact.running:
        return None
    text = "stopping: %s %g s to finish; a second signal hands running jobs back immediately"
    return Line(INFO, text, (count(fact.running, "running job has", "running jobs have"), fact.grace))


LINES: dict[type[Fact], Wording] = {
    w.WorkerStarted: info(
        "worker %d: tasks %d, queues %s, slots %d, %s, %s",
        "worker_id", "tasks", lambda fact: ",".join(fact.queues), "slots", "executor", "dsn",
    ),
    w.WorkerStopping: worker_stopping,
    w.WorkerQuiet: info("worker %d was asked to be quiet: it takes no more jobs, and waits for a stop", "worker_id"),
    w.WorkerUsedUp: by(
        "is_replaced",
        {
            False: info("worker %d %s; it drains and exits", "worker_id", "why"),
            True: info("worker %d (pid %d) %s; it will be drained and replaced", "worker_id", "pid", "why"),
        },
    ),
    w.WorkerOrphaned: error("worker %d: its supervisor is gone; it drains and exits", "worker_id"),
    w.WorkerEmbedded: warning(
        "a worker runs inside this process (pid %d): it shares its CPU and its end. Run `pgq work` in production", "pid"
    ),
    w.EmbeddedWorkerEnded: error("the worker inside this process has ended, and its jobs wait for other workers: %s", "why"),
    w.WorkerFailed: error("%s; the worker stops and exits with %d", "why", "code"),
    w.WorkerStopped: info("worker %d stopped", "worker_id"),
    w.JobsHandedBack: warning(
        "%s handed back", lambda fact: count(fact.jobs, "job was still running and is", "jobs were still running and are")
    ),
    w.LastOutcomesNotTaken: warning(
        "the database did not take the last outcomes in time; those jobs will run again"
    ),
    w.CountsLost: warning(
        "the counts of %s starts and ends of attempts are missing in pgqueue.stats: %s", "lost", "why"
    ),
    w.GoodbyeFailed: warning("the stopping worker could not end its lease: %s", "why"),
    w.LeaseLost: error(
        "worker %d lost its lease and registers again; jobs given up: %d", "worker_id", "jobs"
    ),
    w.ListenerDeaf: warning(
        "PGQ-105  LISTEN delivers nothing on this connection, as is usual behind some poolers; jobs are found"
        " by polling. Point the worker's --dsn directly at the server, or turn LISTEN off with --no-listen."
    ),
    w.LoopBlocked: warning(
        "worker %d: its loop has been blocked for %.1f s%s; until this ends, nothing else on the loop runs\n%s",
        "worker_id", "seconds", whose, lambda fact: block(fact.stack),
    ),
    w.LoopTurned: warning("worker %d: its loop runs again after %.1f s", "worker_id", "seconds"),
    w.BlockageNotNoted: warning(
        "worker %d could not write that its loop is blocked: %s", "worker_id", "error"
    ),
    w.BlockedProcessEnded: error(
        "worker %d: its loop has been blocked for %.1f s%s, and %s: the process ends",
        "worker_id", "seconds", whose, "why",
    ),
    w.BlockedJobsNotSettled: error(
        "worker %d could not settle its jobs; another worker will rescue them", "worker_id"
    ),
    w.PulseFailed: error("the check whether the loop is blocked failed, which is a bug"),
    w.HealthServed: info(
        "health: http://%s:%d/livez, /readyz, /startupz and /metrics",
        lambda fact: f"[{fact.host}]" if ":" in fact.host else fact.host, "port",
    ),
    w.PartSilent: error("not alive: %s", "why"),
    w.PartTurns: info("alive again; this is over: %s", "why"),
    w.HealthFailed: error("an answer to probes failed, which is a bug"),
    w.ChildNotStarted: error("no child process could be started: %s; next try in %.1f s", "error", "pause"),
    w.ProcessNotStarted: error(
        "a worker process could not be started (%s) and is started again in %.1f s", "error", "pause"
    ),
    w.ProcessDied: error(
        "a worker process (pid %d) died with %s and is started again in %.1f s",
        "pid", lambda fact: "an unknown exit code" if fact.code is None else fact.code, "pause",
    ),
    w.ProcessSilent: error(
        "a worker process (pid %d) has sent no sign of life for %g s, because it was stopped, or because a handler"
        " holds the interpreter's lock; the process is killed",
        "pid", "seconds",
    ),
    w.ProcessNotEnded: error(
        "a worker process (pid %d) did not end within its grace period and is killed", "pid"
    ),
    w.LeaseNotEnded: warning(
        "the jobs of worker %d wait for the end of its lease: %s", "worker_id", "why"
    ),
    w.SupervisorDeaf: error(
        "the supervisor's listener failed, which is a bug; jobs are found by polling"
    ),
}  # fmt: skip
