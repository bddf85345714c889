"""What happens, as facts. The code emits each fact once, where it happens. Log lines (log.py) subscribe to facts.

A fact is a named tuple, because a tuple is frozen, and because 90 dataclasses would nearly double the time of ``import pgqueue``.
The modules here hold the facts of each part; docs/internals/events.md lists them all.

One bus for a process is enough. A process may hold several workers, so a fact names its worker (``worker_id``) where that matters.
Much code belongs to no worker: the connections of an app, a retry policy. If each worker had its own bus, all such code would need one.

The bus has no lock of its own, so emitting is safe in any thread and in the handler of a signal. The emitting code gets no error of a
subscriber. On a handler's thread, an interruption of that handler waits until all subscribers were called.

Spans do not subscribe (tracing.py): a span must begin and end in the context in which the handler runs. Two facts
would give it only two moments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pgqueue.telemetry.guard import Failure, guarded

Fact = tuple[object, ...]
F = TypeVar("F", bound=Fact)

_subscribers: dict[type[Fact], list[Callable[[Any], object]]] = {}
_failure = Failure("a subscriber to events failed, and misses some of them")


def subscribe(kind: type[F], subscriber: Callable[[F], object]) -> None:
    """``subscriber`` is called with each fact of that class, on the thread that emits it."""
    _subscribers.setdefault(kind, []).append(subscriber)


def unsubscribe(kind: type[F], subscriber: Callable[[F], object]) -> None:
    _subscribers[kind].remove(subscriber)


@contextmanager
def subscribed(kind: type[F], subscriber: Callable[[F], object]) -> Iterator[None]:
    """In this block, the subscriber is subscribed."""
    subscribe(kind, subscriber)
    try:
        yield
    finally:
        unsubscribe(kind, subscriber)


def has_subscribers(kind: type[Fact]) -> bool:
    """Ask this before you make a fact that comes with every job."""
    return bool(_subscribers.get(kind))


def emit(fact: Fact) -> None:
    """Calls the subscribers to facts of this class, in the order of their subscriptions. Raises nothing that a subscriber raises."""
    for subscriber in tuple(_subscribers.get(type(fact), ())):
        guarded(_failure, subscriber, fact)
