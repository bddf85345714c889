"""Runs the command line as a user does: as a process with an exit code, stdout and stderr."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

SHOP = """
import asyncio, os, signal, time
from datetime import datetime
from typing import Annotated
from pydantic import BeforeValidator
from pgqueue import App, Dead, Job

app = App()

@app.task(name="greet")
def greet(name: str, times: int = 1) -> str:
    return " ".join(["Hello,", name] * times)

@app.task(name="plan")
def plan(at: datetime, tags: list[str], loud: bool = False) -> None: ...

@app.task(name="echo")
async def echo(value) -> None: ...

@app.task(name="fussy")
async def fussy(value: Annotated[int, BeforeValidator(lambda value: 1 // value)] = 1) -> None: ...

@app.task(name="fail", retry=False)
def fail() -> None:
    raise ValueError("boom")

@app.task(name="unspeakable", retry=False)
def unspeakable() -> None:
    raise ValueError("a\\x00b\\ud800")

@app.task(name="unstorable", retry=False)
def unstorable() -> object:
    return {"a": [object()]}

@app.task(name="changed_step", retry=[0.0])
def changed_step(job: Job) -> None:
    job.step("a", lambda lease_id: 1, job.lease_id)
    raise ValueError("the next attempt takes the step with another lease_id")

@app.task(name="replayed")
def replayed(job: Job, n: int) -> str:
    print("printed by the handler")
    with app.connection() as connection:
        connection.execute("insert into public.effects values (%s)", [n])
    return job.step("charge", charge, n)

def charge(n: int) -> str:
    return f"paid {n}"

@app.task(name="hanging")
def hanging() -> None:
    open("begun", "w").close()
    for _ in range(600):
        time.sleep(0.1)

@app.task(name="threading")
def starts_a_thread() -> None:
    import threading
    threading.Thread(target=time.sleep, args=(60,)).start()

@app.task(name="same_step_twice", retry=False)
def same_step_twice(job: Job) -> None:
    for value in (1, 2):
        job.step("a", lambda: value)

@app.task(name="large_step", retry=False)
def large_step(job: Job) -> None:
    job.step("a", lambda: "x" * 300_000)

@app.task(name="impatient", retry=False)
def impatient(job: Job) -> None:
    job.wait_for("approved", timeout=0)

@app.task(name="hopeless", retry=False, keep="none")
def hopeless() -> None:
    raise Dead("no")

@app.task(name="childless", retry=False)
def childless(job: Job) -> None:
    job.gather("a", [hopeless.job()])

@app.task(name="swallowing", retry=False)
def swallowing(job: Job) -> None:
    try:
        job.sleep("nap", 1)
    except BaseException:
        pass

@app.task(name="unstorable_step", retry=False)
def unstorable_step(job: Job) -> None:
    job.step("a", lambda: object())

@app.task(name="slow", retry=False)
async def slow() -> None:
    await asyncio.Event().wait()

@app.task(name="hog", retry=False)
async def hog() -> None:
    time.sleep(3600)

@app.task(name="miscount", retry=False, chunk=5)
def miscount(jobs: list[Job]) -> list[int]:
    return []

@app.task(name="die", retry=False, executor="process")
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def pgq(*words: str, cwd: Path, dsn: str | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs ``pgq …`` in the folder ``cwd``. The option ``env`` contains variables to add to the environment."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        **options.pop("env", {}),
    }
    if dsn is not None:
        environment["PGQUEUE_DSN"] = dsn
    return subprocess.run(
        [sys.executable, "-m", "pgqueue", *words],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False, **options,
    )  # fmt: skip


def shop(folder: Path) -> Path:
    """Writes ``shop.py`` into the folder, and returns the folder."""
    (folder / "shop.py").write_text(SHOP)
    return folder


class Done(NamedTuple):
    """The exit code of a command, and what the command wrote to stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def items(self) -> Any:
        return json.loads(self.out)["items"]

    @property
    def rows(self) -> list[list[str]]:
        """Returns the cells of a table that was written to a pipe, without the row of headings."""
        return [line.split("\t") for line in self.out.splitlines()[1:]]


def on_terminal(words: list[str], folder: Path, dsn: str, **environment: str) -> str:
    """Runs ``pgq …`` on a terminal, and returns what the terminal shows."""
    leader, follower = pty.openpty()
    env = {
        **os.environ,
        "PGQUEUE_DSN": dsn,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TERM": "xterm-256color",
        "COLUMNS": "120",
        **environment,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "pgqueue", *words],
        cwd=folder,
        env=env,
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 65_536):
            shown += chunk
    except OSError:  # Linux raises EIO when no process has the terminal open
        pass
    process.wait()
    os.close(leader)
    return shown.decode()
