"""Finds the App and the tasks of a project: in the ``tasks`` modules of the installed apps, and in the modules of ``PGQUEUE["IMPORTS"]``.

Only a task that the project's code declares can run. No module is imported and no function is called because a row of the database names it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.utils.module_loading import autodiscover_modules, import_string

from pgqueue.app.app import App
from pgqueue.errors import AppImportError, InvalidSettingError
from pgqueue.integrations.django import conf
from pgqueue.integrations.django.tasks.declared import declare_all
from pgqueue.text.values import shown


def named_app() -> App:
    """Returns the App that the settings name, or else that of ``project.py``. Raises AppImportError or InvalidSettingError."""
    path = conf.app_path()
    module, colon, attribute = path.partition(":")
    if not colon or not attribute:
        raise InvalidSettingError(f'PGQUEUE["APP"] is {shown(path)}.', do='write it as "shop.jobs:app"')
    try:
        found: Any = import_string(f"{module}.{attribute}")
    except ImportError as error:
        raise AppImportError(
            f'PGQUEUE["APP"] is {path!r}, which cannot be imported.', why=str(error)
        ) from error
    if not isinstance(found, App):
        raise AppImportError(f'PGQUEUE["APP"] is {path!r}, which is {shown(found)} and no App.')
    return found


def project_app() -> App:
    """Imports all modules that declare tasks. Returns the App with these tasks, among them those of the Tasks framework."""
    found = named_app()
    autodiscover_modules("tasks")
    for module in conf.given().get("IMPORTS", ()):
        import_module(module)
    declare_all(found)
    return found
