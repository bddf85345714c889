"""The blocks of pages that write files run as a reader runs them: each page in a folder and a database of its own, from the top to the end.

What a block is, its first line says. ``python file=shop.py`` writes a file. ``python`` runs as a program. ``sql`` runs on the page's database.
``console`` has commands after ``$``, each followed by lines that its output must contain in this order; ``…`` stands for any text. Other blocks are
only shown, such as ``sh`` for what runs until it is stopped. A comment ``<!-- setup python … -->`` runs without being shown.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(
    r"^<!-- setup (?P<hidden>\w+)\n(?P<setup>.*?)^-->|^```(?P<kind>\w+)(?: file=(?P<file>\S+))?\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
PAGES = sorted(
    path
    for path in [*DOCS.glob("*.md"), *DOCS.glob("moving/*.md")]
    if re.search(r"^```\w+ file=", path.read_text(), re.MULTILINE)
)


class Page(NamedTuple):
    """``folder``: where its files are written. ``env``: of its programs."""

    folder: Path
    env: dict[str, str]
    dsn: str

    def run(self, *words: str) -> str:
        done = subprocess.run(
            words, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def console(self, text: str) -> None:
        for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
            said = self.run("bash", "-c", command)
            pattern = ".*".join(re.escape(part.strip("\n")) for part in expected.split("…"))
            assert re.search(pattern, said, re.DOTALL), f"{command}\nexpected: {expected}\nfound: {said}"

    def sql(self, text: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(text.encode())


@pytest.fixture
def page(tmp_path: Path, dsn: str) -> Page:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    pgq = scripts / "pgq"  # the name belongs to PgQueuer, too, which can be installed beside pgqueue
    pgq.write_text(f'#!/bin/sh\nexec {sys.executable} -m pgqueue "$@"\n')
    pgq.chmod(0o755)
    folder = tmp_path / "page"
    folder.mkdir()
    path = [str(scripts), str(Path(sys.executable).parent), os.environ["PATH"]]
    modules = filter(None, [str(folder), *sys.path])
    env = {
        **os.environ,
        "PGQUEUE_DSN": dsn,
        "PGQUEUE_TEST_DSN": dsn,
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": os.pathsep.join(modules),
        "PYTEST_ADDOPTS": "-p no:asyncio -p no:randomly",
    }
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        env.pop(name, None)
    return Page(folder, env, dsn)


@pytest.mark.skipif(not shutil.which("psql"), reason="the pages use psql")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_blocks_of_a_page_run_in_their_order(path: Path, page: Page) -> None:
    count = 0
    for block in BLOCK.finditer(path.read_text()):
        kind, text = block["hidden"] or block["kind"], block["setup"] or block["text"]
        if block["file"]:
            target = page.folder / block["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        elif kind == "python":
            page.run(sys.executable, "-c", text)
        elif kind == "sql":
            page.sql(text)
        elif kind == "console":
            page.console(text)
        elif block["hidden"]:
            page.run("bash", "-ec", text)
        else:
            continue
        count += 1
    assert count
