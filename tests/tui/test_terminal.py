"""``pgq top`` in a real terminal of 80 by 24 characters, which tmux makes."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.factories import add_jobs, look
from tests.waiting import STARTS, wait_until

TMUX = shutil.which("tmux")
pytestmark = pytest.mark.timeout(600)


class Tmux:
    """A terminal of tmux, on a server of its own."""

    def __init__(self, dsn: str) -> None:
        self._name = f"pgqueue-{secrets.token_hex(4)}"
        self._environment = {**os.environ, "PGQUEUE_DSN": dsn, "TERM": "screen-256color", "LC_ALL": "C.UTF-8"}

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            [str(TMUX), "-L", self._name, "-f", "/dev/null", *words],
            env=self._environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return done.stdout

    def start(self, *options: str, **environment: str) -> None:
        self._environment.update(environment)
        command = shlex.join([sys.executable, "-m", "pgqueue", "top", *options])
        self("new-session", "-d", "-x", "80", "-y", "24", f"{command}; echo ended with $?; exec cat")

    def keys(self, *keys: str) -> None:
        self("send-keys", *keys)

    def sees(self, pattern: str) -> str:
        """Waits until the screen matches the pattern, and returns the screen."""
        screens = [""]

        def matches() -> bool:
            screens.append(self("capture-pane", "-p"))
            return re.search(pattern, screens[-1]) is not None

        try:
            wait_until(matches, STARTS)
        except AssertionError:
            raise AssertionError(f"{pattern!r} is not on the screen:\n{screens[-1]}") from None
        return screens[-1]


@pytest.fixture
def tmux(dsn: str) -> Iterator[Tmux]:
    if TMUX is None:
        assert "CI" not in os.environ, "tmux is not installed: apt-get install tmux"
        pytest.skip("tmux is not installed: apt-get install tmux")
    made = Tmux(dsn)
    yield made
    made("kill-server")


def test_top_opens_pages_cancels_a_job_and_gives_the_terminal_back(db: Any, tmux: Tmux):
    ids = add_jobs(db, count=30)
    tmux.start("--allow-actions")
    screen = tmux.sees(r"Due +30")
    assert all(len(line) <= 80 for line in screen.splitlines())
    tmux.keys("g", "j")
    screen = tmux.sees(rf"> +{ids[-1]} +○ pending")
    assert len(screen.rstrip("\n").splitlines()) == 24
    tmux.keys("j", "C")
    tmux.sees(r"Cancel 1 job\?")
    tmux.keys("y")
    tmux.sees(r"1 job cancelled\.")
    assert look(db, ids[-2]) == "cancelled"
    tmux.keys("Enter")
    tmux.sees(rf"Job {ids[-2]}  ⊘ cancelled")
    tmux.keys("Escape")
    tmux.sees(r"\[All\]")
    tmux.keys("q")
    tmux.sees(r"ended with 0")


def test_without_colours_the_screen_has_none_and_states_have_their_marks(db: Any, tmux: Tmux):
    add_jobs(db, count=3)
    tmux.start(NO_COLOR="1")
    tmux.sees(r"Due +3")
    tmux.keys("g", "j")
    tmux.sees(r"○ pending")
    coloured = tmux("capture-pane", "-p", "-e")
    assert re.search(r"\x1b\[7m> ", coloured) or re.search(
        r"\x1b\[[\d;]*7m>", coloured
    )  # the cursor is inverse
    assert re.findall(r"\x1b\[(?:[\d;]*;)?(?:3[0-7]|4[0-7]|38|48|9[0-7]|10[0-7])[;m]", coloured) == []


def test_top_without_a_terminal_says_what_to_use(pgq: Callable[..., Any]):
    done = pgq("top")
    assert done.code == 2
    assert "pgq top needs a terminal." in done.err
