"""``python -m pgqueue.worker.child module:app``: runs one attempt after the other for its parent, then dies with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import sys
import threading
import time
from typing import BinaryIO

from pgqueue.app import App, load_app
from pgqueue.progress import Report
from pgqueue.telemetry import is_traced
from pgqueue.worker.attempt import Attempt, perform
from pgqueue.worker.children import encode, encode_report

EVERY = 0.5  # seconds between two reports of progress to the parent, which writes one a second


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
    reporter = Reporter(answers)
    with asyncio.Runner() as runner:
        while True:
            request = json.loads(requests.get())
            attempt = ReportingAttempt(request["worker_id"], request["row"])
            attempt.reporter, reporter.attempt = reporter, attempt
            spec = app.tasks[attempt.task].spec
            outcome = perform(spec, attempt, app, runner, traced=traced)
            with reporter.lock:
                reporter.attempt = None
                answers.write(encode(attempt, outcome))


class Reporter:
    """Tells the parent now and then how far the attempt has come, from a thread that begins with the first report."""

    def __init__(self, answers: BinaryIO) -> None:
        self._answers = answers
        self.lock = threading.Lock()  # of the answers, and of which attempt they are about
        self.attempt: Attempt | None = None
        self._thread: threading.Thread | None = None
        self._noted = threading.Event()

    def note(self, attempt: Attempt) -> None:
        if attempt is not self.attempt:
            return  # from a thread that its handler left behind
        self._noted.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._tell, daemon=True)
            self._thread.start()

    def _tell(self) -> None:
        while self._noted.wait():
            self._noted.clear()
            with self.lock, contextlib.suppress(OSError):
                report = None if self.attempt is None else self.attempt.report
                if report is not None:
                    self._answers.write(encode_report(report))
            time.sleep(EVERY)


class ReportingAttempt(Attempt):
    __slots__ = ("reporter",)
    reporter: Reporter

    def note(self, report: Report) -> None:
        super().note(report)
        self.reporter.note(self)


def _read(requests: queue.SimpleQueue[bytes]) -> None:
    """Ends this process, whatever its handler does, when the parent is gone."""
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
