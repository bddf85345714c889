"""Log lines about the work of the leader, and about the declarations that a starting worker stores."""

from __future__ import annotations

from pgqueue.telemetry.events import Fact
from pgqueue.telemetry.events import maintenance as m
from pgqueue.telemetry.lines import Wording, by, debug, error, info, unless, warning
from pgqueue.text.counted import count, listed

LINES: dict[type[Fact], Wording] = {
    m.WorkersAdopted: warning(
        "jobs of unknown %s will be rescued", lambda fact: listed("worker", fact.worker_ids)
    ),
    m.QueueDiscovered: info("queue %s has jobs", "queue"),
    m.SeatMended: error(
        "limit %d, key %r: the row counted %s, but jobs take %d; the row is corrected",
        "limit_id", "key", lambda fact: count(fact.counted, "taken seat"), "correct",
    ),
    m.NodeMended: error(
        "workflow %d: node %d was open, but its job was gone; the node is ended", "workflow_id", "node_id"
    ),
    m.JobsRescued: warning(
        "rescued %s of dead %s", lambda fact: count(fact.jobs, "job"), lambda fact: listed("worker", fact.worker_ids)
    ),
    m.CrashLoopEnded: error("job %d (%s) is dead: its workers die while they run it", "job_id", "task"),
    m.WaitsTimedOut: info("no signal came in time for %s", lambda fact: listed("job", fact.job_ids)),
    m.OverdueJobFinished: by(
        "state",
        {
            "dead": error("job %d (%s) is dead: its deadline passed while it waited", "job_id", "task"),
            "cancelled": info("job %d (%s) is cancelled: %s", "job_id", "task", "reason"),
        },
    ),
    m.PartitionChanged: by(
        "what",
        {
            **dict.fromkeys(("made", "attached", "dropped"), info("%s partition %s", "what", "partition")),
            "locked": info("another transaction holds the tables of %s; the worker tries again soon", "partition"),
            "crowded": warning(
                "many finished rows lie in the default partition, so %s cannot be made; retention deletes the rows later",
                "partition",
            ),
            "refused": warning("%s is detached and cannot be attached: %s", "partition", "why"),
        },
    ),
    m.RebuildPutOff: info(
        "the rebuild of %s waits for: %s", "index_name", lambda fact: "; ".join(fact.holders)
    ),
    m.IndexOfAnotherOwner: warning(
        "index %s is %s, and only its owner is allowed to repair it; let the owner run: %s",
        "index_name", "fault", "command",
    ),
    m.IndexNotMended: info("index %s could not be repaired now: %s", "index_name", "error"),
    m.IndexMended: info(
        "index %s was %s and is repaired in %.1f s: %.0f MB became %.0f MB",
        "index_name", "fault", "seconds", lambda fact: fact.before / 1e6, lambda fact: fact.after / 1e6,
    ),
    m.AlertOpened: warning("alert %d is open: %s", "alert_id", "text"),
    m.AlertResolved: info("alert %d is resolved: %s", "alert_id", "text"),
    m.AlertNotRaised: error("the alert %s of %s cannot be raised: %s", "kind", "subject", "error"),
    m.AddressesRefused: warning(
        "the mail server at %s refused %d of the addresses in mail_to", "host", "addresses"
    ),
    m.ScheduleSynced: info("schedule %s is %s", "schedule", "became"),
    m.ScheduleForeign: warning(
        "schedule %s was not made by the code of %s, so it stays as it is; give one of the two schedules another name",
        "schedule", "app",
    ),
    m.ScheduleKept: warning(
        "schedule %s is not in the code of %s, nor is its task, so the schedule stays: another app has the same name, or a"
        " former deploy left the schedule; give each app a name of its own, App(name=...), or remove the schedule: pgq cron remove",
        "schedule", "app",
    ),
    m.NewerDeployInForce: info(
        "the schedules of a newer deploy are in force, not those of this worker's code"
    ),
    m.TaskNotDeclared: error(
        "the declared options of task %s are not stored, so jobs made by SQL do not get them: %s", "task", "why"
    ),
    m.DeclarationsPutOff: info("the declarations of the code could not be stored and are stored later: %s", "error"),
    m.ScheduleUnreadable: warning("schedule %d cannot be read: %s", "schedule_id", "why"),
    m.ScheduleReadLater: info("schedule %d could not be read and is read again later: %s", "schedule_id", "why"),
    m.SchedulePutOff: info("schedule %s could not fire and is tried again later: %s", "schedule", "why"),
    m.ScheduleBroken: unless(
        "bug",
        warning("schedule %s cannot run: %s", "schedule", "why"),
        error("schedule %s cannot run, which is a bug", "schedule"),
    ),
    m.ScheduleSkipped: warning("schedule %s skips the fire times that it missed up to %s", "schedule", "until"),
    m.ScheduleMissed: warning("schedule %s missed its fire times since %s", "schedule", "since"),
    m.ScheduleFired: debug("schedule %s: %s enqueued", "schedule", lambda fact: count(fact.jobs, "job")),
}  # fmt: skip
