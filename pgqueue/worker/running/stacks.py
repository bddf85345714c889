"""Returns the stacks of all threads and asyncio tasks of a worker as text, with the job that each of them runs.

Any thread can ask for them, so they can be had while a handler blocks the loop. No values are shown, only places in the code.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from pgqueue.runtime.services import hidden_tasks
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.running.call import _perform, perform_async
from pgqueue.worker.running.chunk_call import perform_chunk, perform_chunk_async
from pgqueue.worker.running.contexts import steps_in

FRAMES = 40  # of one stack; the innermost
MOST = 300  # threads, and the same number of tasks
LONE = dict.fromkeys((_perform.__code__, perform_async.__code__), "attempt")
OF_CHUNKS = {perform_chunk.__code__, perform_chunk_async.__code__}

Stack = list[FrameType]  # the outermost first


def stacks(loop: asyncio.AbstractEventLoop, attempts: Collection[Attempt]) -> str:
    """Returns one paragraph for each thread and task. Those that run jobs come first. At the end, lists jobs without a stack here."""
    seen: set[int] = set()
    parts: list[tuple[bool, str]] = []
    for head, frames in [*_of_threads(), *_of_tasks(loop)]:
        jobs = [attempt for frame in frames for attempt in _attempts(frame)]
        seen |= {attempt.id for attempt in jobs}
        beside = "".join(f"  runs {attempt!r}" for attempt in jobs[:10])
        parts.append((not jobs, f"{head}{beside}\n{_text(frames)}"))
    parts.sort(key=lambda part: part[0])
    text = [part for _, part in parts]
    if others := [attempt for attempt in list(attempts) if attempt.id not in seen]:
        text.append("without a stack here, because they wait for room or run in a child process:")
        text += [f"  {attempt!r}" for attempt in others[:MOST]]
    return "\n".join(text)


def _of_threads() -> Iterator[tuple[str, Stack]]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in list(sys._current_frames().items())[:MOST]:  # noqa: SLF001 - the documentation of Python names this use
        frames = [step for step, _ in traceback.walk_stack(frame)]
        yield f"thread {names.get(ident, ident)}", frames[::-1]


def _of_tasks(loop: asyncio.AbstractEventLoop) -> Iterator[tuple[str, Stack]]:
    tasks: list[asyncio.Task[Any]] = []
    with contextlib.suppress(RuntimeError):  # other threads make and end tasks meanwhile
        tasks = [*asyncio.all_tasks(loop), *hidden_tasks(loop)]
    for task in tasks[:MOST]:
        yield f"task {task.get_name()}", _frames_of(task.get_coro())


def _frames_of(waiting: object) -> Stack:
    """Returns the frames of a coroutine, and of what it awaits. asyncio itself shows only the first frame of a task that waits."""
    frames: Stack = []
    while waiting is not None and len(frames) < 1000:
        frame: FrameType | None = next(
            (
                found
                for kind in ("cr", "gi", "ag")
                if (found := getattr(waiting, f"{kind}_frame", None)) is not None
            ),
            None,
        )
        if frame is None:
            break
        frames.append(frame)
        if (
            frame.f_code is steps_in.__wrapped__.__code__
            if hasattr(steps_in, "__wrapped__")
            else frame.f_code.co_name == "steps_in"
        ):
            waiting = frame.f_locals.get(
                "coroutine"
            )  # it is driven by hand, so the generator does not await it
        else:
            waiting = next(
                (
                    found
                    for name in ("cr_await", "gi_yieldfrom", "ag_await")
                    if (found := getattr(waiting, name, None)) is not None
                ),
                None,
            )
    return frames


def _attempts(frame: FrameType) -> list[Attempt]:
    if frame.f_code in LONE:
        found = frame.f_locals.get(LONE[frame.f_code])
        return [found] if isinstance(found, Attempt) else []
    if frame.f_code in OF_CHUNKS:
        return list(getattr(frame.f_locals.get("chunk"), "attempts", ()))
    return []


def _text(frames: Stack) -> str:
    lines = traceback.StackSummary.extract(
        ((frame, frame.f_lineno) for frame in frames[-FRAMES:]), lookup_lines=True
    )
    return "".join(traceback.format_list(lines))


@contextmanager
def on_signal(text: Callable[[], str]) -> Iterator[None]:
    """While the block runs, SIGUSR1 writes the stacks to stderr, even if a handler blocks the loop.

    Python itself would call a handler of the signal only in the main thread, which a C function can keep busy. So the handler is one in C,
    of faulthandler: it writes into a pipe, and a thread waits for that. If the application handles the signal itself, nothing is changed.
    """
    if (
        signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return
    read, write = os.pipe()
    os.set_blocking(write, False)
    thread = threading.Thread(target=_print_on_request, args=(read, text), name="pgqueue stacks", daemon=True)
    faulthandler.register(signal.SIGUSR1, file=write, all_threads=False)
    thread.start()
    try:
        yield
    finally:
        faulthandler.unregister(signal.SIGUSR1)
        os.close(write)
        thread.join(2.0)


def _print_on_request(read: int, text: Callable[[], str]) -> None:
    """Runs on the thread until the other end of the pipe is closed."""
    with open(read, "rb", buffering=0) as pipe:
        while pipe.read(65_536):
            try:
                print(text(), file=sys.stderr, flush=True)  # noqa: T201 - a person has asked for it
            except Exception as error:  # noqa: BLE001 - it is shown
                print(f"the stacks could not be shown: {type(error).__name__}", file=sys.stderr)  # noqa: T201
