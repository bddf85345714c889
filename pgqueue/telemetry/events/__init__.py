"""Facts: each says that something has happened. The code that does it emits the fact once.

log.py subscribes to facts and writes log lines.

A fact is a named tuple, because a tuple is frozen, and because 90 dataclasses would nearly double the time of ``import pgqueue``.
The modules here define the facts of each part. docs/internals/events.md lists all facts.

The bus is the list of subscribers below. A process has one bus for all its workers. So a fact has a ``worker_id`` where that matters.
If each worker had a bus of its own, code that belongs to no worker would need one too: the connections of an app, or a retry policy.

To emit a fact takes no lock, so facts can be emitted in any thread and in the handler of a signal. If a subscriber raises an error, the
code that emits does not get that error. If a job's handler is interrupted while its thread emits a fact, the interruption waits until all
subscribers have been called.

Spans are not made by subscribers (see tracing.py), because a span must begin and end in the context in which the handler runs. Facts would
give only the times of its beginning and its end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeVar

from pgqueue.telemetry.guard import Failure, guarded

Fact = tuple[object, ...]
F = TypeVar("F", bound=Fact)

_subscribers: dict[type[Fact], tuple[Callable[[Any], object], ...]] = {}
_failure = Failure("a subscriber to facts failed, so it misses some of the facts")


_changing = Lock()  # A thread holds this lock while it changes _subscribers.


def _renew_lock() -> None:
    """Replaces the lock in a forked process, because the thread that held it can be missing there."""
    global _changing  # noqa: PLW0603
    _changing = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def subscribe(kind: type[F], subscriber: Callable[[F], object]) -> None:
    """Makes ``emit`` call ``subscriber`` with each later fact of the class ``kind``, on the thread that emits the fact."""
    with _changing:
        _subscribers[kind] = (*_subscribers.get(kind, ()), subscriber)


def unsubscribe(kind: type[F], subscriber: Callable[[F], object]) -> None:
    """Ends one subscription of ``subscriber``. Does nothing if ``subscriber`` is not subscribed to ``kind``."""
    with _changing:
        left = list(_subscribers.get(kind, ()))
        if subscriber not in left:
            return
        left.remove(subscriber)
        if left:
            _subscribers[kind] = tuple(left)
        else:
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
    for subscriber in _subscribers.get(type(fact), ()):
        guarded(_failure, subscriber, fact)
