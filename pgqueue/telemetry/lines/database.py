"""Log lines about the database and about settings."""

from __future__ import annotations

from logging import INFO, WARNING

from pgqueue.telemetry.events import Fact
from pgqueue.telemetry.events import database as d
from pgqueue.telemetry.lines import Wording, by, debug, error, info, warning, words

LINES: dict[type[Fact], Wording] = {
    d.OutageBegun: warning("the database went away (%s): %s; trying again until it is back", "dsn", "why"),
    d.OutageOver: warning("the database is back after %.1f s", "seconds"),
    d.ConnectionBroke: by(
        "is_silent",
        {
            silent: words(level, "the connection %r broke and is opened again: %s", "connection", "why")
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
    d.PollingBegun: info(
        "%s get no notifications through a pooler, so they look at the database every second", "service"
    ),
    d.JobPassedOver: warning("job %d is left out of statements over many jobs: %s", "job_id", "why"),
    d.NodeRefused: warning("node %d does not go on, and the leader tries it again: %s", "node_id", "why"),
    d.WorkflowPassedOver: warning(
        "open jobs of workflow %d could not be cancelled: %s", "workflow_id", "why"
    ),
    d.JobGivenUp: error("job %d (%s) is dead, because it cannot be decoded: %s", "job_id", "task", "why"),
    d.JobNotGivenUp: error(
        "job %d makes statements over many jobs fail (%s), and could not be made dead", "job_id", "why"
    ),
    d.LookoutFailed: error("waiting for results failed, which is a bug"),
    d.SettingsNotTrusted: warning(
        "%s is not read, because it belongs to another user (%d)", "path", "owner"
    ),
}  # fmt: skip
