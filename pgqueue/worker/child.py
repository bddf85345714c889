"""``python -m pgqueue.worker.child module:app``: runs one attempt after the other for its parent, then dies with it."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import sys
import threading
from typing import BinaryIO

from pgqueue.app import App
from pgqueue.chunk import ChunkSpec
from pgqueue.loading import load_app
from pgqueue.telemetry import is_traced
from pgqueue.worker.attempt import Attempt, perform
from pgqueue.worker.children import encode
from pgqueue.worker.chunk_calls import Chunk, perform_chunk
from pgqueue.worker.handlers import handlers


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
    specs = handlers(app)
    with asyncio.Runner() as runner:
        while True:
            request = json.loads(requests.get())
            attempts = [Attempt(request["worker_id"], row) for row in request["rows"]]
            spec = specs[attempts[0].task]
            if isinstance(spec, ChunkSpec):
                outcomes = perform_chunk(spec, Chunk(attempts), app, runner, traced=traced)
            else:
                outcomes = [perform(spec, attempts[0], app, runner, traced=traced)]
            answers.write(b"".join(encode(*ended) for ended in zip(attempts, outcomes, strict=True)))


def _read(requests: queue.SimpleQueue[bytes]) -> None:
    """Ends this process, whatever its handler does, when the parent is gone."""
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
