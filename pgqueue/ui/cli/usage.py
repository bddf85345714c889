"""Turns typer's errors about a wrong command line into errors of pgqueue. Some errors name the command that the user probably means."""

from __future__ import annotations

import re
from typing import Protocol, TypeGuard

from pgqueue.errors import InvalidSettingError

# The keys are names that commands had before, or that commands of other tools have. The values are today's names of the commands.
MEANT = {
    "check": "doctor", "init": "migrate", "jobs get": "jobs show",
    "jobs info": "jobs show", "jobs kill": "jobs cancel", "jobs ls": "jobs list", "jobs remove": "jobs delete", "jobs requeue": "jobs revive",
    "jobs rerun": "jobs revive", "jobs stop": "jobs cancel", "list": "ls", "delete": "jobs delete", "retry": "revive",
    "run": "work", "schedules": "cron list", "show": "jobs show", "start": "work", "status": "doctor",
    "upgrade": "migrate", "wait": "jobs wait", "worker": "work",
}  # fmt: skip


class Context(Protocol):
    """The attributes of typer's context that this module reads. They tell the place of a command in the tree of commands."""

    info_name: str | None
    parent: Context | None
    command_path: str

    def get_help(self) -> str: ...


class UsageError(Protocol):
    """The attributes of typer's errors that this module reads.

    The classes of the errors are not imported, because it depends on typer's version whether they belong to click or to typer.
    """

    ctx: Context | None

    def format_message(self) -> str: ...


def is_usage_error(error: object) -> TypeGuard[UsageError]:
    """Returns whether the error is typer's error about a command line that typer cannot read."""
    return hasattr(error, "format_message")


def help_instead(error: UsageError) -> str | None:
    """Returns the help of a group of commands, if the command line names no command of the group. Otherwise returns None."""
    return error.ctx.get_help() if type(error).__name__ == "NoArgsIsHelpError" and error.ctx else None


def explained(error: UsageError) -> InvalidSettingError:
    """Returns an error that says what is wrong with the command line, and which command to run."""
    context = getattr(error, "ctx", None)
    text = " ".join(error.format_message().split())
    return InvalidSettingError(text if text.endswith((".", "?")) else f"{text}.", do=_advice(text, context))


def _advice(text: str, context: Context | None) -> str:
    if re.match(r"No such option: (-A|--app)\b", text):
        return "leave -A out, because this command reads the database and not the code of an app"
    unknown = re.match(r"No such command '([^']+)'", text)
    meant = MEANT.get(" ".join([*_path(context), unknown[1]])) if unknown else None
    return f"pgq {meant}" if meant else f"{'pgq' if context is None else context.command_path} --help"


def _path(context: Context | None) -> list[str]:
    """Returns the names of the command and of its groups, without the root command."""
    if context is None or context.parent is None:
        return []
    return [*_path(context.parent), context.info_name or ""]
