"""``pgq config``: the settings that apply here, and where each of them comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import NamedTuple

import typer

from pgqueue.config import (
    FILE_KEYS,
    SETTINGS,
    SHOW_SETTINGS,
    WorkerSettings,
    found_file,
    read_file,
    worker_sources,
    working_folder,
)
from pgqueue.database.dsn import DSN_SOURCES, find_dsn, redact
from pgqueue.errors import CheckFailedError, NoDsnError, PgQueueError
from pgqueue.maintenance.alerting.settings import TABLE, AlertSettings, find_alerts
from pgqueue.model.setting import SECRET, Given, Setting, read_given, settings_of
from pgqueue.runtime import origin
from pgqueue.text.nearest import guess, nearest
from pgqueue.text.shown import visible
from pgqueue.ui.cli.common import AppPath, AsJson, Dsn
from pgqueue.ui.cli.options import with_settings
from pgqueue.ui.cli.output import emit, emit_items, tell
from pgqueue.ui.cli.tables import table

ALERTS = settings_of(AlertSettings)
MASK = "********"
DEFAULT = "default"
ALIKE = (
    0.85  # how alike a mistyped name and the right one are at least: 0 means nothing in common, 1 means equal
)
# Variables of the environment that are no settings of a worker. All others that begin with PGQUEUE_ are those of SETTINGS and of alerts.
OTHERS = (
    "PGQUEUE_APP",
    "PGQUEUE_DSN",
    "PGQUEUE_REDACT",
    "PGQUEUE_TRACEBACK",
    "PGQUEUE_SHOW_VALUES",
    "PGQUEUE_EMBEDDED_DIR",
)

commands = typer.Typer(help="The settings that apply here.", no_args_is_help=True)


class Value(NamedTuple):
    setting: str
    value: object
    origin: str


@commands.command("show")
@with_settings()
def show(
    app: AppPath = None,
    origins: bool = typer.Option(False, "--origin", help="Show where each value comes from, too."),
    as_json: AsJson = False,
    dsn: Dsn = None,
    **flags: object,
) -> None:
    """Show each setting. With the same flags as `pgq work`, shows what that worker would use. Secrets are masked."""
    values = [_app(app), _dsn(dsn), *_worker(flags), *_of_others()]
    if as_json:
        emit_items([one._asdict() for one in values])
        return
    if origins:
        table(
            ("setting", "value", "origin"),
            [(one.setting, _text(one.value), one.origin) for one in values],
            empty="",
        )
        return
    table(("setting", "value"), [(one.setting, _text(one.value)) for one in values], empty="")


@commands.command("path")
def path(as_json: AsJson = False) -> None:
    """Print the path of the pyproject.toml that is read. Exit code 7: there is none with settings of pgqueue."""
    found = found_file()
    if found is None or not found[1]:
        folder = working_folder()
        raise CheckFailedError(
            f"No pyproject.toml with [tool.pgqueue] is in {folder} or above it.",
            do="write the table, or use flags and the environment",
        )
    if as_json:
        emit({"path": str(found[0])})
    else:
        tell(found[0])


@commands.command("validate")
def validate(as_json: AsJson = False) -> None:
    """Check the file and the environment, and list everything that is wrong. Exit code 7: something is."""
    problems = list(_problems())
    if as_json:
        emit({"ok": not problems, "problems": problems})
        raise typer.Exit(7 if problems else 0)
    for problem in problems:
        tell(problem)
    if problems:
        raise CheckFailedError(
            f"{len(problems)} of the settings are wrong." if len(problems) > 1 else "A setting is wrong."
        )
    tell("ok")


# ---------------------------------------------------------------- values


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:.15g}" if isinstance(value, float) else str(value)


def _whole_origin(where: str) -> str:
    """Returns where a value comes from, with the path of the file."""
    found = found_file() if "[tool.pgqueue" in where else None
    return where if found is None else f"{where} of {found[0]}"


def _app(given: str | None) -> Value:
    in_file = read_file().get("app")
    for value, where in (
        (given, "--app"),
        (os.environ.get("PGQUEUE_APP"), "PGQUEUE_APP"),
        (in_file, "app in [tool.pgqueue]"),
    ):
        if value:
            return Value("app", str(value), _whole_origin(where))
    return Value("app", None, "not set")


def _dsn(given: str | None) -> Value:
    places = (
        given or origin.handed.dsn,
        os.environ.get("PGQUEUE_DSN"),
        os.environ.get("DATABASE_URL"),
        read_file().get("dsn"),
    )
    try:
        shown = redact(find_dsn(given))
    except NoDsnError:
        return Value("dsn", None, "not set")
    where = next((name for name, value in zip(DSN_SOURCES, places, strict=False) if value), DSN_SOURCES[-1])
    return Value("dsn", shown, _whole_origin(where))


def _worker(flags: dict[str, object]) -> list[Value]:
    given = worker_sources({**flags, "queues": flags.get("queues") or None})
    return _values(SETTINGS, given, read_given(WorkerSettings, given))


def _of_others() -> list[Value]:
    """Returns what alerts use, and the names whose values are masked."""
    file = read_file()
    alerts = find_alerts(file)
    in_file = file.get("alerts", {})
    found: list[Value] = []
    for name in ALERTS:
        variable = f"PGQUEUE_ALERTS_{name.upper()}"
        where = (
            variable
            if os.environ.get(variable)
            else f"{name} in {TABLE}"
            if name in (in_file if isinstance(in_file, dict) else {})
            else ""
        )
        found.append(_shown(ALERTS[name], f"alerts.{name}", getattr(alerts, name), where))
    for name in SHOW_SETTINGS:
        variable = f"PGQUEUE_{name.upper()}"
        where = variable if variable in os.environ else f"{name} in [tool.pgqueue]" if name in file else ""
        found.append(
            Value(
                name,
                os.environ.get(variable) or file.get(name) or [],
                _whole_origin(where) if where else DEFAULT,
            )
        )
    return found


def _values(known: dict[str, Setting], given: Mapping[str, Given], read: dict[str, object]) -> list[Value]:
    return [
        _shown(said, name, read.get(name, said.default), given[name][1] if name in read else "")
        for name, said in known.items()
    ]


def _shown(said: Setting, name: str, value: object, where: str) -> Value:
    if said.kind is SECRET and value is not None:
        value = MASK
    if not where and not isinstance(value, (bool, int, float, str, tuple, type(None))):
        value = None  # the field has no default: its value comes from elsewhere
    return Value(name, value, _whole_origin(where) if where else DEFAULT)


# ---------------------------------------------------------------- problems


def _problems() -> list[str]:
    """Returns one sentence for each thing that is wrong."""
    try:
        found = found_file()
    except PgQueueError as error:
        return [_sentence(error)]
    problems: list[str] = []
    if found is not None:
        problems += _unknown(found[1], FILE_KEYS, f"[tool.pgqueue] of {found[0]}")
        alerts = found[1].get("alerts")
        if isinstance(alerts, dict):
            problems += _unknown(alerts, ALERTS, f"{TABLE} of {found[0]}")
    if not problems:
        problems += _wrong_values()
    return problems + _mistyped_variables()


def _unknown(table_: dict[str, object], known: object, where: str) -> list[str]:
    names = list(known) if isinstance(known, (tuple, dict)) else []
    return [
        f"{where} has an unknown key {visible(key)!r}: {guess(key, names, 'known keys: ' + ', '.join(names))}"
        for key in table_
        if key not in names
    ]


def _wrong_values() -> list[str]:
    problems: list[str] = []
    given = worker_sources({})
    for name in given:
        try:
            read_given(WorkerSettings, {name: given[name]})
        except PgQueueError as error:
            problems.append(_sentence(error))
    try:
        find_alerts(read_file())
    except PgQueueError as error:
        problems.append(_sentence(error))
    return problems


def _mistyped_variables() -> list[str]:
    known = [
        *OTHERS,
        *(said.variable for said in SETTINGS.values() if said.variable),
        *(f"PGQUEUE_ALERTS_{name.upper()}" for name in ALERTS),
    ]
    return [
        f"The environment has {visible(name)}, which is no setting: did you mean {near[0]}?"
        for name in sorted(os.environ)
        if name.startswith("PGQUEUE_")
        and name not in known
        and (near := nearest(name, known))
        and _looks_like(name, near[0])
    ]


def _looks_like(name: str, known: str) -> bool:
    """Returns whether this is probably a mistyped name. Other programs, such as Kubernetes, set variables that begin with PGQUEUE_, too."""
    return (
        SequenceMatcher(None, name.removeprefix("PGQUEUE_"), known.removeprefix("PGQUEUE_")).ratio() >= ALIKE
    )


def _sentence(error: PgQueueError) -> str:
    return " ".join(part for part in (error.what, error.do) if part)
