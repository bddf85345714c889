"""Makes the pictures of the documentation. ``PGQUEUE_TEST_PICTURES=docs/pictures pytest tests/web/test_pictures.py`` replaces them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from psycopg import Connection

from pgqueue.ui.access.access import Access
from pgqueue.ui.access.who import Role, Who
from tests.web.conftest import Server
from tests.web.shop_scene import example_job, fill_shop
from tests.web.test_browser import tab

ROOT = Path(__file__).parents[2]
LARGEST = 250_000  # bytes of a picture


def test_the_pictures_of_the_documentation_show_the_pages_as_they_are(
    browser: Browser, db: Connection[Any], serve: Callable[..., Server], pictures: Path
):
    ids = fill_shop(db)
    charted = "select sum(completed) > 1000 from pgqueue.stats_totals where queue = '' and task = '' and at > now() - interval '1 h'"
    assert db.execute(charted).fetchone() == (True,), "the charts show nothing"
    site = serve(
        tokens=False, actions=True, access=Access(anonymous=Who("ada", Role.admin, ("*",))), environment=None
    )
    shots = {
        "overview": ("/", "light", 1280, 860),
        "overview-dark": ("/", "dark", 1280, 860),
        "why": (f"/jobs/{example_job(db)}", "light", 1280, 560),
        "job": (f"/jobs/{ids['dead']}", "light", 1280, 900),
        "workflow": (f"/workflows/{ids['workflow']}", "light", 1280, 640),
        "errors": ("/errors", "light", 1280, 420),
        "phone": ("/jobs?q=state:dead", "dark", 390, 760),
    }
    for name, (path, theme, width, height) in shots.items():
        with tab(browser, site, color_scheme=theme, viewport={"width": width, "height": height}) as one:
            one.open(path)
            one.page.wait_for_timeout(300)  # a chart is drawn after the page has its layout
            one.page.screenshot(path=pictures / f"{name}.png")
            one.check()
        assert 8_000 < (pictures / f"{name}.png").stat().st_size < LARGEST, name


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda path: path.name
)
def test_each_picture_that_a_page_shows_is_in_the_repository(page: Path):
    for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if not name.startswith("http"):
            assert (page.parent / name).is_file(), name
