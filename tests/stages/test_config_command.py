"""``pgq config`` shows each setting with its origin and masks secrets, and lists all that is wrong. ``pgq explain`` explains each error."""

from __future__ import annotations

import json
import re

import pytest

from docs.errors import entries as documented
from pgqueue.ui.cli import explain

SECRET = "s3cr3t"
FILE = """
[tool.pgqueue]
app = "shop:app"
concurrency = 3
lease = 60

[tool.pgqueue.alerts]
webhook = "https://example.org/s3cr3t"
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def values(done) -> dict[str, tuple[object, str]]:
    return {item["setting"]: (item["value"], item["origin"]) for item in json.loads(done.out)["items"]}


def test_each_setting_has_the_place_that_gave_it(pgq, project, monkeypatch):
    monkeypatch.setenv("PGQUEUE_LEASE", "45")
    found = values(pgq("config", "show", "--concurrency", "7", "--processes", "2", "--json"))
    where = f"of {project}/pyproject.toml"
    assert found["app"] == ("shop:app", "PGQUEUE_APP")
    assert found["concurrency"] == (7, "--concurrency")
    assert found["processes"] == (2, "--processes")
    assert found["lease"] == (45.0, "PGQUEUE_LEASE")
    assert found["heartbeat"] == (5.0, "default")
    assert found["alerts.webhook"] == ("********", f"webhook in [tool.pgqueue.alerts] {where}")
    monkeypatch.delenv("PGQUEUE_LEASE")
    assert values(pgq("config", "show", "--json"))["lease"] == (60, f"lease in [tool.pgqueue] {where}")


def test_no_secret_is_shown(pgq, project, monkeypatch):
    monkeypatch.setenv("PGQUEUE_DSN", f"postgresql://me:{SECRET}@host/db")
    monkeypatch.setenv("PGQUEUE_ALERTS_SMTP", f"smtp://me:{SECRET}@host:587")
    monkeypatch.setenv("PGQUEUE_ALERTS_MAIL_FROM", "a@example.org")
    monkeypatch.setenv("PGQUEUE_ALERTS_MAIL_TO", "b@example.org")
    for words in (("--origin",), (), ("--json",)):
        done = pgq("config", "show", *words)
        assert done.code == 0, done.err
        assert SECRET not in done.out
        assert "postgresql://me@host/db" in done.out


def test_the_path_is_that_of_the_file_that_is_read(pgq, project, monkeypatch):
    (project / "below").mkdir()
    monkeypatch.chdir(project / "below")
    assert pgq("config", "path").out == f"{project}/pyproject.toml\n"
    (project / "pyproject.toml").write_text("")
    assert pgq("config", "path").code == 7


@pytest.mark.parametrize(
    ("file", "environment", "expected"),
    [
        ("[tool.pgqueue]\nconcurency = 3\nqeues = 'a'", {}, ["'concurency': did you mean concurrency?", "'qeues': did you mean queues?"]),
        ("[tool.pgqueue.alerts]\nwebhok = 'x'", {}, ["'webhok': did you mean webhook?"]),
        ("[tool.pgqueue]\nconcurrency = 'many'\ngrace = -1", {}, ["concurrency in [tool.pgqueue] is 'many'.", "grace in [tool.pgqueue] is -1."]),
        ("", {"PGQUEUE_POLL": "often", "PGQUEUE_CONCURENCY": "3"}, ["PGQUEUE_POLL is 'often'.", "did you mean PGQUEUE_CONCURRENCY?"]),
        ("[tool.pgqueue", {}, ["is not valid TOML"]),
        ("[tool]\npgqueue = 3", {}, ["is no table"]),
    ],
)  # fmt: skip
def test_validate_lists_everything_that_is_wrong(pgq, project, monkeypatch, file, environment, expected):
    (project / "pyproject.toml").write_text(file)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = pgq("config", "validate")
    assert done.code == 7
    lines = done.out.splitlines()
    assert len(lines) == len(expected)
    assert all(part in line for part, line in zip(expected, lines, strict=True)), lines
    assert json.loads(pgq("config", "validate", "--json").out)["problems"] == lines


def test_validate_accepts_good_settings_and_variables_of_others(pgq, project, monkeypatch):
    monkeypatch.setenv("PGQUEUE_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("PGQUEUE_PORT", "tcp://10.0.0.1:80")
    assert pgq("config", "validate").out == "ok\n"


# ---------------------------------------------------------------- explain


@pytest.mark.parametrize(
    "code", ["PGQ-204", "pgq-204", "204", "pgq204", "SchemaMissingError", "schemamissingerror"]
)
def test_a_code_is_found_however_it_is_written(pgq, code):
    done = pgq("explain", code)
    assert done.out.startswith("PGQ-204  No tables yet")
    assert "do first  Run pgq migrate." in done.out


def test_every_error_and_warning_is_explained():
    codes = {entry.code for entry in documented() if entry.code}
    assert {entry.code for entry in explain.entries()} == codes | {"PGQ-502"}
    assert all(entry.means for entry in explain.entries())


def test_an_unknown_code_suggests_others(pgq):
    done = pgq("explain", "PGQ-2044")
    assert done.code == 2
    assert re.search(r"did you mean .*PGQ-204", done.err)


def test_explain_prints_json(pgq):
    found = json.loads(pgq("explain", "208", "--json").out)
    assert (found["code"], found["group"], found["exit_code"]) == ("PGQ-208", "DatabaseError", 3)
