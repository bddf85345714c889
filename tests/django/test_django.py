"""The tests of the Django integration: Django's own runner plays them in one process, and the example program runs as its users run it.

``tests/django_suites`` plays the tests of Django's and django-tasks' own backends, by a command and not here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

pytest.importorskip("django")

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "docs" / "examples" / "django_shop"
OF_PROJECT = [f"tests.django.project.{name}_tests" for name in ("enqueuing", "worker", "admin")]
Manage = Callable[..., str]


@pytest.fixture
def manage(empty_dsn: str) -> Manage:
    """Returns a function that runs ``manage.py`` on a database without tables, and returns what it prints."""
    known = conninfo_to_dict(empty_dsn)
    names = {
        "host": "PGHOST",
        "port": "PGPORT",
        "user": "PGUSER",
        "password": "PGPASSWORD",
        "dbname": "PGDATABASE",
    }
    environment = {
        **os.environ,
        **{names[name]: str(value) for name, value in known.items() if name in names},
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(SHOP))),
    }

    def run(*words: str, settings: str = "shop.settings") -> str:
        environment["DJANGO_SETTINGS_MODULE"] = settings
        done = subprocess.run(
            [sys.executable, "-W", "error", "-W", "default::ResourceWarning", str(SHOP / "manage.py"), *words],
            cwd=SHOP, env=environment, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def test_the_project_passes_its_tests(manage: Manage) -> None:
    if find_spec("django_tasks") is None:
        pytest.skip("django-tasks is not installed")
    said = manage("test", *OF_PROJECT, "shop.tests", "--noinput", settings="tests.django.project.settings")
    assert "\nOK" in said, said


def test_the_example_commits_rolls_back_and_runs_in_a_worker(manage: Manage, empty_dsn: str) -> None:
    assert "Applying pgqueue.0001" in manage("migrate")
    said = manage("orders")
    assert "orders: 1002" in said
    assert "created: True, again: False, the same job: True" in said
    manage("pgq", "work", "--drain", "--processes", "2")
    with psycopg.connect(empty_dsn) as connection:
        found = connection.execute(
            "select task, state, count(*) from pgqueue.jobs group by task, state order by task"
        ).fetchall()
        paid = connection.execute("select count(*) from shop_order where state = 'paid'").fetchone()
        mails = connection.execute("select subject from shop_mail").fetchall()
    assert found == [
        ("shop.tasks.charge", "completed", 1001),
        ("shop.tasks.confirm", "completed", 1),
        ("shop.tasks.ship", "completed", 1),
    ]
    assert paid == (1000,)  # order 3 was paid, and then shipped
    assert mails == [("Your order 1",)]
