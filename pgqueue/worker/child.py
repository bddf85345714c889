"""``python -m pgqueue.worker.child module:app``: runs one attempt after the other for its parent, then dies with it."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import sys
import threading
from typing import BinaryIO

from pgqueue.app import App, load_app
from pgqueue.telemetry import is_traced
from pgqueue.worker.attempt import Attempt, perform
from pgqueue.worker.children import encode


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a handler prints must not mix with the answers
    app = load_app(sys.argv[1])
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    try:
        perform_all(app, requests, answers)
    except BrokenPipeError:  # the parent is gone, and nobody is left to tell
        os._exit(0)


def perform_all(app: App, requests: queue.SimpleQueue[bytes], answers: BinaryIO) -> None:
    answers.write(b"ready\n")
    traced = is_traced()
    with asyncio.Runner() as runner:
        while True:
            request = json.loads(requests.get())
            attempt = Attempt(request["worker_id"], request["row"])
            spec = app.tasks[attempt.task].spec
            answers.write(encode(attempt, perform(spec, attempt, app, runner, traced=traced)))


def _read(requests: queue.SimpleQueue[bytes]) -> None:
    """Ends this process, whatever its handler does, when the parent is gone."""
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
