"""Tests of the command ``pgq`` itself: its start, the option -A, and its help."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from types import SimpleNamespace
from typing import Any

import click
import pytest
import typer
from click.testing import CliRunner

from pgqueue.app.loading import load_app
from pgqueue.config import WorkerSettings
from pgqueue.dev import embedded
from pgqueue.errors import AppImportError, NoDsnError, PgQueueError
from pgqueue.ui.cli import main, play
from pgqueue.ui.cli.commands import NAMES, root
from pgqueue.ui.cli.output import fail
from pgqueue.ui.cli.usage import MEANT


class Interrupting:
    """Acts like Ctrl-C during the import of the commands, which takes most of the time of a short command."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "pgqueue.ui.cli.commands":
            raise KeyboardInterrupt


def test_ctrl_c_before_a_command_has_begun_exits_with_130_and_prints_nothing(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "pgqueue.ui.cli.commands", raising=False)
    monkeypatch.setattr(sys, "argv", ["pgq", "jobs"])
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, *capsys.readouterr()) == (130, "", "")


def test_every_name_of_a_command_is_known_before_its_module_is_imported():
    assert sorted(built().commands) == sorted(NAMES)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("path", "do"),
    [
        (":app", "write it as -A module:app"), ("../app", "run this in {above}, and use -A app"), ("app.py", "use -A app"),
        ("./shop/app.py:queue", "use -A shop.app:queue"), ("{here}/app.py", "use -A app"), ("a b", "write it as -A module:app"),
        (" ", "write it as -A module:app"), (" app", "use -A app"), ("a..b:app", "write it as -A module:app"),
        (".", "write it as -A module:app"), ("-x", "write it as -A module:app"),
    ],
)  # fmt: skip
def test_the_error_about_a_path_that_is_no_module_says_what_to_write_instead(monkeypatch, tmp_path, path, do):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(AppImportError) as refused:
        load_app(path.format(here=here))
    said = str(refused.value)
    assert f"-A {path.format(here=here)!r} names no module." in said
    assert do.format(above=tmp_path) in said


@cache
def built() -> click.Command:
    return typer.main.get_command(root())


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*words, name))


@cache
def help_of(command: tuple[str, ...], width: int) -> str:
    shown = CliRunner().invoke(built(), [*command, "--help"], env={"COLUMNS": str(width)})
    assert shown.exit_code == 0
    return shown.output


def words_of_help(command: tuple[str, ...], width: int) -> set[str]:
    return {word.strip("│╭╮╰╯─") for word in help_of(command, width).split()}


@pytest.mark.parametrize(
    "name",
    [
        "concurrency",
        "executor",
        "grace",
        "poll",
        "lease",
        "heartbeat",
        "crash_limit",
        "patience",
        "wait_for_db",
    ],
)
def test_the_help_of_pgq_work_shows_the_default_of_each_option(name):
    [line] = [
        line for line in help_of(("work",), 400).splitlines() if f" --{name.replace('_', '-')} " in line
    ]
    default = getattr(WorkerSettings(queues={"default": None}), name)
    assert f"[default: {default if isinstance(default, str) else f'{default:g}'}]" in line


@pytest.mark.parametrize("command", [*commands(built())], ids=lambda words: "-".join(words) or "pgq")
def test_help_breaks_no_word_in_80_columns(command: tuple[str, ...]) -> None:
    """In 80 columns, the column of names can be cut after the first name of an option (``,…``). This is allowed if the description contains the second name."""
    broken = words_of_help(command, 80) - words_of_help(command, 400)
    assert not {word for word in broken if not word.endswith(",…")}


def run_main(monkeypatch, capsys, *words: str) -> tuple[object, str, str]:
    monkeypatch.setattr(sys, "argv", ["pgq", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "said", "do"),
    [
        ("jobs rerun 7", "No such command 'rerun'", "pgq jobs revive"), ("worker", "No such command 'worker'", "pgq work"),
        ("jobs shw 7", "Did you mean 'show'", "pgq jobs --help"), ("nothing", "No such command 'nothing'", "pgq --help"),
        ("jobs show abc", "Invalid value for 'ID'", "pgq jobs show --help"), ("jobs show", "Missing argument 'ID'", "pgq jobs show --help"),
        ("jobs cancel --colour red", "No such option: --colour", "pgq jobs cancel --help"),
        ("tasks list -A shop", "No such option: -A", "reads the database"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_of_usage_looks_like_every_other_error_and_says_what_to_run(monkeypatch, capsys, words, said, do, as_json):  # fmt: skip
    code, out, err = run_main(monkeypatch, capsys, *words.split(), *(["--json"] if as_json else []))
    assert (code, out) == (2, "")
    assert err.startswith('{"error": {"code": "PGQ-107"' if as_json else "PGQ-107  ")
    assert said in err
    assert do in err


def test_each_command_that_a_hint_suggests_exists_and_the_word_that_was_typed_is_no_command():
    def command(words: str) -> Any:
        found: Any = built()
        for word in words.split():
            found = found.commands.get(word) if found else None
        return found

    assert all(map(command, MEANT.values()))
    assert not any(map(command, MEANT))


def test_a_group_without_a_command_prints_its_help(monkeypatch, capsys):
    code, out, err = run_main(monkeypatch, capsys, "jobs")
    assert (code, err) == (2, "")
    assert "Usage: pgq jobs" in out


@pytest.mark.parametrize(
    ("line", "code"),
    [("@app.task(retry=[])", "PGQ-404"), ('@app.task(name="a b")', "PGQ-405"), ("1 / 0", "PGQ-301")],
)
def test_the_error_about_a_module_of_tasks_says_in_which_line_it_was_raised(
    tmp_path, monkeypatch, capsys, line, code
):
    """The line is in a module that the module of the app imports."""
    (tmp_path / "bad_tasks.py").write_text(f"from pgqueue import App\n\napp = App()\n{line}\ndef t(): ...\n")
    (tmp_path / "bad_app.py").write_text("from bad_tasks import app\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PgQueueError) as caught:
        load_app("bad_app")
    fail(caught.value)
    shown = capsys.readouterr().err
    assert caught.value.code == code
    assert f"{tmp_path / 'bad_tasks.py'}:4" in shown


def test_pgq_dev_says_what_it_does_before_each_step_that_takes_time(monkeypatch, tmp_path, capsys):
    said: list[str] = []

    def step(name: str, answer: Any = None) -> Callable[..., Any]:
        def call(*_: Any, **__: Any) -> Any:
            said.append(f"{name} after: {capsys.readouterr().err}")
            return answer

        return call

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(play, "find_dsn", lambda _: raise_no_dsn())
    monkeypatch.setattr(embedded, "default_data_dir", lambda: tmp_path / "none")
    monkeypatch.setattr(
        embedded, "acquire", step("start", nullcontext(SimpleNamespace(dsn="postgresql://here")))
    )
    monkeypatch.setattr(play.migrate, "upgrade", step("migrate"))
    monkeypatch.setattr(play, "connect", lambda *_, **__: nullcontext())
    monkeypatch.setattr(play.migrate, "check_server", lambda _: None)
    monkeypatch.setattr(play, "run", lambda *_: None)
    monkeypatch.setattr(play.origin.handed, "dsn", None)
    with play._server(None) as dsn:
        assert dsn == "postgresql://here"
    start, migrate = said
    assert "an embedded server starts" in start
    assert "first start takes some seconds" in start
    assert "schema     is created or upgraded" in migrate


def raise_no_dsn() -> None:
    raise NoDsnError("none")
