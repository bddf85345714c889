"""Log lines about jobs, from the claim to the end."""

from __future__ import annotations

from pgqueue.telemetry.events import Fact
from pgqueue.telemetry.events import jobs as j
from pgqueue.telemetry.lines import Wording, by, debug, error, info, unless, warning
from pgqueue.text.counted import listed

JOB = ("job_id", "task")
RUN = ("run.job_id", "run.task")

LINES: dict[type[Fact], Wording] = {
    j.JobsClaimed: debug(
        "claimed %d of %d in %.2f ms%s",
        "jobs", "room", lambda fact: fact.seconds * 1000, lambda fact: ", with a look behind the cursors" if fact.looked_behind else "",
    ),
    j.JobRetried: warning(
        "job %d (%s) failed, attempt %d of %d, next in %.1f s: %s",
        *RUN, "run.attempt", "run.max_attempts", "delay", "error",
    ),
    j.JobDead: error("job %d (%s) is dead (%s): %s", *RUN, "reason", "error"),
    j.JobCancelled: info("job %d (%s) is cancelled: %s", *RUN, "error"),
    j.JobSuspended: debug(
        "job %d (%s) %s", *RUN,
        lambda fact: "waits for the signal " + " or ".join(fact.signals) if fact.signals else f"sleeps for {fact.delay:.1f} s",
    ),
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
                "job %d (%s): the commit of its transaction was not confirmed, but was made; the job is %s", *JOB, "state"
            ),
            "not made": warning(
                "job %d (%s): the commit of its transaction was not confirmed, and was not made; the job is %s", *JOB, "state"
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
    j.LinesRefused: error("the database refused %d kept log lines: %s", "lines", "error"),
    j.CheckpointRefused: error("job %d (%s): the database refused a checkpoint of it: %s", *JOB, "why"),
    j.ClaimsForgotten: error(
        "a crash or failover of the server undid the claims of %s, whose handlers are stopped",
        lambda fact: listed("job", fact.job_ids),
    ),
    j.TimeoutIgnored: error(
        "%s does not end after its timeout; its thread is abandoned, but its handler still runs and can have effects", "call"
    ),
    j.EndedLate: debug("%s ended after its worker", "call"),
}  # fmt: skip

ENDING = info(  # the line that --log-jobs adds for each completed job
    "job %d (%s) completed in %.4f s, attempt %d of %d, queue %s",
    *RUN,
    "seconds",
    "run.attempt",
    "run.max_attempts",
    "run.queue",
)
