"""Settings from pyproject.toml: the nearest file upward, files that cannot be read, and values of the wrong type."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pgqueue import App
from pgqueue.app.loading import load_app
from pgqueue.config import WorkerSettings, read_file
from pgqueue.database.dsn import find_dsn
from pgqueue.errors import (
    AppImportError,
    InvalidSettingError,
    NoDsnError,
)
from pgqueue.ui.cli.common import named_app
from pgqueue.worker.settings import settings_for


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Returns the folder of a project. The current folder is two levels below it."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    return tmp_path


def test_the_nearest_pyproject_upward_is_read(project):
    (project / "pyproject.toml").write_text('[tool.pgqueue]\napp = "shop:app"\nconcurrency = 3\n')
    assert read_file() == {"app": "shop:app", "concurrency": 3}
    (project / "a" / "pyproject.toml").write_text("[project]\nname = 'nearer'\n")
    assert read_file() == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.pgqueue]\nconcurency = 3", "did you mean concurrency"),
        ("[tool.pgqueue]\nzzz = 3", "known keys: app, dsn"),
        ("[tool.pgqueue", "not valid TOML"),
        ("[tool]\npgqueue = 3", "is no table"),
        ("tool = 3", "is no table"),
    ],
)
def test_the_error_about_a_wrong_pyproject_says_what_is_wrong(project, text, message):
    (project / "pyproject.toml").write_text(text)
    with pytest.raises(InvalidSettingError, match=message):
        read_file()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Yields a folder that every user may search. Pytest's own folders are closed to other users."""
    before = Path.cwd()
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder).resolve()
        os.chdir(before)


@contextmanager
def as_other_user() -> Iterator[None]:
    """Runs the block as a user without rights, if this process is root's. Otherwise the user of this process has none anyway."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65_534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no users")
def test_settings_are_read_from_above_a_folder_that_this_user_may_not_search(open_folder):
    (open_folder / "pyproject.toml").write_text("[tool.pgqueue]\nconcurrency = 3\n")
    closed = open_folder / "closed"
    (closed / "in").mkdir(parents=True)
    os.chdir(closed / "in")
    closed.chmod(0o700 if os.geteuid() == 0 else 0)
    try:
        with as_other_user():
            assert read_file() == {"concurrency": 3}
    finally:
        closed.chmod(0o700)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no users")
def test_the_error_about_a_pyproject_that_this_user_may_not_read_contains_its_path(open_folder):
    file = open_folder / "pyproject.toml"
    file.write_text("[tool.pgqueue]\nconcurrency = 3\n")
    file.chmod(0o600 if os.geteuid() == 0 else 0)
    with (
        as_other_user(),
        pytest.raises(InvalidSettingError, match=f"{file} cannot be read: Permission denied"),
    ):
        read_file(open_folder)


def test_a_process_whose_folder_was_removed_reads_settings_and_apps_from_nowhere(open_folder, monkeypatch):
    gone = open_folder / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert read_file() == {}
    monkeypatch.setenv("PGQUEUE_DSN", "postgresql://here/x")
    assert find_dsn() == "postgresql://here/x"
    with pytest.raises(AppImportError, match="There is no module 'no_such_module'"):
        load_app("no_such_module")
    with pytest.raises(AppImportError, match="names no module"):
        load_app("no_such_module.py")


def test_the_settings_of_a_worker_can_be_given_in_pyproject(project):
    given = {"patience": 5, "crash_limit": 2, "wait_for_db": 1.5}
    lines = "".join(f"{name} = {value}\n" for name, value in given.items())
    (project / "pyproject.toml").write_text("[tool.pgqueue]\n" + lines)
    settings = settings_for(App(""), **dict.fromkeys(given))
    assert {name: getattr(settings, name) for name in given} == given


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('queues = ["mail"]', r"queues .* is \['mail'\]"),
        ("queues = 5", "queues .* is 5"),
        ('processes = "many"', "processes .* is 'many'"),
        ("processes = [1]", r"processes .* is \[1\]"),
        ("processes = true", "processes .* is True"),
        ("max_jobs = 2.5", "max_jobs .* is 2.5"),
        ('poll = "1"', "poll .* is '1'"),
        ("log_jobs = 1", "log_jobs .* is 1"),
        ("executor = 1", "executor .* is 1"),
        ("max_rss = true", "max_rss .* is True"),
        ("grace = nan", r"PGQ-107  grace in \[tool\.pgqueue\] is nan"),
        ("processes = 1000", r"PGQ-107  processes in \[tool\.pgqueue\] is 1000"),
        ('executor = "fork"', r"PGQ-107  executor in \[tool\.pgqueue\] is 'fork'"),
    ],
)
def test_the_error_about_a_setting_of_the_wrong_type_shows_its_value(project, line, message):
    (project / "pyproject.toml").write_text(f"[tool.pgqueue]\n{line}\n")
    with pytest.raises(InvalidSettingError, match=message):
        settings_for(App(""))


@pytest.mark.parametrize(
    ("line", "message"),
    [("app = 3", r"app in \[tool\.pgqueue\] is 3"), ("dsn = 3", r"dsn in \[tool\.pgqueue\] is no text")],
)
def test_the_error_about_an_app_or_a_dsn_of_the_wrong_type_names_the_key_of_the_file(
    project, monkeypatch, line, message
):
    for name in ("PGQUEUE_DSN", "DATABASE_URL", "PGQUEUE_APP"):
        monkeypatch.delenv(name, raising=False)
    (project / "pyproject.toml").write_text(f"[tool.pgqueue]\n{line}\n")
    with pytest.raises(InvalidSettingError, match=f"PGQ-107  {message}"):
        find_dsn(named_app(None))


def test_an_option_of_the_command_overrides_pyproject(project):
    (project / "pyproject.toml").write_text('[tool.pgqueue]\nqueues = "a"\npoll = 2\nmax_rss = "1G"\n')
    settings = settings_for(App(""), queues="b", poll=3.0, max_rss=None, listen=False)
    assert (settings.queues, settings.poll, settings.max_rss) == ({"b": None}, 3.0, 2**30)
    assert not settings.listen


def test_the_dsn_is_read_from_the_first_place_that_has_a_dsn(project, monkeypatch):
    with pytest.raises(NoDsnError, match=r"--dsn; PGQUEUE_DSN; DATABASE_URL; dsn in .*; PGSERVICE"):
        find_dsn()
    monkeypatch.setenv("PGHOST", "somewhere")
    assert find_dsn() == ""
    (project / "pyproject.toml").write_text('[tool.pgqueue]\ndsn = "postgresql://file/"\n')
    assert find_dsn() == "postgresql://file/"
    monkeypatch.setenv("DATABASE_URL", "postgres://url/")
    assert find_dsn() == "postgresql://url/"
    monkeypatch.setenv("PGQUEUE_DSN", "postgresql+asyncpg://own/")
    assert find_dsn() == "postgresql://own/"
    assert find_dsn("host=given") == "host=given"


@pytest.mark.parametrize(
    "setting",
    [
        {"concurrency": 0},
        {"concurrency": -1},
        {"concurrency": 1_000_000},
        {"executor": "fork"},
        {"poll": 0},
        {"poll": math.nan},
        {"grace": -1},
        {"lease": 0.1},
        {"heartbeat": 20},
        {"lease": 6},
        {"crash_limit": 0},
        {"wait_for_db": -1},
        {"max_jobs": 0},
        {"max_rss": 1},
        {"max_rss": 2**60},
    ],
)
def test_invalid_worker_settings_are_refused(setting):
    with pytest.raises(InvalidSettingError, match=f"--{next(iter(setting)).replace('_', '-')}|heartbeat"):
        WorkerSettings(queues={"default": None}, **setting)
