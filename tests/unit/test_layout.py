"""Tests of the layout of the package: the modules that users are allowed to import, and the folders."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

import pgqueue
from pgqueue import sql

PACKAGE = Path(pgqueue.__file__).parent

# The names that users import. Everything else in the package can change at any time.
PUBLIC = {
    "pgqueue": pgqueue.__all__,
    "pgqueue.schema": [
        "DOMAINS", "alerts", "audit", "checkpoints", "checkpoints_default", "dependencies", "idempotency_keys", "jobs", "jobs_dead", "jobs_done",
        "jobs_done_default", "jobs_live", "leader",
        "limits", "metadata", "nodes", "pauses", "queues", "schedule_runs", "schedule_sets", "schedules", "seats", "signals", "starts", "stats", "stats_totals", "tasks",
        "transitions", "transitions_default", "undo_rows", "unresolved", "worker_requests", "workers", "workflows",
    ],
}  # fmt: skip

# The folders at the top of the package.
FOLDERS = {
    "app", "database", "dev", "errors", "integrations", "maintenance", "model", "runtime", "schema", "sql", "telemetry", "text", "ui", "worker",
}  # fmt: skip


@pytest.mark.parametrize("path", PUBLIC)
def test_the_public_modules_export_exactly_these_names(path):
    assert sorted(import_module(path).__all__) == sorted(PUBLIC[path])


def test_the_top_of_the_package_contains_only_these_folders_and_files():
    """The top of the package has a folder for each of its parts. Beside them there are only the files for the public names, ``python -m pgqueue`` and the settings."""
    assert {
        path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"
    } == FOLDERS
    assert {path.name for path in PACKAGE.glob("*.py")} == {
        "__init__.py",
        "__main__.py",
        "config.py",
    }


def test_each_folder_has_a_docstring_in_its_init_file():
    for folder in (path.parent for path in PACKAGE.rglob("__init__.py")):
        assert (folder / "__init__.py").read_text().startswith('"""'), folder


def test_each_folder_of_sql_has_the_same_name_as_the_module_of_its_statements():
    constructors = {path.stem for path in (PACKAGE / "database/statements").glob("*.py")}
    assert constructors - {"__init__", "decoding", "masking", "noting"} == set(sql.PARTS)
    assert {path.name for path in (PACKAGE / "sql").iterdir() if path.is_dir()} - {"__pycache__"} == {
        *sql.PARTS,
        "grants",
    }
