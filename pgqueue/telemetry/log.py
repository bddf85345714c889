"""What pgqueue's log lines say: the only place that words them. Where they go: log_output.py.

A line's place in the code (``%(pathname)s:%(lineno)d``) is where its fact was emitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from logging import DEBUG, ERROR, INFO, WARNING
from operator import attrgetter
from types import TracebackType
from typing import Any, NamedTuple

from pgqueue.telemetry.events import Fact, subscribe
from pgqueue.telemetry.events import database as d
from pgqueue.telemetry.events import jobs as j
from pgqueue.telemetry.events import maintenance as m
from pgqueue.telemetry.events import users as u
from pgqueue.telemetry.events import workers as w
from pgqueue.telemetry.log_output import LOG
from pgqueue.text.described import TRACEBACK, plain
from pgqueue.text.shown import block

EMITTER = 5  # frames up from the call of the logger: log_fact, guarded, emit, and who called that

Raised = tuple[type[BaseException], BaseException, TracebackType | None]


class Line(NamedTuple):
    level: int
    text: str
    args: tuple[object, ...] = ()
    extra: Mapping[str, object] | None = None  # attributes of the log record


Wording = Callable[[Any], Line | None]  # None: nothing to say


def words(level: int, text: str, *args: str | Callable[[Any], object], extra: Sequence[str] = ()) -> Wording:
    """A line of that text. An argument is a field of the fact (``run.job_id``: of the run in it), or made of the fact."""
    getters = [attrgetter(arg) if isinstance(arg, str) else arg for arg in args]
    attributes = {name.rpartition(".")[2]: attrgetter(name) for name in extra}

    def line(fact: Fact) -> Line:
        given = tuple(get(fact) for get in getters)
        return Line(level, text, given, {name: get(fact) for name, get in attributes.items()} or None)

    return line


debug, info, warning, error = (partial(words, level) for level in (DEBUG, INFO, WARNING, ERROR))


def by(field: str, choices: Mapping[Any, Wording]) -> Wording:
    """The line that the value of that field chooses."""
    return lambda fact: choices[getattr(fact, field)](fact)


def unless(field: str, one: Wording, other: Wording) -> Wording:
    """The one line, or if that field has a value, the other."""
    return lambda fact: (one if getattr(fact, field) is None else other)(fact)


def whose(fact: w.LoopBlocked | w.BlockedProcessEnded) -> str:
    """The end of what is said of a blocked loop: by which job."""
    more = f" and {fact.others} more of its chunk" if fact.others else ""
    return "" if fact.job is None else f" by {fact.job}{more}"


def worker_stopping(fact: w.WorkerStopping) -> Line | None:
    if not fact.running:
        return None
    text = "stopping: %d running jobs have %g s to finish; a second signal hands them back at once"
    return Line(INFO, text, (fact.running, fact.grace))


JOB = ("job_id", "task")
RUN = ("run.job_id", "run.task")
FIELDS = (*RUN, "run.queue", "run.attempt")  # of a job that ended, as attributes of the log record

LINES: dict[type[Any], Wording] = {
    # ------------------------------------------------------------------ database
    d.OutageBegun: warning("the database went away (%s): %s; trying again until it is back", "dsn", "why"),
    d.OutageOver: warning("the database is back after %.1f s", "seconds"),
    d.ConnectionBroke: by(
        "is_silent",
        {
            silent: words(level, "the connection %r broke and is opened again: %s", "name", "why")
            for silent, level in ((True, WARNING), (False, INFO))
        },
    ),
    d.ConnectionNotClosed: debug("closing a broken connection failed"),
    d.TurnFailed: by(
        "kind",
        {
            "conflict": info(
                "%s had to wait for another transaction: %s; next try in %.2g s", "service", "why", "pause"
            ),
            "answer": error("%s failed: %s; next try in %.2g s", "service", "why", "pause"),
            "bug": error("%s failed, which is a bug; next try in %.2g s", "service", "pause"),
        },
    ),
    d.JobPassedOver: warning("job %d is passed over by statements over many: %s", "job_id", "why"),
    d.JobBuried: error("job %d (%s) is dead, undecodable: %s", "job_id", "task", "why"),
    d.JobNotBuried: error(
        "job %d stops statements over many (%s), and cannot be buried", "job_id", "why"
    ),
    d.LookoutFailed: error("waiting for results failed, which is a bug"),
    d.SettingsNotTrusted: warning(
        "%s is not read, because it belongs to another user (%d)", "path", "owner"
    ),
    # ------------------------------------------------------------------ jobs
    j.JobsClaimed: debug(
        "claimed %d of %d in %.2f ms%s",
        "jobs", "room", lambda fact: fact.seconds * 1000, lambda fact: ", a sweep" if fact.looked_behind else "",
    ),
    j.JobRetried: warning(
        "job %d (%s) failed, attempt %d of %d, next in %.1f s: %s",
        *RUN, "run.attempt", "run.max_attempts", "delay", "error", extra=FIELDS,
    ),
    j.JobDead: error("job %d (%s) is dead (%s): %s", *RUN, "reason", "error", extra=FIELDS),
    j.JobCancelled: info("job %d (%s) is cancelled: %s", *RUN, "error", extra=FIELDS),
    j.OutcomeLost: warning(
        "job %d (%s): its lease %d was lost, so its outcome (%s) was not written", *JOB, "lease_id", "state"
    ),
    j.OutcomeWaits: unless(
        "why",
        warning(
            "job %d (%s): its outcome (%s) waits for a transaction that holds the row of the job", *JOB, "state"
        ),
        warning("job %d (%s): its outcome (%s) waits: %s", *JOB, "state", "why"),
    ),
    j.CommitUnconfirmed: by(
        "became",
        {
            "made": warning(
                "job %d (%s): the commit of its transaction was not confirmed, but was made; it is %s", *JOB, "state"
            ),
            "not made": warning(
                "job %d (%s): the commit of its transaction was not confirmed, and was not made; it is %s", *JOB, "state"
            ),
            "lost": warning(
                "job %d (%s): the commit of its transaction was not confirmed, and was not made: its lease was lost", *JOB
            ),
        },
    ),
    j.OutcomeRefused: by(
        "for_good",
        {
            False: error("job %d (%s): the database refused its outcome: %s", *JOB, "why"),
            True: error("job %d (%s): the database refuses every outcome: %s", *JOB, "why"),
        },
    ),
    j.ProgressRefused: error("job %d (%s): the database refused its progress: %s", *JOB, "error"),
    j.ClaimsForgotten: error(
        "a crash or failover of the server took back the claims of jobs %s; their handlers are stopped",
        lambda fact: list(fact.job_ids),
    ),
    j.TimeoutIgnored: error(
        "%s does not end after its timeout; its thread is abandoned and its effects may still happen", "attempt"
    ),
    j.EndedLate: debug("%s ended after its worker", "attempt"),
    # ------------------------------------------------------------------ workers
    w.WorkerStarted: info(
        "worker %d: tasks %d, queues %s, slots %d, %s, %s",
        "worker_id", "tasks", lambda fact: ",".join(fact.queues), "slots", "executor", "dsn",
    ),
    w.WorkerStopping: worker_stopping,
    w.WorkerUsedUp: by(
        "is_replaced",
        {
            False: info("worker %d %s; it drains and exits", "worker_id", "why"),
            True: info("worker %d (pid %d) %s; it will be drained and replaced", "worker_id", "pid", "why"),
        },
    ),
    w.WorkerOrphaned: error("worker %d: its supervisor is gone; it drains and exits", "worker_id"),
    w.WorkerFailed: error("%s; the worker stops and exits with %d", "why", "code"),
    w.WorkerStopped: info("worker %d stopped", "worker_id"),
    w.JobsHandedBack: warning("%d jobs were still running and are handed back", "jobs"),
    w.LastOutcomesNotTaken: warning(
        "the database did not take the last outcomes in time; those jobs will run again"
    ),
    w.GoodbyeFailed: warning("the worker could not say goodbye: %s", "why"),
    w.LeaseLost: error(
        "worker %d lost its lease and registers again; jobs given up: %d", "worker_id", "jobs"
    ),
    w.ListenerDeaf: warning(
        "PGQ-105  LISTEN delivers nothing on this connection, as behind some poolers; jobs are found"
        " by polling. Point the worker's --dsn directly at the server, or use --no-listen to say so."
    ),
    w.LoopBlocked: warning(
        "worker %d: its loop has been blocked for %.1f s%s; nothing else on it goes on meanwhile\n%s",
        "worker_id", "seconds", whose, lambda fact: block(fact.stack),
    ),
    w.LoopTurned: warning("worker %d: its loop turns again after %.1f s", "worker_id", "seconds"),
    w.BlockageNotNoted: warning(
        "worker %d could not write that its loop is blocked: %s", "worker_id", "error"
    ),
    w.BlockedProcessEnded: error(
        "worker %d: its loop has been blocked for %.1f s%s, and %s: the process ends",
        "worker_id", "seconds", whose, "why",
    ),
    w.BlockedJobsNotSettled: error(
        "worker %d could not settle its jobs; they are left to be rescued", "worker_id"
    ),
    w.PulseFailed: error("the watch over the loop failed, which is a bug"),
    w.ChildNotStarted: error("no child process could be started: %s; next try in %.1f s", "error", "pause"),
    w.ProcessNotStarted: error(
        "a worker process could not be started (%s) and is started again in %.1f s", "error", "pause"
    ),
    w.ProcessDied: error(
        "a worker process (pid %d) died with %s and is started again in %.1f s",
        "pid", lambda fact: "an unknown exit code" if fact.code is None else fact.code, "pause",
    ),
    w.ProcessSilent: error(
        "a worker process (pid %d) has said nothing for %g s: it was stopped, or a handler holds the"
        " interpreter's lock; it is killed",
        "pid", "seconds",
    ),
    w.ProcessNotEnded: error(
        "a worker process (pid %d) does not end after its grace and is killed", "pid"
    ),
    w.LeaseNotEnded: warning(
        "the jobs of worker %d wait for the end of its lease: %s", "worker_id", "why"
    ),
    w.SupervisorDeaf: error(
        "the supervisor's listener failed, which is a bug; jobs are found by polling"
    ),
    # ------------------------------------------------------------------ maintenance
    m.WorkersAdopted: warning(
        "jobs of unknown workers %s will be rescued", lambda fact: list(fact.worker_ids)
    ),
    m.QueueDiscovered: info("queue %s has jobs", "queue"),
    m.SeatMended: error(
        "the seat of limit %d, key %r counted %d, but %d is held: mended",
        "limit_id", "key", "counted", "held",
    ),
    m.JobsRescued: warning(
        "rescued %d jobs of dead workers %s", "jobs", lambda fact: list(fact.worker_ids)
    ),
    m.CrashLoopEnded: error("job %d (%s) is dead: its workers die while they run it", "job_id", "task"),
    m.JobSwept: by(
        "state",
        {
            "dead": error("job %d (%s) is dead: its deadline passed while it waited", "job_id", "task"),
            "cancelled": info("job %d (%s) is cancelled: %s", "job_id", "task", "reason"),
        },
    ),
    m.PartitionChanged: by(
        "what",
        {
            **dict.fromkeys(("made", "attached", "dropped"), info("%s partition %s", "what", "name")),
            "locked": info("another transaction holds the tables of %s; it is tried again soon", "name"),
            "crowded": warning(
                "many finished rows lie in the default partition, so %s cannot be made; they stay there until retention",
                "name",
            ),
            "refused": warning("%s lies detached and cannot be attached: %s", "name", "why"),
        },
    ),
    m.RebuildPutOff: info(
        "the rebuild of %s waits for: %s", "name", lambda fact: "; ".join(fact.holders)
    ),
    m.IndexNotOurs: warning(
        "index %s is %s, and this role may not mend it; let its owner run: %s", "name", "fault", "command"
    ),
    m.IndexNotMended: info("index %s could not be mended now: %s", "name", "error"),
    m.IndexMended: info(
        "index %s was %s and is mended in %.1f s: %.0f MB became %.0f MB",
        "name", "fault", "seconds", lambda fact: fact.before / 1e6, lambda fact: fact.after / 1e6,
    ),
    m.AlertOpened: warning("alert %d is open: %s", "alert_id", "text"),
    m.AlertResolved: info("alert %d is resolved: %s", "alert_id", "text"),
    m.AlertNotRaised: error("the alert %s of %s cannot be raised: %s", "kind", "subject", "error"),
    m.AddressesRefused: warning(
        "the mail server at %s refused %d of the addresses in mail_to", "host", "addresses"
    ),
    m.ScheduleSynced: info("schedule %s is %s", "schedule", "became"),
    m.ScheduleForeign: warning(
        "schedule %s was not made by the code of %s, so it stays as it is; give one of them another name",
        "schedule", "app",
    ),
    m.ScheduleKept: warning(
        "schedule %s is not in the code of %s, nor is its task, so it stays: another service has the same name, or a"
        " former deploy left it; give each service a name of its own, App(name=...), or remove it: pgq cron remove",
        "schedule", "app",
    ),
    m.NewerDeployInForce: info(
        "the schedules of a newer deploy are in force, not those of this worker's code"
    ),
    m.TaskNotDeclared: error("what task %s declares is not stored for jobs made by SQL: %s", "task", "why"),
    m.DeclarationsPutOff: info("what the code declares is synced later: %s", "error"),
    m.ScheduleUnreadable: warning("schedule %d cannot be read: %s", "schedule_id", "why"),
    m.ScheduleReadLater: info("schedule %d is read again later: %s", "schedule_id", "why"),
    m.SchedulePutOff: info("schedule %s is tried again: %s", "schedule", "why"),
    m.ScheduleBroken: unless(
        "bug",
        warning("schedule %s cannot run: %s", "schedule", "why"),
        error("schedule %s cannot run, which is a bug", "schedule"),
    ),
    m.ScheduleSkipped: warning("schedule %s: what it missed until %s is skipped", "schedule", "until"),
    m.ScheduleMissed: warning("schedule %s: it missed its times since %s", "schedule", "since"),
    m.ScheduleFired: debug("schedule %s: %d jobs enqueued", "schedule", "jobs"),
    # ------------------------------------------------------------------ users' code
    u.InstructionUnclear: error("an instruction does not say for how long, so it is a failure"),
    u.PolicyFailed: by(
        "part",
        {
            "permanent": error("a retry policy cannot say what is permanent, so it is not"),
            "stop": error("the stop of a retry policy failed; it does not stop"),
            "wait": error("the wait of a retry policy failed; its default is used"),
        },
    ),
    u.OutcomeUndecided: error(
        "job %d (%s): what follows its error cannot be decided, so it is tried again", "job_id", "task"
    ),
    u.HookFailed: error(
        "the hook %s of %s failed for job %s; the job stays as it is", "hook", "name", "job_id"
    ),
    u.EndOfWorkerAsked: error(
        "a job, or something that it left running, asks for the end of its worker; it is ignored"
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

# No line: they are for other listeners.
SILENT: set[type[Any]] = {
    j.JobsEnqueued,
    j.JobStarted,
    j.JobCompleted,
    j.JobPutBack,
    j.JobLost,
    m.LeaderElected,
    m.LeadEnded,
}
ENDING = info(  # of --log-jobs, for a job that ended well
    "job %d (%s) completed in %.4f s, attempt %d of %d, queue %s",
    *RUN,
    "seconds",
    "run.attempt",
    "run.max_attempts",
    "run.queue",
    extra=(*FIELDS, "seconds"),
)


def log_fact(fact: Fact) -> None:
    """Writes the line of a fact, if there is something to say."""
    _write(LINES[type(fact)](fact), fact)


def log_ending(fact: j.JobCompleted) -> None:
    """Listens where ``--log-jobs`` asks for it."""
    _write(ENDING(fact), fact)


def _write(line: Line | None, fact: Fact) -> None:
    if line is not None:
        LOG.log(
            line.level, line.text, *line.args, exc_info=_exception(fact), extra=line.extra, stacklevel=EMITTER
        )


def _exception(fact: Any) -> BaseException | Raised | None:
    """Of what a user's code raised, a plain error of that text: to show it, logging would call that code again."""
    raised: BaseException | None = getattr(fact, "raised", None)
    if raised is None:
        bug: BaseException | None = getattr(fact, "bug", None)
        return bug
    shown = plain(raised)
    return type(shown), shown, TRACEBACK.__get__(raised)


def begin() -> None:
    """To be called once, when the package is imported."""
    for kind in LINES:
        subscribe(kind, log_fact)
