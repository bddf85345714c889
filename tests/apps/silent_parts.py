"""An app whose worker has a part that stops turning: ``SILENT_PART`` names it, and the job ``silence`` makes it stop."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

from pgqueue import App
from pgqueue.worker.claiming.claimer import Claimer
from pgqueue.worker.health import of_worker
from pgqueue.worker.heartbeat import Heartbeat

app = App()
is_silent = threading.Event()
if "SILENT_PART" in os.environ:
    of_worker.CONNECTING = -10.5  # with a lease of 6 s, the claimer then counts as silent after 1.5 s


@app.task(name="silence")
def silence() -> str:
    is_silent.set()
    return os.environ.get("NOTIFY_SOCKET", "unset")


@app.task(name="nothing")
async def nothing() -> None: ...


@app.task(name="fork")
def fork() -> int:
    """Returns the pid of a forked process that lives on."""
    if (pid := os.fork()) == 0:
        time.sleep(600)
        os._exit(0)
    return pid


if os.environ.get("SILENT_PART") == "claimer":
    survey: Any = Claimer._survey

    async def survey_or_stop(self: Claimer) -> bool:
        if is_silent.is_set():
            self._wake_ups.note_turn()
            await asyncio.Event().wait()
        return await survey(self)

    Claimer._survey = survey_or_stop  # type: ignore[method-assign]

if os.environ.get("SILENT_PART") == "heartbeat":
    renew: Any = Heartbeat._renew

    def renew_or_stop(self: Heartbeat, life: Any, sent: float) -> bool:
        if is_silent.is_set():
            life.stopped.wait()
        return renew(self, life, sent)

    Heartbeat._renew = renew_or_stop  # type: ignore[method-assign]
