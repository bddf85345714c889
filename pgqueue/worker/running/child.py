"""``python -m pgqueue.worker.running.child module:app FD LEVEL FORMAT KEEP``: runs attempts or chunks for a worker, one after the other.

The worker is the parent of this process, and FD is a socket to it. When the parent ends, this process ends. If a handler starts a program,
the program does not inherit the socket. LEVEL is the level of the log, or 0 if the command line did not set one.
FORMAT is the format of the log lines. KEEP is 1 if the worker has the setting ``keep_logs``, else 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import locale
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future

from pgqueue.app.app import App
from pgqueue.app.loading import load_app
from pgqueue.errors import LeaseLostError
from pgqueue.model.chunk import ChunkSpec
from pgqueue.model.progress import Progress
from pgqueue.model.steps import Checkpoint, Question
from pgqueue.runtime import origin
from pgqueue.runtime.clock import server_time
from pgqueue.sql import JsonObject, Row
from pgqueue.telemetry import log_output
from pgqueue.telemetry.tracing import is_traced
from pgqueue.text.described import describe
from pgqueue.worker import forked
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.job_lines import Line, LineBuffer, kept_lines, usual_level
from pgqueue.worker.running import child_messages
from pgqueue.worker.running.call import perform
from pgqueue.worker.running.chunk_call import Chunk, perform_chunk
from pgqueue.worker.running.hook_tasks import handlers

LINES_AT_ONCE = 1_000
EVERY = 0.5  # seconds between two messages of progress to the parent, which writes progress to the database once a second


def main() -> None:
    ignore_stops()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, forked.STOPS)
    parent = Parent(int(sys.argv[2]))
    try:
        app = load_app(sys.argv[1])
        app._dsn = origin.handed.dsn or app._dsn  # noqa: SLF001 - our own command line
    except BaseException as error:  # noqa: BLE001 - the parent reports it
        parent.send(describe(error).replace("\n", " ").encode() + b"\n")
        sys.exit(1)
    log_output.choose(int(sys.argv[3]) or None)
    log_output.choose_format(sys.argv[4])
    log_output.set_up()
    ignore_stops()  # again, because the import of the app can have changed the handling of signals
    forked.begin()
    requests: queue.SimpleQueue[JsonObject] = queue.SimpleQueue()
    sender = ProgressSender(parent)
    threading.Thread(target=_read, args=(parent, requests, sender), daemon=True).start()
    with kept_lines(app, usual_level(keep_logs=sys.argv[5] == "1")):
        perform_all(app, requests, sender, parent)


def ignore_stops() -> None:
    """Ignores SIGTERM and SIGINT, because the worker handles them and then ends this process.

    This does not use SIG_IGN, because programs that a handler starts would inherit it.
    """
    for number in forked.STOPS:
        signal.signal(number, lambda *_: None)


class Parent:
    """The socket to the parent. When the parent ends, this process ends, and so do all processes that its handlers have started."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.set_inheritable(False)
        self._ends = forked.Ends(self._socket)

    def send(self, message: bytes) -> None:
        try:
            self._socket.sendall(message)
        except OSError:
            die()

    def lines(self) -> Iterator[bytes]:
        parts: list[bytes] = []  # the parts of the line that has not ended yet; a line can be very long
        with contextlib.suppress(OSError):
            while heard := self._socket.recv(65_536):
                first, *more = heard.split(b"\n")
                parts.append(first)
                for part in more:
                    yield b"".join(parts)
                    parts = [part]


def die() -> None:
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def perform_all(
    app: App, requests: queue.SimpleQueue[JsonObject], sender: ProgressSender, parent: Parent
) -> None:
    specs = handlers(app)
    traced = is_traced()
    usual = locale.setlocale(locale.LC_ALL)
    parent.send(child_messages.READY)
    with asyncio.Runner() as runner:
        while True:
            request = requests.get()
            server_time.tell(request["now"])
            attempts = [ChildsAttempt(request["worker_id"], row) for row in request["rows"]]
            sender.begin(attempts)
            spec = specs[attempts[0].task]
            if isinstance(spec, ChunkSpec):
                conclusions = perform_chunk(spec, Chunk(list(attempts)), app, runner, traced=traced)
            else:
                conclusions = [perform(spec, attempts[0], app, runner, traced=traced)]
            if forked.astray:
                forked.leave()
            # A handler can change the locale, which belongs to the whole process. So the locale is set back before the next job.
            if locale.setlocale(locale.LC_ALL) != usual:
                locale.setlocale(locale.LC_ALL, usual)
            sender.send_lines()
            with sender.lock:
                sender.attempts = {}
                for attempt in attempts:
                    attempt.keeper = None  # as in Runner._finish
                ended = zip(attempts, conclusions, strict=True)
                parent.send(b"".join(child_messages.conclusion(*one) for one in ended))


class ProgressSender:
    """Sends the progress of the attempts to the parent, on a thread that starts when a handler first reports progress.

    During a call, the parent can report that one attempt of a chunk has ended. This class then ends that attempt in this process, too.
    """

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self.lock = threading.Lock()  # guards ``attempts``, ``_ended`` and the messages about these attempts
        self.attempts: dict[int, ChildsAttempt] = {}
        self._ended: dict[
            int, JsonObject
        ] = {}  # the parent's messages about endings during this call, by job id
        self._thread: threading.Thread | None = None
        self._noted = threading.Event()
        self.questions = Questions(self)

    def begin(self, attempts: list[ChildsAttempt]) -> None:
        with self.lock:
            for attempt in attempts:
                attempt.sender, attempt.keeper = self, self.questions
            self.attempts = {attempt.id: attempt for attempt in attempts}
            for said in self._ended.values():
                self._mark(said)

    def send(self, attempt: Attempt, message: bytes) -> bool:
        """Sends a message about an attempt. Returns False, and sends nothing, if the call of the attempt is over."""
        with self.lock:
            is_going = self.attempts.get(attempt.id) is attempt
            if is_going:
                self._parent.send(message)
        return is_going

    def note_ending(self, said: JsonObject) -> None:
        """Called by the thread that reads messages. ``said`` can be about a call that has not begun yet, or that has just ended."""
        with self.lock:
            self._ended[said["id"]] = said
            self._mark(said)

    def forget(self) -> None:
        """Called when the next request has come.

        The former call is over by then, so the messages about its endings are no longer needed.
        """
        with self.lock:
            self._ended = {}

    def _mark(self, said: JsonObject) -> None:
        if said["id"] in self.attempts:
            child_messages.note_ending(said, self.attempts[said["id"]])

    def note_progress(self, attempt: Attempt) -> None:
        if self.attempts.get(attempt.id) is not attempt:
            return  # the call of this attempt is over, but a thread that its handler started still reports progress
        self._noted.set()
        self._begin_thread()

    def _begin_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._send, daemon=True)
            self._thread.start()

    def note_line(self) -> None:
        """Called when a line was kept. The thread sends it."""
        self._noted.set()
        self._begin_thread()

    def send_lines(self) -> None:
        with self.lock:
            while self.attempts and (kept := self.questions.lines.take(LINES_AT_ONCE)):
                self._parent.send(child_messages.lines(next(iter(self.attempts)), kept))

    def _send(self) -> None:
        while self._noted.wait():
            self._noted.clear()
            self.send_lines()
            with self.lock:
                for attempt in self.attempts.values():
                    if attempt.progress is not None and attempt.progress is not attempt.sent_progress:
                        attempt.sent_progress = attempt.progress
                        self._parent.send(child_messages.progress(attempt))
            time.sleep(EVERY)


class SentLines(LineBuffer):
    """The kept log lines of the attempts in this process, which are sent to the parent."""

    def __init__(self, sender: ProgressSender) -> None:
        super().__init__()
        self._sender = sender

    def add(self, lines: Iterable[Line]) -> None:
        super().add(lines)
        self._sender.note_line()


class Questions:
    """Passes the questions about checkpoints from a child process to its parent. Threads and event loops can ask at the same time."""

    def __init__(self, sender: ProgressSender) -> None:
        self._sender = sender
        self._numbers = itertools.count()
        self._open: dict[int, Future[list[Checkpoint]]] = {}
        self.lines = SentLines(sender)

    def ask(self, attempt: Attempt, question: Question) -> Future[list[Checkpoint]]:
        number = next(self._numbers)
        future = self._open[number] = Future[list[Checkpoint]]()
        if not self._sender.send(attempt, child_messages.question(attempt, number, question)):
            del self._open[number]
            future.set_exception(LeaseLostError(attempt.id, attempt.lease_id))
        return future

    async def aask(self, attempt: Attempt, question: Question) -> list[Checkpoint]:
        return await asyncio.wrap_future(self.ask(attempt, question))

    def note_answer(self, said: JsonObject) -> None:
        """Called by the thread that reads messages."""
        future = self._open.pop(said["answer"], None)
        if future is None or not future.set_running_or_notify_cancel():
            return
        found = child_messages.answered(said)
        if isinstance(found, Exception):
            future.set_exception(found)
        else:
            future.set_result(found)


class ChildsAttempt(Attempt):
    __slots__ = ("sender", "sent_progress")
    sender: ProgressSender

    def __init__(self, worker_id: int, row: Row) -> None:
        super().__init__(worker_id, row)
        self.sent_progress: Progress | None = None

    def note_progress(self, progress: Progress) -> None:
        super().note_progress(progress)
        self.sender.note_progress(self)

    def note_checkpoint(self) -> None:
        """Also reports the checkpoint to the parent, because the parent decides the outcome if this process dies."""
        super().note_checkpoint()
        self.sender.send(self, child_messages.checkpointed(self, certain=True))

    def doubt_checkpoint(self) -> None:
        """Also reports the doubt to the parent, because the parent asks the database if this process dies."""
        super().doubt_checkpoint()
        self.sender.send(self, child_messages.checkpointed(self, certain=False))


def _read(parent: Parent, requests: queue.SimpleQueue[JsonObject], sender: ProgressSender) -> None:
    """Reads the messages of the parent. When the parent has ended, ends this process, even if a handler runs."""
    for line in parent.lines():
        request = child_messages.decoded(line)
        if "ending" in request:
            sender.note_ending(request)
        elif "answer" in request:
            sender.questions.note_answer(request)
        else:
            sender.forget()
            requests.put(request)
    die()


if __name__ == "__main__":
    main()
