"""Finds the App that ``-A module:attribute`` names."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from pgqueue.app.app import App
from pgqueue.config import working_folder
from pgqueue.errors import AppImportError, NoTasksError, PgQueueError
from pgqueue.text.nearest import guess

PACKAGE = Path(__file__).parents[1]


def load_app(path: str) -> App:
    """Returns the App that ``module:attribute`` names. If ``path`` is only a module, returns the only App of that module.

    Modules in the current directory can be imported.

    Raises NoTasksError, or AppImportError, which shows the line of the user's code that failed.
    """
    module_name, _, attribute = path.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")) or module_name.endswith(".py"):
        raise AppImportError(
            f"-A {path!r} names no module.",
            why="write the module as in an import statement: names with dots between them",
            do=_instead(module_name, attribute),
        )
    here = working_folder()
    if here and str(here) not in sys.path:
        sys.path.insert(0, str(here))
    try:
        module = importlib.import_module(module_name)
    except PgQueueError as error:
        if line := _line_of(error):
            error.facts["at"] = line
        raise
    except (Exception, SystemExit) as error:
        raise _import_error(path, module_name, error) from error
    if attribute:
        found: object = module
        for part in attribute.split("."):
            found = getattr(found, part, None)
        apps = [found] if isinstance(found, App) else []
    else:
        apps = list({id(value): value for value in vars(module).values() if isinstance(value, App)}.values())
    if len(apps) != 1:
        names = [name for name, value in vars(module).items() if isinstance(value, App)]
        raise AppImportError(
            f"{path!r} names no App." if not apps else f"{module_name} contains {len(apps)} Apps.",
            do=f"use -A {module_name}:{names[0]}"
            if names
            else f"make an App in {module_name}: app = pgqueue.App()",
        )
    if not apps[0].tasks:
        raise NoTasksError(
            f"The App of {path!r} has no tasks.",
            do=f"declare a task with @app.task, in {module_name} or in a module that {module_name} imports",
        )
    return apps[0]


def _instead(module_name: str, attribute: str) -> str:
    """Returns what to write instead of the path of a file or a folder."""
    here = working_folder()
    if here is None:
        return "write it as -A module:app"
    file = here / module_name.strip()
    file = file.with_suffix("") if file.suffix == ".py" else file
    file = Path(os.path.normpath(file))
    folder = here if file.is_relative_to(here) else file.parent
    parts = file.relative_to(folder).parts
    if not parts or not all(part.isidentifier() for part in parts):
        return "write it as -A module:app"
    where = "" if folder == here else f"run this in {folder}, and "
    return f"{where}use -A {'.'.join(parts)}{':' if attribute else ''}{attribute}"


def _import_error(path: str, module_name: str, error: BaseException) -> AppImportError:
    if isinstance(error, ModuleNotFoundError) and error.name and module_name.startswith(error.name):
        here = working_folder()
        near = [entry.stem for entry in here.glob("*.py")] if here else []
        near += [entry.parent.name for entry in here.glob("*/__init__.py")] if here else []
        return AppImportError(
            f"There is no module {error.name!r} (of -A {path!r}).",
            why=f"looked in {here or 'no folder, because the working folder is gone,'} and in the installed packages",
            do=guess(
                module_name.split(".", maxsplit=1)[0],
                near,
                "run this in the folder of the module, or install it",
            ),
        )
    shown = _line_of(error)
    return AppImportError(
        f"Importing {module_name!r} failed: {type(error).__name__}: {error}",
        why=f"at {shown}" if shown else "",
    )


def _line_of(error: BaseException) -> str:
    """Returns the innermost line of the traceback that is not in pgqueue or in generated code, as ``file:line``. Empty: there is no such line."""
    line = ""
    frame = error.__traceback__
    while frame is not None:
        file = frame.tb_frame.f_code.co_filename
        if not file.startswith("<") and not Path(file).is_relative_to(PACKAGE):
            line = f"{file}:{frame.tb_lineno}"
        frame = frame.tb_next
    return line
