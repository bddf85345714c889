"""``python -m pgqueue.worker.child module:app``: runs one attempt, or chunk, after the other for its parent, then dies with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import sys
import threading
import time
from typing import Any, BinaryIO

from pgqueue.app import App
from pgqueue.chunk import ChunkSpec
from pgqueue.clock import server_time
from pgqueue.loading import load_app
from pgqueue.progress import Report
from pgqueue.telemetry import is_traced
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.calls import perform
from pgqueue.worker.children import encode, encode_report
from pgqueue.worker.chunk_calls import Chunk, perform_chunk
from pgqueue.worker.handlers import handlers

EVERY = 0.5  # seconds between two reports of progress to the parent, which writes one a second


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a handler prints must not mix with the answers
    app = load_app(sys.argv[1])
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    reporter = Reporter(answers)
    threading.Thread(target=_read, args=(requests, reporter), daemon=True).start()
    try:
        perform_all(app, requests, reporter, answers)
    except BrokenPipeError:  # the parent is gone, and nobody is left to tell
        os._exit(0)


def perform_all(
    app: App, requests: queue.SimpleQueue[dict[str, Any]], reporter: Reporter, answers: BinaryIO
) -> None:
    specs = handlers(app)
    traced = is_traced()
    answers.write(b"ready\n")
    with asyncio.Runner() as runner:
        while True:
            request = requests.get()
            server_time.tell(request["now"])
            attempts = [ReportingAttempt(request["worker_id"], row) for row in request["rows"]]
            reporter.begin(attempts)
            spec = specs[attempts[0].task]
            if isinstance(spec, ChunkSpec):
                outcomes = perform_chunk(spec, Chunk(list(attempts)), app, runner, traced=traced)
            else:
                outcomes = [perform(spec, attempts[0], app, runner, traced=traced)]
            with reporter.lock:
                reporter.attempts = {}
                answers.write(b"".join(encode(*ended) for ended in zip(attempts, outcomes, strict=True)))


class Reporter:
    """Tells the parent now and then how far the attempts have come, from a thread that begins with the first report.

    What the parent tells meanwhile is that one of a chunk has ended: it is noted on the attempt.
    """

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self.lock = threading.Lock()  # of the answers, and of which attempts they are about
        self.attempts: dict[int, ReportingAttempt] = {}
        self._ended: dict[int, list[str]] = {}
        self._thread: threading.Thread | None = None
        self._noted = threading.Event()

    def begin(self, attempts: list[ReportingAttempt]) -> None:
        with self.lock:
            for attempt in attempts:
                attempt.reporter = self
            self.attempts = {attempt.id: attempt for attempt in attempts}
            for job_id, ends in self._ended.items():
                self._mark(job_id, ends)

    def hear(self, said: dict[str, Any]) -> None:
        """Called by the thread that reads; ``said`` may be about a call that has not begun yet, or is just over."""
        with self.lock:
            self._ended[said["id"]] = said["ended"]
            self._mark(said["id"], said["ended"])

    def forget(self) -> None:
        """The next request has come, so the former call is over."""
        with self.lock:
            self._ended = {}

    def _mark(self, job_id: int, ends: list[str]) -> None:
        if job_id in self.attempts:
            for end in ends:
                setattr(self.attempts[job_id], end, True)

    def note(self, attempt: Attempt) -> None:
        if self.attempts.get(attempt.id) is not attempt:
            return  # from a thread that its handler left behind
        self._noted.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._tell, daemon=True)
            self._thread.start()

    def _tell(self) -> None:
        while self._noted.wait():
            self._noted.clear()
            with self.lock, contextlib.suppress(OSError):
                for attempt in self.attempts.values():
                    if attempt.report is not None and attempt.report is not attempt.told:
                        attempt.told = attempt.report
                        self._answers.write(encode_report(attempt))
            time.sleep(EVERY)


class ReportingAttempt(Attempt):
    __slots__ = ("reporter", "told")
    reporter: Reporter

    def __init__(self, worker_id: int, row: Any) -> None:
        super().__init__(worker_id, row)
        self.told: Report | None = None

    def note(self, report: Report) -> None:
        super().note(report)
        self.reporter.note(self)


def _read(requests: queue.SimpleQueue[dict[str, Any]], reporter: Reporter) -> None:
    """Ends this process, whatever its handler does, when the parent is gone."""
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "ended" in request:
            reporter.hear(request)
        else:
            reporter.forget()
            requests.put(request)
    os._exit(0)


if __name__ == "__main__":
    main()
