"""A page that stays open leaks nothing, neither in the browser nor in the server.

By default, a page is watched for a few updates. Before a release, for an hour:
``PGQUEUE_TAB_MINUTES=60 pytest -n 0 --timeout 7200 -s tests/web/test_open_for_long.py``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from psycopg import Connection

from pgqueue.ui.access.access import Access
from pgqueue.ui.access.who import Role, Who
from tests.factories import add_jobs, enqueue
from tests.full_queue import fill
from tests.waiting import wait_until
from tests.web.conftest import Server

MINUTES = float(os.environ.get("PGQUEUE_TAB_MINUTES", "0"))
WARM, UPDATES = 3, 8
CHART = 9  # listeners of a chart; an update can bring a chart for which there was nothing to draw before
pytestmark = pytest.mark.timeout(300 + 120 * MINUTES)


class Watched:
    """A page whose updates are counted, and whose memory the browser tells."""

    def __init__(self, page: Page) -> None:
        self.page, self.updates = page, 0
        self._devtools = page.context.new_cdp_session(page)
        self._devtools.send("Performance.enable")
        page.expose_function("updated", self._updated)
        page.add_init_script("addEventListener('htmx:after:settle', () => window.updated())")

    def _updated(self) -> None:
        self.updates += 1

    def wait_for(self, updates: int, db: Connection[Any], until: float = 0.0) -> None:
        """Lets jobs come and go until the page has been updated so often, and until this time."""
        while self.updates < updates or time.monotonic() < until:
            job_id = enqueue(db)
            before = self.updates
            wait_until(lambda before=before: self.turn() > before)  # type: ignore[misc]
            db.execute("select pgqueue.cancel(%s)", [job_id])

    def turn(self) -> int:
        self.page.wait_for_timeout(50)  # so that the browser can call ``updated``
        return self.updates

    def memory(self) -> dict[str, float]:
        """Returns the numbers of nodes and listeners, and the size of the heap in MB, after what is no longer needed has been removed."""
        for _ in range(2):
            self._devtools.send("HeapProfiler.collectGarbage")
        found = {
            one["name"]: one["value"] for one in self._devtools.send("Performance.getMetrics")["metrics"]
        }
        return {
            "nodes": found["Nodes"],
            "listeners": found["JSEventListeners"],
            "heap_mb": found["JSHeapUsedSize"] / 2**20,
        }


@pytest.mark.parametrize("path", ["/", "/jobs"])
def test_an_open_page_does_not_grow_with_its_updates(
    path: str, browser: Browser, db: Connection[Any], serve: Callable[..., Server]
) -> None:
    site = serve(tokens=False, access=Access(anonymous=Who("local", Role.viewer, ("*",))))
    fill(db)
    add_jobs(db, count=100)  # so that the list of jobs is full, and a new job takes the place of another one
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    try:
        watched = Watched(context.new_page())
        watched.page.goto(site.url + path, wait_until="load")
        watched.wait_for(WARM, db)
        before = watched.memory()
        watched.wait_for(WARM + UPDATES, db, time.monotonic() + 60 * MINUTES)
        after = watched.memory()
    finally:
        context.close()
    print(f"{path}: {watched.updates} updates; before {before}, after {after}")
    assert after["listeners"] <= before["listeners"] + 2 * CHART
    assert after["nodes"] <= 1.1 * before["nodes"] + 50
    assert after["heap_mb"] <= before["heap_mb"] + 4
