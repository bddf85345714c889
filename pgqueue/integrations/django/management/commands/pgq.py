"""``manage.py pgq …``: every command of ``pgq``, with the database and the app of the Django project."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from pgqueue.errors import PgQueueError
from pgqueue.integrations.django import conf
from pgqueue.runtime import origin
from pgqueue.ui import cli

OPTIONS = ("--settings", "--pythonpath")  # of manage.py, which has read them already
# These words run handlers, so the checks of the project come first.
RUN_HANDLERS = ("work", "dev")


class Command(BaseCommand):
    help = "Every command of pgq, with the database and the app of this project: manage.py pgq work"
    requires_system_checks: Sequence[str] = ()

    def run_from_argv(self, argv: list[str]) -> None:
        self.handle(words=without_options(argv[2:]))

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("words", nargs="*", help="the words after pgq, such as: jobs list --state dead")

    def handle(self, *_: object, words: Sequence[str] = (), **__: object) -> None:
        if words and words[0] in RUN_HANDLERS:
            self.check(tags=["pgqueue"])
        try:
            origin.handed.dsn = conf.dsn()
        except PgQueueError as error:
            raise CommandError(f"{error}") from error
        os.environ.setdefault("PGQUEUE_APP", conf.WORKER)
        _let_children_import()
        origin.ARGUMENTS = tuple(words)  # the processes of `work --processes` are started with these words
        sys.argv = ["pgq", *words]
        cli.main()


def without_options(words: Sequence[str]) -> list[str]:
    """Returns the words without the options of manage.py itself."""
    kept: list[str] = []
    is_value = False
    for word in words:
        if is_value:
            is_value = False
        elif word in OPTIONS:
            is_value = True
        elif not word.startswith(tuple(f"{option}=" for option in OPTIONS)):
            kept.append(word)
    return kept


def _let_children_import() -> None:
    """Lets child processes import the project's modules, too, if manage.py was not started in its own folder."""
    here = sys.path[0] if sys.path else ""
    if here and Path(here).is_dir() and Path(here).resolve() != Path.cwd():
        given = os.environ.get("PYTHONPATH", "")
        if here not in given.split(os.pathsep):
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, given)))
