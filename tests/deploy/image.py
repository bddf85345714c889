"""Builds the image of docs/deploy, runs a worker in it against a real server, asks for its health, and stops it.

An engine of containers builds it, if one answers. Otherwise, each instruction of the Dockerfile is followed by hand: a stage is a copy of a
clean root directory of Debian 13, whose Python is that of the base image, and the worker is process 1 of a namespace of its own.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg

from tests import roots
from tests.deploy.files import DOCKERFILE, FOLDER, instructions
from tests.proxy import Proxy
from tests.servers import test_server
from tests.waiting import STARTS, wait_until

ROOT = Path(__file__).parents[2]
ENGINES = ("docker", "podman")
GRACE = 60


def complaints() -> list[str]:
    engine = next((name for name in ENGINES if shutil.which(name) and _succeeds(name, "info")), None)
    if engine is None and (reason := roots.why_not()):
        return [f"The image was not built: no engine of containers answers, and {reason}."]
    print(f"the image is built by {engine or 'hand, because no engine of containers answers'}", flush=True)
    with _wheels() as address, test_server() as dsn:
        proxy = Proxy(dsn)
        threading.Thread(target=proxy.serve, daemon=True).start()
        try:
            with _built(engine, address) as image:
                return _tried(image, proxy.dsn)
        finally:
            proxy.close()


def _succeeds(*command: str) -> bool:
    try:
        return not subprocess.run(command, capture_output=True, check=False, timeout=20).returncode
    except (OSError, subprocess.TimeoutExpired):
        return False


@contextlib.contextmanager
def _wheels() -> Iterator[str]:
    """Builds the wheel of this work tree, and yields the address of a page that lists it."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "build", "-q", "--wheel", "--outdir", folder, ROOT], check=True)
        handler = functools.partial(SimpleHTTPRequestHandler, directory=folder)
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}/"
            server.shutdown()


@contextlib.contextmanager
def _built(engine: str | None, wheels: str) -> Iterator[Engine | ByHand]:
    if engine:
        yield Engine(engine, wheels)
        return
    with tempfile.TemporaryDirectory(dir=roots.ROOTS, prefix="image-", ignore_cleanup_errors=True) as folder:
        image = ByHand(Path(folder))
        image.build({"PIP_FIND_LINKS": wheels})
        try:
            yield image
        finally:
            image.end()


def _tried(image: Engine | ByHand, dsn: str) -> list[str]:
    found = []
    environment = {"PGQUEUE_DSN": dsn}
    if image.run(["pgq", "migrate"], environment):
        return ["pgq migrate failed in the image"]
    if image.run(["sh", "-c", 'test "$(id -u)" = 10001 && ! touch /venv/x /app/x 2>/dev/null'], environment):
        found.append("the user of the image is not 10001, or can change its files")
    with psycopg.connect(dsn, autocommit=True) as db:
        image.start(environment)
        wait_until(image.is_healthy, timeout=STARTS)
        db.execute("""select pgqueue.enqueue('shop.greet', '{"name": "Ada"}')""")
        result = "select result from pgqueue.jobs where state = 'completed'"
        [(said,)] = wait_until(lambda: db.execute(result).fetchall(), timeout=STARTS)
        if said != "Hello, Ada!":
            found.append(f"the job in the image returned {said!r}")
        if code := image.stop():
            found.append(f"the worker ended with {code} after SIGTERM")
        if db.execute("select count(*) from pgqueue.workers where expires_at > now()").fetchone() != (0,):
            found.append("the worker has not given its lease back after SIGTERM")
    return found


class Engine:
    """An image that an engine of containers has built."""

    def __init__(self, engine: str, wheels: str) -> None:
        self._tag = self._name = f"pgqueue-test-{secrets.token_hex(4)}"
        self._engine = engine
        build = ["build", "--network", "host", "--build-arg", f"PIP_FIND_LINKS={wheels}", "--tag", self._tag]
        subprocess.run([engine, *build, "--file", DOCKERFILE, FOLDER / "app"], check=True)

    def run(self, command: list[str], environment: dict[str, str]) -> int:
        given = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
        run = [self._engine, "run", "--rm", "--network", "host", *given, self._tag, *command]
        return subprocess.run(run, check=False).returncode

    def start(self, environment: dict[str, str]) -> None:
        given = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
        run = [self._engine, "run", "--detach", "--network", "host", "--name", self._name, *given, self._tag]
        subprocess.run(run, check=True, capture_output=True)

    def is_healthy(self) -> bool:
        return _succeeds(self._engine, "exec", self._name, *_health_command())

    def stop(self) -> int:
        subprocess.run(
            [self._engine, "stop", "--time", str(GRACE), self._name], check=True, capture_output=True
        )
        look = [self._engine, "inspect", "--format", "{{.State.ExitCode}}", self._name]
        code = subprocess.run(look, check=True, capture_output=True, text=True).stdout
        subprocess.run([self._engine, "rm", self._name], check=True, capture_output=True)
        subprocess.run([self._engine, "rmi", self._tag], check=True, capture_output=True)
        return int(code)


@dataclass
class Stage:
    """One stage of the Dockerfile: its files, and what its instructions have set."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"
    command: list[str] = field(default_factory=list)

    def words(self, command: list[str]) -> list[str]:
        there = ["sh", "-c", 'cd "$0" && exec "$@"', self.folder, *command]
        settings = [f"{name}={value}" for name, value in self.environment.items()]
        return ["chroot", f"--userspec={self.user}", str(self.root), "env", "-i", *settings, *there]


class ByHand:
    """An image whose instructions were followed by hand."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stages: dict[str, Stage] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _stage(self) -> Stage:
        return list(self._stages.values())[-1]

    def build(self, arguments: dict[str, str]) -> None:
        for word, rest in instructions():
            print(f"  {word} {rest}", flush=True)
            self._follow(word, rest, arguments)

    def _follow(self, word: str, rest: str, arguments: dict[str, str]) -> None:
        match word:
            case "FROM":
                name = rest.partition(" AS ")[2] or str(len(self._stages))
                self._stages[name] = Stage(
                    self._clean_root(name), {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
                )
            case "ARG":
                name = rest.partition("=")[0]
                self._stage.environment[name] = arguments[name]
            case "ENV":
                name, _, value = rest.partition("=")
                self._stage.environment[name] = value
            case "RUN":
                given = {**roots.network_settings(), **self._stage.environment}
                stage = Stage(self._stage.root, given, self._stage.folder, self._stage.user)
                subprocess.run(stage.words(["/bin/sh", "-c", rest]), check=True)
            case "COPY":
                self._copy(rest.split())
            case "WORKDIR":
                self._stage.folder = rest
                (self._stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "USER":
                self._stage.user = rest
            case "CMD":
                self._stage.command = json.loads(rest)
            case "EXPOSE" | "STOPSIGNAL" | "HEALTHCHECK":
                pass
            case _:
                raise ValueError(f"{word} is not followed by hand yet")

    def _clean_root(self, name: str) -> Path:
        root = self._folder / name
        subprocess.run(["cp", "--archive", "--reflink=auto", roots.debian("trixie"), root], check=True)
        roots.lend_network(root)
        return root

    def _copy(self, words: list[str]) -> None:
        source, target = words[-2:]
        if words[0].startswith("--from="):
            found = self._stages[words[0].removeprefix("--from=")].root / source.lstrip("/")
        else:
            found = FOLDER / "app" / source
        there = self._stage.root / target.lstrip("/")
        if found.is_dir():
            shutil.copytree(found, there, symlinks=True, dirs_exist_ok=True)
        else:
            shutil.copy(found, there)

    def _words(self, command: list[str], environment: dict[str, str]) -> list[str]:
        stage = self._stage
        given = {**stage.environment, **environment}
        return Stage(stage.root, given, stage.folder, stage.user).words(command)

    def run(self, command: list[str], environment: dict[str, str]) -> int:
        return subprocess.run(self._words(command, environment), check=False).returncode

    def start(self, environment: dict[str, str]) -> None:
        alone = ["unshare", "--pid", "--fork", "--kill-child", f"--mount-proc={self._stage.root / 'proc'}"]
        self._process = subprocess.Popen([*alone, *self._words(self._stage.command, environment)])

    def is_healthy(self) -> bool:
        assert self._process
        assert self._process.poll() is None, f"the worker ended with {self._process.returncode}"
        return _succeeds(*self._words(_health_command(), {}))

    def stop(self) -> int:
        assert self._process
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        os.kill(int(children), getattr(signal, dict(instructions())["STOPSIGNAL"]))
        return self._process.wait(GRACE)

    def end(self) -> None:
        """Kills what still runs."""
        if self._process and self._process.poll() is None:
            self._process.kill()  # and with it, the worker
            self._process.wait()


def _health_command() -> list[str]:
    rest = dict(instructions())["HEALTHCHECK"]
    return json.loads(rest[rest.index("[") :])
