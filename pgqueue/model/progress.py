"""How far a running job has come, as its handler reports it. This module does no I/O: the worker writes the progress."""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from pgqueue.errors import InvalidOptionError
from pgqueue.text.values import shown

MESSAGE_LIMIT = 500
LARGEST_NUMBER = 2**53  # programs in every language read whole numbers in JSON exactly, up to this number

T = TypeVar("T")


class Progress(NamedTuple):
    """The last progress that a handler reported: how much is ``done``. ``total`` is None if it is not known."""

    done: float
    total: float | None = None
    message: str | None = None

    @classmethod
    def of(cls, done: float, total: float | None, message: str | None) -> Progress:
        """Makes a progress from checked values. Raises InvalidOptionError if a value is no number, or if the message is no text."""
        if message is not None:
            if not isinstance(message, str):
                raise InvalidOptionError(f"The message of a progress is {shown(message)}.", do="give a text")
            message = message[:MESSAGE_LIMIT].replace("\x00", "\ufffd").encode(errors="replace").decode()
        return cls(_number("done", done), None if total is None else _number("total", total), message)

    def as_json(self) -> dict[str, object]:
        return {"done": self.done, "total": self.total, "message": self.message}


def _number(name: str, value: Any) -> float:
    try:
        number = value if type(value) in (int, float) else _plain(value)
    except (TypeError, ValueError):
        number = math.nan
    # This also refuses NaN, because each comparison with NaN is false.
    if not -LARGEST_NUMBER <= number <= LARGEST_NUMBER:
        raise InvalidOptionError(
            f"{name} of a progress is {shown(value)}.", do="give a number from -2^53 to 2^53"
        )
    return number


def _plain(value: Any) -> float:
    """Returns a number of another library, such as numpy, as an int or a float. Refuses texts, although float() would read them."""
    if isinstance(value, str | bytes):
        raise TypeError
    return int(value) if hasattr(value, "__index__") else float(value)


class Track(Generic[T]):
    """Yields the items to ``for`` or ``async for``, and calls ``tell`` with the number of items that are done.

    A plain ``for`` also calls ``check`` before each item.
    """

    def __init__(
        self,
        items: Iterable[T] | AsyncIterable[T],
        tell: Callable[[int], object],
        check: Callable[[], object],
    ) -> None:
        self._items, self._tell, self._check = items, tell, check
        self._iterator: AsyncIterator[T] | None = None
        self._done = 0

    def __iter__(self) -> Iterator[T]:
        if not isinstance(self._items, Iterable):
            msg = f"{type(self._items).__name__} is asynchronous: use `async for`"
            raise TypeError(msg)
        done = 0
        for item in self._items:
            self._check()
            self._tell(done)
            yield item
            done += 1
        self._tell(done)

    def __aiter__(self) -> Track[T]:
        if not isinstance(self._items, AsyncIterable):
            msg = f"{type(self._items).__name__} is not asynchronous: use `for`"
            raise TypeError(msg)
        self._iterator, self._done = aiter(self._items), 0
        return self

    def __anext__(self) -> Awaitable[T]:
        assert self._iterator is not None
        self._tell(self._done)
        self._done += 1
        return anext(self._iterator)


def length(items: object) -> int | None:
    """Returns the number of items. None: ``items`` has no length."""
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        return None
