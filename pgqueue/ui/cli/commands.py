"""Adds commands to the root command, ``pgq``: only the one that is called, because to import and to build all of them takes 0.4 s."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from types import ModuleType

import typer

from pgqueue.ui.cli.common import cli

# The module of each command. Its function ``add`` adds the command to the root command.
MODULES = {
    "work": "work", "dev": "play", "demo": "play", "enqueue": "enqueue", "migrate": "schema", "doctor": "doctor", "why": "why",
    "stats": "stats", "metrics": "metrics", "web": "web", "top": "top", "bench": "bench", "mcp": "mcp", "explain": "explain",
    "adopt": "adopt",
}  # fmt: skip
# The modules that have a group of commands of the same name.
GROUPS = (
    "jobs", "batches", "limits", "queues", "workers", "workflows", "tasks", "cron", "alerts", "audit", "errors", "events", "api", "db",
    "health", "config",
)  # fmt: skip
# Further modules with commands of the group `pgq jobs`.
OF_JOBS = ("changes", "carrying", "edit", "signal", "steps", "replay", "wait")
# Short names of commands of `pgq jobs`: the module and the function.
SHORT = {"ls": ("jobs", "list_jobs"), "cancel": ("changes", "cancel"), "revive": ("changes", "revive")}
NAMES = (*MODULES, *SHORT, *GROUPS)

_added: set[str] = set()  # modules, groups and short names


def root(words: Iterable[str] = ()) -> typer.Typer:
    """Returns the root command with the command that the words of a command line call, or else with all commands."""
    called = next((word for word in words if not word.startswith("-")), None)
    for name in [called] if called in NAMES else NAMES:
        _add(name)
    return cli


def _add(name: str) -> None:
    what = MODULES.get(name, name)
    if what in _added:
        return
    _added.add(what)
    if name in SHORT:
        module, function = SHORT[name]
        cli.command(name)(getattr(_module(module), function))
    elif name in GROUPS:
        group = _module(name).commands
        for part in OF_JOBS if name == "jobs" else ():
            _module(part).add(group)
        cli.add_typer(group, name=name)
    else:
        _module(what).add(cli)


def _module(name: str) -> ModuleType:
    return import_module(f"pgqueue.ui.cli.{name}")
