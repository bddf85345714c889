"""``docs/rules/order_workflow.md`` and ``order_under_faults.md``: their files are saved, and their commands and their SQL run, in order.

What a command prints must be what the page shows; ``…`` on the page stands for any text. A command that only looks is repeated until it
prints that.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.waiting import STARTS

RULES = Path(__file__).parents[2] / "docs/rules"
PAGE = "".join(
    (RULES / name).read_text(encoding="utf-8") for name in ("order_workflow.md", "order_under_faults.md")
)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LOOKS = ("pgq workflows show", "pgq why", "python sql.py", "python watch.py")
END = "--- the command has ended with"


class Shell:
    """A bash in a folder. Its background processes write into a file."""

    def __init__(self, folder: Path, dsn: str) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env={**os.environ, "PGQUEUE_DSN": dsn, "PATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> tuple[str, int]:
        """Runs a command, and returns what it prints, and its exit code. A command that ends with & goes on in the background."""
        assert self.process.stdin
        assert self.process.stdout
        if command.endswith(" &"):
            command = f"{command[:-2]} >>worker.log 2>&1 &"
        self.process.stdin.write(f"{command}\necho; echo {END} $?\n")
        self.process.stdin.flush()
        lines = []
        while not (line := self.process.stdout.readline()).startswith(END):
            assert line, "the shell has ended"
            lines.append(line)
        return "".join(lines).strip(), int(line.rsplit(maxsplit=1)[1])

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def shell(tmp_path: Path, dsn: str) -> Iterator[Shell]:
    found = Shell(tmp_path, dsn)
    yield found
    found.close()


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Yields each command of a block, with what the page says that it prints."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown.strip()


def pattern(shown: str) -> re.Pattern[str]:
    """Returns a pattern for what the page shows. Runs of spaces and tabs are equal, and … is any text."""
    words = re.sub(r"[ \t]+", " ", shown)
    return re.compile(re.escape(words).replace("…", ".*").replace(r"\ ", "[ \t]+"), re.DOTALL)


def check(shell: Shell, command: str, shown: str) -> None:
    deadline = time.monotonic() + STARTS
    while True:
        printed, code = shell.run(command)
        if code == 0 and (not shown or pattern(shown).fullmatch(printed)):
            return
        repeated = command.startswith(LOOKS) and time.monotonic() < deadline
        assert repeated, f"$ {command}\n{printed}\n--- exit code {code}, but the page shows\n{shown}"


def test_the_pages_about_the_order_workflow_run_as_they_are_written(
    shell: Shell, tmp_path: Path, dsn: str
) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        for kind, block in BLOCK.findall(PAGE):
            match kind:
                case "python":
                    name = re.match(r"# (\w+\.py)\n", block)
                    assert name, f"a block without the name of its file: {block[:60]}"
                    (tmp_path / name[1]).write_text(block, encoding="utf-8")
                case "console":
                    for command, shown in commands(block):
                        check(shell, command, shown)
                case "sql":
                    conn.execute(block.encode())
                case _:
                    pytest.fail(f"a block that is not run: {kind!r}")
        assert_the_proof_of_the_pages_returns_no_row(conn)


def assert_the_proof_of_the_pages_returns_no_row(conn: psycopg.Connection) -> None:
    [proof] = [block for kind, block in BLOCK.findall(PAGE) if kind == "sql" and "from parcels" in block]
    assert conn.execute(proof.encode()).fetchall() == []
    conn.execute("insert into payments (order_id, amount) values (1, 30)")
    assert conn.execute(proof.encode()).fetchall() == [(1,)]
