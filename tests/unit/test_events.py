"""Tests of facts: messages that pgqueue emits about its own work. Subscribers get them, and the log writes a line for most of them."""

from __future__ import annotations

import ast
import logging
import os
import re
import signal
import sys
import threading
import typing
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

from pgqueue.runtime.interruption import here
from pgqueue.telemetry import events, log
from pgqueue.telemetry.events.jobs import Ended, JobCompleted, Run
from pgqueue.telemetry.events.maintenance import QueueMeasured
from pgqueue.telemetry.guard import Failure
from pgqueue.telemetry.record_fields import event_name
from tests.package import MODULES, PACKAGE

PARTS = sorted(path.stem for path in (PACKAGE / "telemetry/events").glob("*.py") if path.stem != "__init__")
FACTS = [
    kind
    for part in PARTS
    for kind in vars(import_module(f"pgqueue.telemetry.events.{part}")).values()
    if isinstance(kind, type) and issubclass(kind, tuple) and kind.__module__.endswith(f"events.{part}")
    if kind not in (Run, Ended, QueueMeasured)
]
SAMPLES: dict[Any, Any] = {
    int: 7,
    float: 1.5,
    str: "text",
    bool: True,
    tuple[int, ...]: (7, 8),
    tuple[str, ...]: ("a", "b"),
    object: 7,
    datetime: datetime(2026, 1, 1, tzinfo=UTC),
    Run: Run(1, 2, "task", "queue", 1, 6),
    tuple[tuple[str, tuple[float, ...]], ...]: (("queue", (1.5, -0.5)),),
    tuple[tuple[str, int], ...]: (("jobs_live", 7),),
    tuple[Ended, ...]: (Ended("queue", "task", "dead", "ValueError", (1.5, None)),),
    tuple[QueueMeasured, ...]: (QueueMeasured("queue", 1, 2, 3, 4, 5, 1.5, None),),
    Exception: ValueError("why"),
    BaseException: ValueError("why"),
}


def values_of(kind: Any) -> list[Any]:
    """Returns values for a field of this type: one for each case that can change the log line."""
    if typing.get_origin(kind) is typing.Literal:
        return list(typing.get_args(kind))
    if kind is bool:
        return [True, False]
    members = typing.get_args(kind) if kind not in SAMPLES else ()
    # For "X | None", these are a sample of X, and None.
    return [None if member is type(None) else SAMPLES[member] for member in members or [kind]]


def samples(kind: Any) -> Iterator[Any]:
    """Yields facts of this class. Together they contain each value of each field."""
    fields = {name: values_of(type_) for name, type_ in typing.get_type_hints(kind).items()}
    for place in range(max(map(len, fields.values()), default=1)):
        yield kind(**{name: values[min(place, len(values) - 1)] for name, values in fields.items()})


def names_used_in(tree: ast.AST) -> Iterator[str]:
    """Yields the names that a module uses, except in annotations of parameters and in calls of ``subscribed`` and ``has_subscribers``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Name):
            yield node.id
        is_subscription = isinstance(node, ast.Call) and getattr(node.func, "id", "") in (
            "subscribed",
            "has_subscribers",
        )
        if not is_subscription and not isinstance(node, ast.arg):
            yield from names_used_in(node)


@cache
def emitted() -> dict[str, set[str]]:
    """Returns, for the name of each fact, the modules that emit it."""
    found: dict[str, set[str]] = {kind.__name__: set() for kind in FACTS}
    for module, tree in MODULES.items():
        if not module.startswith("telemetry/") or module == "telemetry/tracing.py":
            for name in found.keys() & set(names_used_in(tree)):
                found[name].add(module)
    return found


@pytest.mark.parametrize("kind", FACTS, ids=lambda kind: kind.__name__)
def test_a_fact_is_immutable_and_typed_and_emitted_somewhere(kind):
    assert issubclass(kind, tuple)
    hints = typing.get_type_hints(kind)
    assert list(hints) == list(kind._fields)
    assert Any not in hints.values()
    assert emitted()[kind.__name__]
    with pytest.raises(AttributeError):
        setattr(next(samples(kind)), (kind._fields or ("anything",))[0], None)


def test_each_fact_has_a_log_line_or_is_listed_as_silent():
    assert len({kind.__name__ for kind in FACTS}) == len(FACTS)
    assert set(log.LINES) | log.SILENT == set(FACTS)
    assert not set(log.LINES) & log.SILENT


@pytest.mark.parametrize("kind", log.LINES, ids=lambda kind: kind.__name__)
def test_each_log_line_can_be_written_and_has_the_place_where_its_fact_was_emitted(kind, caplog):
    caplog.set_level(logging.DEBUG, "pgqueue")
    for fact in samples(kind):
        events.emit(fact)
    for record in caplog.records:
        assert record.getMessage()
        assert (record.pathname, record.name) == (__file__, "pgqueue")
    assert caplog.records


@pytest.mark.parametrize("kind", log.LINES, ids=lambda kind: kind.__name__)
def test_a_log_line_about_one_thing_has_its_noun_in_the_singular(kind, monkeypatch):
    monkeypatch.setitem(SAMPLES, int, 1)
    monkeypatch.setitem(SAMPLES, tuple[int, ...], (1,))
    for fact in samples(kind):
        if line := log.LINES[kind](fact):
            said = line.text % line.args
            assert not re.search(
                r"\b1 (\w+ )?(jobs|workers|seats|queues|tasks)\b|\b(jobs|workers) \[?1\b", said
            ), said


def test_each_of_several_workers_in_a_process_logs_the_ends_of_its_own_jobs(caplog):
    caplog.set_level(logging.INFO, "pgqueue")
    with events.subscribed(JobCompleted, log.endings_of(lambda worker_id: worker_id == 1)):
        for worker_id in (1, 2):
            events.emit(JobCompleted(Run(worker_id, 10 * worker_id, "task", "queue", 1, 6), 0.5))
    [record] = caplog.records
    assert record.getMessage() == "job 10 (task) completed in 0.5000 s, attempt 1 of 6, queue queue"
    assert (record.job_id, record.seconds, record.pathname) == (10, 0.5, __file__)


# ------------------------------------------------------------------ docs/internals/events.md

PAGE = (Path(__file__).parents[2] / "docs/internals/events.md").read_text(encoding="utf-8")


def levels(kind: Any) -> str:
    lines = [log.LINES[kind](fact) for fact in samples(kind)] if kind in log.LINES else []
    found = {line.level for line in lines if line is not None}
    return ", ".join(logging.getLevelName(level) for level in sorted(found)) or "-"


def row(kind: Any) -> str:
    fields = ", ".join(f"`{name}`" for name in kind._fields) or "-"
    modules = ", ".join(f"`{module}`" for module in sorted(emitted()[kind.__name__]))
    return f"| `{kind.__name__}` | `{event_name(kind)}` | {fields} | {modules} | {levels(kind)} |"


@pytest.mark.parametrize("part", PARTS)
def test_the_page_lists_the_facts_of_each_part_with_their_events_emitters_and_log_levels(part):
    table = "\n".join(row(kind) for kind in FACTS if kind.__module__.endswith(f".{part}"))
    section = re.search(rf"^## .*`events/{part}\.py`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section
    there = "\n".join(line for line in section[1].splitlines() if line.startswith("| `"))
    assert there == table, f"this is the table now:\n{table}"


# ------------------------------------------------------------------ emitting and subscribing


class Happened(NamedTuple):
    number: int


@pytest.fixture
def failure(monkeypatch: pytest.MonkeyPatch) -> Failure:
    fresh = Failure("a test failed")
    monkeypatch.setattr(events, "_failure", fresh)
    return fresh


def test_a_subscriber_gets_the_facts_of_its_class_while_it_is_subscribed():
    received: list[tuple[Any, ...]] = []
    assert not events.has_subscribers(Happened)
    events.emit(Happened(0))
    with events.subscribed(Happened, received.append):
        assert events.has_subscribers(Happened)
        events.emit(Happened(1))
    events.emit(Happened(2))
    assert received == [Happened(1)]
    assert not events.has_subscribers(Happened)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_error_of_a_subscriber_does_not_reach_the_emitter_and_other_subscribers_get_the_fact(
    error, failure, capsys
):
    received: list[tuple[Any, ...]] = []

    def fails(_fact: Happened) -> None:
        raise error

    # Signals are handled only on the main thread. So on this thread, KeyboardInterrupt can only be an error of the subscriber.
    thread = threading.Thread(target=events.emit, args=[Happened(1)])
    with events.subscribed(Happened, fails), events.subscribed(Happened, received.append):
        thread.start()
        thread.join()
    assert received == [Happened(1)]
    assert failure.is_said
    assert capsys.readouterr().err.count("a test failed") == 1


def test_an_interruption_of_the_thread_waits_until_the_subscriber_has_returned(monkeypatch):
    received: list[object] = []

    class Late:
        shielded = False

        def shield(self, on: bool) -> None:
            received.append(on)

    monkeypatch.setattr(here, "thread", Late())
    with events.subscribed(Happened, received.append):
        events.emit(Happened(1))
    assert received == [True, Happened(1), False]


def test_many_threads_can_emit_facts_while_other_subscribers_are_added_and_removed():
    received: list[tuple[Any, ...]] = []
    threads = [
        threading.Thread(target=lambda n=n: [events.emit(Happened(n)) for _ in range(500)]) for n in range(4)
    ]
    with events.subscribed(Happened, received.append):
        for thread in threads:
            thread.start()
        for _ in range(500):
            with events.subscribed(Happened, lambda _: None):
                pass
        for thread in threads:
            thread.join()
    assert len(received) == 2000


@pytest.mark.parametrize("when", ["at once", "later"])
def test_no_subscription_is_lost_wherever_another_thread_interrupts_the_change_of_subscribers(when):
    """Runs ``subscribed`` once for each of its bytecode instructions, and lets another thread subscribe before that instruction."""
    step, is_reached = 0, True
    while is_reached:
        is_reached = _interrupt_a_subscription(step, leaves_at_once=when == "at once")
        step += 1
    assert step > 20
    assert not events.has_subscribers(Happened)


def _interrupt_a_subscription(step: int, *, leaves_at_once: bool) -> bool:
    """Subscribes, and interrupts this at the given step. Returns whether the step was reached."""
    mine: list[tuple[Any, ...]] = []
    others: list[tuple[Any, ...]] = []
    threads: list[threading.Thread] = []
    steps = 0

    def subscribe_beside() -> None:
        events.subscribe(Happened, others.append)
        if leaves_at_once:
            events.unsubscribe(Happened, others.append)

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal steps
        if frame.f_code.co_filename != events.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            if steps == step:
                threads.append(threading.Thread(target=subscribe_beside))
                threads[0].start()
                threads[0].join(0.005)  # If this thread holds the lock, the other thread waits.
            steps += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with events.subscribed(Happened, mine.append):
            sys.settrace(before)
            events.emit(Happened(1))
            sys.settrace(trace)
    finally:
        sys.settrace(before)
    for thread in threads:
        thread.join()
    events.emit(Happened(2))
    assert mine == [Happened(1)]
    if threads and not leaves_at_once:
        assert others[-1:] == [Happened(2)]
        events.unsubscribe(Happened, others.append)
    return bool(threads)


def test_unsubscribing_a_second_time_does_nothing():
    received: list[tuple[Any, ...]] = []
    with events.subscribed(Happened, received.append):
        events.unsubscribe(Happened, print)
        events.emit(Happened(1))
        events.unsubscribe(Happened, received.append)
        events.unsubscribe(Happened, received.append)
    assert received == [Happened(1)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_that_was_forked_while_another_thread_changes_the_subscribers_can_subscribe():
    with events._changing:
        child = os.fork()
        if not child:
            signal.alarm(10)
            events.subscribe(Happened, print)
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_that_a_subscriber_forked_can_emit_facts():
    children: list[int] = []

    def forks(fact: Happened) -> None:
        if fact.number == 1:
            child = os.fork()
            if not child:
                received: list[tuple[Any, ...]] = []
                events.subscribe(Happened, received.append)
                events.emit(Happened(2))
                os._exit(0 if received == [Happened(2)] else 1)
            children.append(child)

    with events.subscribed(Happened, forks):
        events.emit(Happened(1))
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0


@pytest.mark.parametrize("kind", FACTS, ids=lambda kind: kind.__name__)
def test_a_fact_without_a_subscriber_is_not_logged(kind, monkeypatch, caplog):
    monkeypatch.setattr(events, "_subscribers", {})
    monkeypatch.setattr(log.LOG, "log", lambda *_, **__: pytest.fail("it logs"))
    for fact in samples(kind):
        events.emit(fact)
    assert not caplog.records
