"""Facts: each says that something has happened. The code that does it emits the fact once.

log.py subscribes to facts and writes log lines.

A fact is a named tuple, because a tuple is frozen, and because 90 dataclasses would nearly double the time of ``import pgqueue``.
The modules here define the facts of each part. docs/internals/events.md lists all facts.

The bus is the list of subscribers below. A process has one bus for all its workers. So a fact has a ``worker_id`` where that matters.
If each worker had a bus of its own, code that belongs to no worker would need one too: the connections of an app, or a retry policy.

The bus has no lock of its own, so facts can be emitted in any thread and in the handler of a signal. If a subscriber raises an error, the
code that emits does not get that error. If a job's handler is interrupted while its thread emits a fact, the interruption waits until all
subscribers have been called.

Spans are not made by subscribers (see tracing.py), because a span must begin and end in the context in which the handler runs. Facts would
give only the times of its beginning and its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pgqueue.telemetry.guard import Failure, guarded

Fact = tuple[object, ...]
F = TypeVar("F", bound=Fact)

_subscribers: dict[type[Fact], list[Callable[[Any], object]]] = {}
_failure = Failure("a subscriber to facts failed, so it misses some of the facts")


def subscribe(kind: type[F], subscriber: Callable[[F], object]) -> None:
    """Makes ``emit`` call ``subscriber`` with each later fact of the class ``kind``, on the thread that emits the fact."""
    _subscribers.setdefault(kind, []).append(subscriber)


def unsubscribe(kind: type[F], subscriber: Callable[[F], object]) -> None:
    _subscribers[kind].remove(subscriber)
    if not _subscribers[kind]:
        del _subscribers[kind]


@contextmanager
def subscribed(kind: type[F], subscriber: Callable[[F], object]) -> Iterator[None]:
    """Subscribes ``subscriber`` for the duration of the block."""
    subscribe(kind, subscriber)
    try:
        yield
    finally:
        unsubscribe(kind, subscriber)


# ``has_subscribers(kind)``: whether the facts of a class have a subscriber. Ask this before you make a fact that is emitted for every job:
# without a subscriber, the fact need not be made. This is the dict's own method, because a function of ours would cost each job two calls.
has_subscribers: Callable[[type[Fact]], bool] = _subscribers.__contains__


def emit(fact: Fact) -> None:
    """Calls the subscribers to facts of this class, in the order in which they subscribed, even if one of them raises an error."""
    for subscriber in tuple(_subscribers.get(type(fact), ())):
        guarded(_failure, subscriber, fact)
