"""The settings of a worker for one app."""

from __future__ import annotations

from collections.abc import Callable

from pgqueue.app.app import App
from pgqueue.config import WorkerSettings, worker_sources
from pgqueue.model.setting import read_given
from pgqueue.worker.claiming.served_queues import parse_queues


def settings_for(app: App, **flags: object) -> WorkerSettings:
    """Returns the settings of a worker. Each of them comes from the flags, the environment or pyproject.toml, or else is the default.

    Raises InvalidSettingError if a setting is wrong.
    """
    given = worker_sources(flags | {"queues": flags.get("queues") or None})
    values = read_given(WorkerSettings, given)
    where = "-Q" if flags.get("queues") else given["queues"][1] if "queues" in given else ""
    text = str(values.pop("queues", ""))
    queues = (
        parse_queues(text, where)
        if text
        else dict.fromkeys(sorted({task.spec.queue for task in app.tasks.values()} | {"default"}))
    )
    make: Callable[..., WorkerSettings] = WorkerSettings
    return make(queues=queues, **values)
