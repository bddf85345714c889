"""A task whose version comes from the environment, as if each value were a deploy of other code."""

from __future__ import annotations

import os

from pgqueue import App, Job
from tests.apps.step_functions import note

PATH = "tests.apps.versioned_tasks:app"
VERSION, ACCEPTS = "TEST_VERSION", "TEST_ACCEPTS"  # such as "4" and "3,4"


def make_app() -> App:
    text, accepts = os.environ.get(VERSION), os.environ.get(ACCEPTS)
    version = int(text) if text else None
    app = App(name="versioned", version=f"build {text}" if text else None)

    @app.task(
        name="order",
        version=version,
        accepts=[int(one) for one in accepts.split(",")] if accepts else None,
        retry=[3600],
    )
    def order(job: Job, *, by_version: bool = False) -> None:
        """Takes a step, and then fails in version 3. If ``by_version``, each version calls the step with another argument."""
        paid = job.step("pay", pay, version if by_version else 0)
        note("paid by", paid, "version of the job", job.version)
        if version == 3:
            raise ValueError("version 3 does not come further")

    return app


def pay(argument: int | None) -> str | None:
    note("pays", argument)
    return os.environ.get(VERSION)


app = make_app()
