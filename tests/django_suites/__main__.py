"""``python -m tests.django_suites [--django-tasks FOLDER] [--django FOLDER]``: runs the suites against a server of its own.

``--django-tasks``: a checkout of the repository of django-tasks (its sdist has no tests). ``--django``: an unpacked sdist of Django 6 or
later, for its folder ``tests/tasks``; needs the same Django installed. Prints the versions, how many tests ran, and each exception.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.servers import create_database, drop_database, test_server

ROOT = Path(__file__).parents[2]
NAME = "pgqueue_django_suites"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.django_suites", description=__doc__)
    parser.add_argument("--django-tasks", type=Path, metavar="FOLDER")
    parser.add_argument("--django", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    if given.django_tasks is None and given.django is None:
        parser.error("give --django-tasks or --django")
    code = 0
    with test_server() as admin:
        if given.django_tasks is not None:
            code |= play(admin, "django_tasks", given.django_tasks / "tests", given.django_tasks)
        if given.django is not None:
            code |= play(admin, "django.tasks", given.django / "tests" / "tasks", given.django / "tests")
    return code


def play(admin: str, package: str, tests: Path, home: Path) -> int:
    """Runs one suite in a process of its own, on a copy, because both suites have a package of their own name and settings."""
    drop_database(admin, NAME)
    dsn = create_database(admin, NAME)
    with tempfile.TemporaryDirectory() as folder:
        name = "tests" if package == "django_tasks" else "tasks"
        shutil.copytree(tests, Path(folder) / name)
        if package == "django_tasks" and (home / package).is_dir():
            shutil.copytree(home / package, Path(folder) / package)
        (Path(folder) / "of_pgqueue").symlink_to(Path(__file__).parent)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((folder, str(ROOT))),
            "SUITE_DSN": dsn,
            "SUITE_PACKAGE": package,
            "DJANGO_SETTINGS_MODULE": "of_pgqueue.settings",
        }
        command = [sys.executable, "-m", "of_pgqueue.runner", name]
        return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
