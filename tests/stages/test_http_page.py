"""Runs the examples of docs/http-api.md: every block for a shell with curl, and every block of Python."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from pgqueue.ui import api
from pgqueue.ui.access.access import Access
from pgqueue.ui.access.tokens import TokenFile
from pgqueue.ui.api.routes import ROUTES
from tests.http_servers import served

PAGE = (Path(__file__).parents[2] / "docs/http-api.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_examples_for_a_shell_run_and_the_first_answers_what_the_page_says(dsn, tmp_path):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    token, *requests = blocks("sh")
    environment["TOKEN"] = run(token, tmp_path, environment).strip()
    with served(api.create(dsn, access=Access(TokenFile(tmp_path / "tokens.toml").tokens))) as port:
        environment["API"] = f"http://localhost:{port}/api/v1"
        answers = [run(block, tmp_path, environment) for block in requests]
    assert len(answers) == 6
    assert json.loads(answers[0]) == json.loads(blocks("json")[0])


def run(block, folder, environment):
    done = subprocess.run(
        ["bash", "-euc", block],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, block + done.stdout + done.stderr
    return done.stdout


def test_the_examples_in_python_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in blocks("python"):
        exec(compile(block, "docs/http-api.md", "exec"), {})


def test_the_page_names_every_route():
    for route in ROUTES:
        short = route.path.removeprefix("/jobs/{id}")
        assert f"{route.method} {route.path}`" in PAGE or f"jobs/1{short}" in PAGE, route.path
