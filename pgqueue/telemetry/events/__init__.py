"""What happens, as facts: emitted once, where it happens, for whoever listens. Log lines (log.py) are one listener.

A fact is a named tuple, because it is frozen, and because 80 dataclasses would take longer to make than all else that
``import pgqueue`` does. Its modules: jobs, workers, database, maintenance, users' code. docs/internals/events.md lists them all.

One bus a process will do. What belongs to one of several workers in a process names it (``worker_id``), and much belongs to none: the
connections of an app, a retry policy. A bus for each worker would have to be handed to all of them.

Emitting takes no lock, so it is safe in any thread, in a process forked at any moment, and in the handler of a signal. Nothing that
a listener raises passes through.

Spans are no listeners (tracing.py): a span must begin and end in the context in which the handler runs, not at two moments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pgqueue.telemetry.guard import Failure, guarded

Fact = tuple[Any, ...]
F = TypeVar("F", bound=Fact)

_listeners: dict[type[Fact], list[Callable[[Any], object]]] = {}
_failure = Failure("a listener to events failed, and misses some of them")


def subscribe(kind: type[F], listener: Callable[[F], object]) -> None:
    """``listener`` is called with each fact of that class, on the thread that emits it."""
    _listeners.setdefault(kind, []).append(listener)


def unsubscribe(kind: type[F], listener: Callable[[F], object]) -> None:
    _listeners[kind].remove(listener)


@contextmanager
def listening(kind: type[F], listener: Callable[[F], object]) -> Iterator[None]:
    """Subscribed for this block."""
    subscribe(kind, listener)
    try:
        yield
    finally:
        unsubscribe(kind, listener)


def is_heard(kind: type[Fact]) -> bool:
    """Whether anyone listens: to be asked before a fact is made that happens thousands of times a second."""
    return bool(_listeners.get(kind))


def emit(fact: Fact) -> None:
    """Calls those that listen to facts of this class, in the order in which they subscribed. Raises nothing of theirs."""
    for listener in tuple(_listeners.get(type(fact), ())):
        guarded(_failure, listener, fact)
