"""Apps for jobs that make user code raise errors. Child processes import these apps, too.

The argument of a job has the form "PLACE: ERROR", for example "its middleware, before: SystemExit". The error is a key of ``RAISED``, the
place is a key of ``PLACES``. Code at this place raises this error.
"""

from __future__ import annotations

import asyncio
import locale
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Context, Decimal, setcontext
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, field_serializer
from tenacity import retry_if_exception, stop_never
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from pgqueue import App, Call, Cancel, Dead, Job, RateLimited, Retry, RetryPolicy, Snooze

tenant: ContextVar[str] = ContextVar("tenant", default="none")
LOCALE = locale.setlocale(locale.LC_ALL)


class OddError(BaseException):
    """An error class of a user, derived from BaseException."""


class HostileError(Exception):
    """An error that raises the error ``what`` when code formats, compares or hashes it, or reads its length or its truth value."""

    def __init__(self, what: str) -> None:
        self.what = what

    def _raise(self, *_: object) -> Any:
        fail(self.what)

    __str__ = __repr__ = __bool__ = __eq__ = __hash__ = __len__ = _raise  # type: ignore[assignment]


RAISED: dict[str, Callable[[], BaseException]] = {
    "Exception": lambda: Exception("no"),
    "hostile": lambda: HostileError("Exception"),
    "SystemExit": lambda: SystemExit(0),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "StopIteration": lambda: StopIteration(1),
    "StopAsyncIteration": StopAsyncIteration,
    "RecursionError": RecursionError,
    "MemoryError": MemoryError,
    "BaseExceptionGroup": lambda: BaseExceptionGroup("several", [SystemExit(1), ValueError("no")]),
    "an error class of a user": lambda: OddError("no"),
}


def fail(what: str) -> Any:
    error = RAISED[what]()
    raise error


class Named(type):
    """A metaclass of classes that raise an error when code reads their name."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        return fail("SystemExit")  # type: ignore[no-any-return]


class NamelessError(Exception, metaclass=Named):
    pass


class ClasslessError(HostileError):
    """An error that raises another error even when code reads its class."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        return fail(self.what)

    @property
    def __traceback__(self) -> Any:  # type: ignore[override]
        return fail(self.what)


class Instances(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        what = getattr(instance, "asked", None)
        return bool(what is not None and fail(what))


class AnyError(Exception, metaclass=Instances):
    """A permanent error. ``isinstance(error, AnyError)`` raises the error that ``error.asked`` contains, if there is one."""


class AskedError(Exception):
    """When a retry policy decides about this error, one part of the policy raises the error ``asked``. ``where`` is the part's name."""

    def __init__(self, where: str, asked: str) -> None:
        self.where = where
        if where == "permanent":
            self.asked = asked
        self.what = asked


def answers(where: str, error: BaseException | None, answer: Any) -> Any:
    return fail(error.what) if isinstance(error, AskedError) and error.where == where else answer


class Wait(wait_base):
    def __call__(self, retry_state: Any) -> float:
        return answers("wait", retry_state.outcome.exception(), 60.0)  # type: ignore[no-any-return]


class Stop(stop_base):
    def __call__(self, retry_state: Any) -> bool:
        return answers("stop", retry_state.outcome.exception(), answer=False)  # type: ignore[no-any-return]


POLICY = RetryPolicy(
    wait=Wait(), stop=Stop() | stop_never, retry=retry_if_exception(lambda error: answers("retry", error, answer=True)),
    permanent=(AnyError,),
)  # fmt: skip


def changed(kind: type[Exception], attribute: str, what: str) -> Exception:
    """Returns an instruction, such as ``Snooze``, of a subclass in which reading this attribute raises the error ``what``."""
    hostile = type(kind.__name__, (kind,), {attribute: property(lambda _: fail(what), lambda *_: None)})
    return hostile("1s") if kind in (Snooze, RateLimited) else hostile("no")


class Unwritable(BaseModel):
    what: str

    @field_serializer("what")
    def write(self, what: str) -> str:
        return fail(what)  # type: ignore[no-any-return]


def items(what: str) -> Iterator[int]:
    yield 1
    fail(what)


def recurse() -> None:
    recurse()


# For each place, the function that the handler calls with the name of the error. The handler returns the value of this function. In the
# names of the places, "it" means the handler, and "its" means that something belongs to the handler's task or job.
PLACES: dict[str, Callable[[str], Any]] = {
    "it raises": fail,
    "its error cannot be shown": lambda what: raised(HostileError(what)),
    "its error has no class": lambda what: raised(ClasslessError(what)),
    "its error has no name": lambda _: raised(NamelessError()),
    "it recurses": lambda _: recurse(),
    "its wait": lambda what: raised(AskedError("wait", what)),
    "its stop": lambda what: raised(AskedError("stop", what)),
    "its retry": lambda what: raised(AskedError("retry", what)),
    "its permanent": lambda what: raised(AskedError("permanent", what)),
    "it snoozes": lambda what: raised(changed(Snooze, "delay", what)),
    "it raises RateLimited": lambda what: raised(changed(RateLimited, "retry_after", what)),
    "it asks for a retry": lambda what: raised(changed(Retry, "after", what)),
    "it cancels": lambda what: raised(changed(Cancel, "__str__", what)),
    "it gives up": lambda what: raised(changed(Dead, "__str__", what)),
    "it returns a snooze": lambda what: changed(Snooze, "delay", what),
    "it returns an object that cannot be serialized": lambda what: Unwritable(what=what),
    "it returns an error that cannot be shown": HostileError,
    "it returns an error that has no class": ClasslessError,
    "it returns a generator": items,
    "it returns an error": lambda what: RAISED[what](),
    # At these places, code outside the handler raises the error.
    "its argument": str,
    "its middleware, before": str,
    "its middleware, after": str,
    "its async middleware, before": str,
    "its async middleware, after": str,
}


def raised(error: BaseException) -> Any:
    raise error


def validated(value: Any) -> Any:
    where, _, what = str(value).partition(": ")
    return fail(what) if where == "its argument" else value


Deed = Annotated[str, BeforeValidator(validated)]


@dataclass
class Item:
    deed: Deed


def done(deed: str) -> Any:
    where, _, what = deed.partition(": ")
    return PLACES[where](what) if where else None


def spoiled() -> str:
    """Returns a context variable, a decimal result and the locale as the job finds them, and then changes all three."""
    seen = f"{tenant.get()} {Decimal(1) / 3} {locale.setlocale(locale.LC_ALL) == LOCALE}"
    tenant.set("a former job")
    setcontext(Context(prec=3))
    locale.setlocale(locale.LC_ALL, "POSIX" if LOCALE != "C" else "C.UTF-8")
    return seen


def made(*, layered: bool) -> App:
    app = App()

    @app.task(name="plain", retry=POLICY)
    def plain(deed: Deed) -> Any:
        return done(deed)

    @app.task(name="plain_async", retry=POLICY)
    async def plain_async(deed: Deed) -> Any:
        await asyncio.sleep(0)
        return done(deed)

    @app.task(name="chunk", retry=POLICY, chunk=3)
    def chunk(items: list[Item], jobs: list[Job]) -> Any:
        return [done(item.deed) for item in items]

    @app.task(name="chunk_async", retry=POLICY, chunk=3)
    async def chunk_async(items: list[Item]) -> Any:
        await asyncio.sleep(0)
        return [done(item.deed) for item in items]

    @app.task(name="spoil")
    def spoil() -> str:
        return spoiled()

    @app.task(name="spoil_async")
    async def spoil_async() -> str:
        return spoiled()

    if layered:

        def deed_of(call: Call) -> str:
            return call.arguments.deed if isinstance(call.arguments, Item) else str(call.arguments["deed"])

        @app.middleware
        def see(call: Call) -> Iterator[None]:
            where, _, what = deed_of(call).partition(": ")
            if where == "its middleware, before":
                fail(what)
            yield
            if where == "its middleware, after":
                fail(what)

        @app.middleware
        async def see_too(call: Call) -> AsyncIterator[None]:
            where, _, what = deed_of(call).partition(": ")
            if where == "its async middleware, before":
                fail(what)
            yield
            if where == "its async middleware, after":
                fail(what)

    return app


bare, layered = made(layered=False), made(layered=True)
