"""All pages: for each its address, the function that makes it, and the place in the menu."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from pgqueue.ui.reading import (
    audit,
    errors,
    job,
    jobs,
    limits,
    operations,
    overview,
    queues,
    schedules,
    stats,
    workers,
    workflows,
)
from pgqueue.ui.reading.asked import BRACES, Asked
from pgqueue.ui.reading.page import Page
from pgqueue.ui.reading.reader import Reader

Make = Callable[[Reader, Asked], Awaitable[Page]]


@dataclass(frozen=True, slots=True)
class PageRoute:
    """``path``: with names in braces for the parts that vary. ``menu``: the word in the menu; None: the page is not in the menu.

    ``key``: the letter that opens the page after a ``g``.
    """

    path: str
    make: Make
    name: str
    menu: str | None = None
    key: str | None = None
    group: str = ""


PAGES: tuple[PageRoute, ...] = (
    PageRoute("/", overview.overview, "overview", "Overview", "o"),
    PageRoute("/jobs", jobs.jobs, "jobs", "Jobs", "j"),
    PageRoute("/jobs/{job}", job.job, "job"),
    PageRoute("/workflows", workflows.workflows, "workflows", "Workflows", "w"),
    PageRoute("/workflows/{workflow}", workflows.workflow, "workflow"),
    PageRoute("/batches", workflows.batches, "batches", "Batches", "b"),
    PageRoute("/batches/{batch}", workflows.batch, "batch"),
    PageRoute("/queues", queues.queues, "queues", "Queues", "q", "Running"),
    PageRoute("/queues/{queue}", queues.queue, "queue"),
    PageRoute("/limits", limits.limits, "limits", "Limits", "l", "Running"),
    PageRoute("/limits/{limit}", limits.limit, "limit"),
    PageRoute("/workers", workers.workers, "workers", "Workers", "k", "Running"),
    PageRoute("/workers/{worker}", workers.worker, "worker"),
    PageRoute("/schedules", schedules.schedules, "schedules", "Schedules", "s", "Running"),
    PageRoute("/schedules/{schedule}", schedules.schedule, "schedule"),
    PageRoute("/tasks", operations.tasks, "tasks", "Tasks", "t", "Running"),
    PageRoute("/stats", stats.stats, "stats", "Statistics", "c", "Running"),
    PageRoute("/errors", errors.errors, "errors", "Errors", "e", "Trouble"),
    PageRoute("/errors/{fingerprint}", errors.error, "error"),
    PageRoute("/alerts", operations.alerts, "alerts", "Alerts", "a", "Trouble"),
    PageRoute("/audit", audit.audit, "audit", "Audit", "u", "System"),
    PageRoute("/audit/{action}", audit.action, "action"),
    PageRoute("/database", operations.database, "database", "Database", "h", "System"),
)


def located(address: str) -> tuple[PageRoute, Asked] | None:
    """Returns the page at an address, such as ``/jobs?q=state:dead``, and what is asked of it. None: there is no such page."""
    parts = urlsplit(address)
    for route in PAGES:
        if found := re.fullmatch(BRACES.sub(r"(?P<\1>[^/]+)", route.path), parts.path):
            varying = {name: unquote(value) for name, value in found.groupdict().items()}
            return route, Asked(varying, dict(parse_qsl(parts.query)))
    return None
