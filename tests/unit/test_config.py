"""Tests of settings: from which places they are read, and which values they can have. No password is ever shown."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgqueue import App
from pgqueue.app.loading import load_app
from pgqueue.config import WorkerSettings, read_file
from pgqueue.database.dsn import find_dsn, redact
from pgqueue.errors import (
    AppImportError,
    InvalidNameError,
    InvalidOptionError,
    InvalidSettingError,
    NoDsnError,
)
from pgqueue.model.names import check_name
from pgqueue.model.units import seconds, size, written_size
from pgqueue.ui.cli.common import named_app
from pgqueue.ui.cli.work import settings_for
from pgqueue.worker.claiming.served_queues import parse_queues

SECRET = "S3cr3T"
ODD = st.text(alphabet="ab1@:/?#&=%' \\.,[]", max_size=4)


@pytest.mark.parametrize(
    "shape",
    [
        "postgresql://user:{}@host:5432/database",
        "postgres://user:{}@/database?host=/run/postgresql",
        "postgresql+psycopg://:{}@[::1]:1,other/database?sslmode=require",
        "postgresql://host/database?user=me&password={}&sslmode=require",
        "postgresql://host/database?PASSWORD={}",
        "postgresql://host/database?sslpassword={}",
        "host=h password={} dbname=d",
        "password='{}' host=h",
        "host=h password = {}",
    ],
)
@given(before=ODD, after=ODD)
@example("", "")
@example("://", "")
@example("' host=", "")
@example("p@", "?x@y")
@example("", "\\' host=")
def test_no_password_is_ever_shown(shape, before, after):
    assert SECRET not in redact(shape.format(before + SECRET + after))


@given(st.text())
def test_any_text_at_all_can_be_redacted(text):
    redact(text)


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://me:secret@host:5432/shop", "postgresql://me@host:5432/shop"),
        ("postgresql:///shop?host=/run/pg&user=me", "postgresql:///shop?host=/run/pg&user=me"),
        ("host=h port=1 dbname='my shop' password=x", "host=h port=1 dbname='my shop'"),
        ("application_name=x", "(DSN without a host)"),
        ("nonsense", "(unreadable DSN)"),
        ("", "libpq's PG* variables"),
    ],
)
def test_a_redacted_dsn_still_shows_the_server_and_the_database(dsn, shown):
    assert redact(dsn) == shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (90, 90),
        (0.5, 0.5),
        (-5, 0),
        ("90", 90),
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("2d", 172_800),
        (" 1.5h ", 5400),
        (timedelta(minutes=2), 120),
        (timedelta(seconds=-2), 0),
    ],
)
def test_durations_are_read_in_every_form(value, expected):
    assert seconds(value, "delay") == expected


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        1e18,
        -1e18,
        timedelta.max,
        "",
        " ",
        "soon",
        "-5",
        "1x",
        "1h 30",
        True,
        None,
        "٣s",
    ],
)
def test_the_error_about_a_bad_duration_contains_the_name_of_the_option(value):
    with pytest.raises(InvalidOptionError, match="PGQ-404  delay is"):
        seconds(value, "delay")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("512M", 512 * 2**20),
        ("1.5G", 3 * 2**29),
        ("64MiB", 2**26),
        ("10kB", 10_240),
        ("7", 7),
        (8, 8),
        (" 1T ", 2**40),
    ],
)
def test_sizes_are_read_in_units_of_1024(text, count):
    assert size(text, "--max-rss") == count


@pytest.mark.parametrize("text", ["512M", "1.5G", "16T", "7", "1K", "2000T"])
def test_sizes_are_written_as_they_are_read(text):
    assert written_size(size(text, "--max-rss")) == text


@pytest.mark.parametrize("text", ["", "M", "-1M", "1 000", "1P", "1e9", "٣M", True, None, 1.5e300])
def test_the_error_about_a_bad_size_contains_the_name_of_the_option(text):
    with pytest.raises(InvalidSettingError, match="--max-rss is"):
        size(text, "--max-rss")


@pytest.mark.parametrize(
    ("text", "queues"),
    [
        ("default", {"default": None}),
        ("mail:20, default", {"mail": 20, "default": None}),
        ("a:b:3", {"a:b": 3}),
        ("a:b", {"a:b": None}),
        ("a:b2,a:b-2", {"a:b2": None, "a:b-2": None}),
        ("a:2b:10,a:*", {"a:2b": 10, "a:*": None}),
    ],
)
def test_queues_are_read_with_their_slots(text, queues):
    assert parse_queues(text) == queues


@pytest.mark.parametrize("slots", ["2O", "20O", "1.5", "0", "10001", "9" * 50, "007x", "1_0", "2-", "2*"])
def test_slots_that_are_no_number_are_refused_and_do_not_count_as_a_part_of_the_name(slots):
    with pytest.raises(InvalidSettingError) as refused:
        parse_queues(f"default,mail:{slots}", "queues of [tool.pgqueue]")
    assert refused.value.what == f"Queue 'mail' asks for '{slots}' slots in queues of [tool.pgqueue]."
    assert f"if the number is part of the name, add another number: mail:{slots}:10" in refused.value.do


def test_the_queues_of_an_app_are_served_even_if_their_names_end_like_slots(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = App("")
    app.task(name="t", queue="mail:2nd")(lambda: None)
    app.task(name="u", queue="mail:20")(lambda: None)
    assert settings_for(app).queues == dict.fromkeys(["default", "mail:20", "mail:2nd"])


@pytest.mark.parametrize("text", ["mail:0", "mail:10001", "mail,mail", "mail:1,mail:2"])
def test_slots_out_of_range_and_queues_that_are_listed_twice_are_refused(text):
    with pytest.raises(InvalidSettingError):
        parse_queues(text)


BAD_NAMES = [
    "",
    " ",
    "a b",
    "1a",
    "a;b",
    "a'b",
    '"a"',
    "../a",
    "a\x00",
    "a\u200b",
    "\u202ea",
    "é",
    "e\u0301",
    "🙂",
    "a\n",
    "x" * 128,
    None,
    7,
]


@pytest.mark.parametrize("kind", ["queue", "task"])
@pytest.mark.parametrize("name", BAD_NAMES)
def test_odd_names_are_refused(kind, name):
    with pytest.raises(InvalidNameError, match=f"PGQ-405 .* cannot name a {kind}"):
        check_name(kind, name)


def test_names_up_to_their_limit_are_accepted():
    assert check_name("queue", "q" * 63)
    assert check_name("task", "t" * 127)
    with pytest.raises(InvalidNameError):
        check_name("queue", "q" * 64)


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
