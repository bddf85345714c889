"""What may be declared as a task, under which name, and whether it is declared again. Pure."""

from __future__ import annotations

import functools
import importlib
import inspect
import pickle
import re
import sys
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType
from typing import Any, Protocol, TypeVar

from pgqueue.errors import InvalidArgumentsError, UnnameableTaskError
from pgqueue.text.values import shown

Handler = Callable[..., Any]  # the function of a task, which may return an awaitable
T = TypeVar("T")

MAIN = ("__main__", "__mp_main__")


def runnable(function: Any) -> Handler:
    """``function`` as a worker calls it. If plain wrappers hide a coroutine function, the result is a coroutine function, too.

    If the function would never do its work, raises InvalidArgumentsError.
    """
    is_function = inspect.isroutine(function) and not inspect.isbuiltin(function)
    inner = inspect.unwrap(function) if is_function or hasattr(function, "__wrapped__") else None
    if not callable(function) or not inspect.isroutine(inner) or inspect.isbuiltin(inner):
        raise _refused(function, f"it is {_described(function)}", "declare a def or async def that calls it")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise _refused(function, "it is a generator, whose body would never run", "return a list, or nothing")
    if _is_unbound(inner):
        raise _refused(
            function, "it is a method, and a worker has no object to call it on", "declare a function"
        )
    if inspect.iscoroutinefunction(function) or not inspect.iscoroutinefunction(inner):
        return function  # type: ignore[no-any-return]

    @functools.wraps(function)
    async def awaited(*args: object, **kwargs: object) -> object:
        result = function(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    return awaited


def _refused(function: object, why: str, do: str) -> InvalidArgumentsError:
    name = getattr(function, "__qualname__", None) or shown(function)
    return InvalidArgumentsError(f"{name} cannot be a task.", why=why, do=do)


def _described(function: object) -> str:
    if isinstance(function, type):
        return "a class"
    if inspect.isbuiltin(function):
        return "a builtin, which has no signature to check arguments against"
    return f"a {type(function).__module__}.{type(function).__qualname__}, not a function"


def _is_unbound(function: Callable[..., object]) -> bool:
    """Whether this is a method without its object: Python binds a method only when code looks it up on an object."""
    is_inside = "." in getattr(function, "__qualname__", "").rpartition("<locals>.")[2]
    return is_inside and not inspect.ismethod(function) and next(iter(inspect.signature(function).parameters), "") in {
        "self", "cls",
    }  # fmt: skip


def home_of(function: object) -> str:
    """The name under which other processes import the function's module; empty if they cannot.

    multiprocessing's children run the main module as ``__mp_main__``.
    """
    module: str = getattr(function, "__module__", None) or ""
    if module not in MAIN:
        return module
    spec = getattr(sys.modules.get(module), "__spec__", None)
    return spec.name if spec is not None else ""


def module_of(app: object) -> str:
    """The module whose code makes the app. An ``__init__`` of the app, also of a subclass in a library, does not count."""
    frame = sys._getframe(1)  # noqa: SLF001 - the only way to know
    while frame.f_back is not None and frame.f_locals.get("self") is app:
        frame = frame.f_back
    name = str(frame.f_globals.get("__name__", "app"))
    if name in MAIN:
        name = Path(str(frame.f_globals.get("__file__") or "app.py")).stem
    return re.sub(r"[^A-Za-z0-9_.:-]", "_", name if name[:1].isalpha() else f"_{name}")[:127]


def task_name(function: Callable[..., object]) -> str:
    """``module.function``; raises UnnameableTaskError if a worker could not import the function under that name."""
    module, qualname = home_of(function), getattr(function, "__qualname__", "")
    if not module or not qualname or "<" in qualname:
        raise UnnameableTaskError(
            f"{qualname or shown(function)} has no name under which a worker could find it.",
            why="it is a lambda, is defined inside another function, or its file is run as the main program",
            do='give it one: @app.task(name="orders.ship")',
        )
    return f"{module}.{qualname}"


def hints_of(name: str, function: Callable[..., object]) -> dict[str, object]:
    """The annotations of a task's function; raises InvalidArgumentsError for those that cannot be resolved."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise InvalidArgumentsError(
            f"An annotation of task {name} cannot be resolved: {error}",
            do="import the type at the top of the task's module, outside `if TYPE_CHECKING`",
        ) from None
    except Exception as error:  # noqa: BLE001 - evaluating a text may raise anything
        raise InvalidArgumentsError(
            f"An annotation of task {name} cannot be resolved: {type(error).__name__}: {error!s:.200}",
            do="annotate each parameter with a type",
        ) from None


def run_of_module() -> CodeType | None:
    """The code that identifies this run of the declaring module, or of the notebook's cell."""
    frame = sys._getframe(1)  # noqa: SLF001 - what inspect.currentframe() is, without its Optional
    while frame is not None and (frame.f_locals is not frame.f_globals):
        frame = frame.f_back  # type: ignore[assignment]
    return None if frame is None else frame.f_code


class Runs:
    """Remembers which run of a module declared an object. What a later run of the module declares replaces what the former run declared."""

    def __init__(self) -> None:
        self._known: dict[int, CodeType | None] = {}

    def note(self, declared: object) -> None:
        self._known[id(declared)] = run_of_module()

    def repeats(self, known: object, declared: object) -> bool:
        """Whether ``declared`` declares ``known`` once more: after a reload, or in a cell that is run again."""
        names = [
            (home_of(each) or "__main__", getattr(each, "__qualname__", None)) for each in (known, declared)
        ]
        return (
            names[0] == names[1]
            and names[0][1] is not None
            and self._known.get(id(known)) is not run_of_module()
        )

    def put(self, listed: list[T], declared: T) -> None:
        """Appends ``declared``, or replaces what a former run declared in its place."""
        place = next((n for n, known in enumerate(listed) if self.repeats(known, declared)), len(listed))
        listed[place : place + 1] = [declared]
        self.note(declared)


def named(value: object) -> tuple[str, str]:
    """The module and the name under which other processes find this object; raises PicklingError if there is none."""
    for module in list(sys.modules.values()):
        for name, found in list(getattr(module, "__dict__", {}).items()):
            if found is value:
                return importable(module.__name__), name
    raise pickle.PicklingError(
        f"{type(value).__name__} is pickled by its name, but no module has it: assign it to a name at the top of a module."
    )


def importable(module: str) -> str:
    """The module's name in another process of multiprocessing, or in the parent of this process."""
    return MAIN[0] if module in MAIN else module


def found(module: str, name: str) -> object:
    return getattr(importlib.import_module(module), name)


class Declares(Protocol):
    """An app."""

    @property
    def tasks(self) -> Mapping[str, object]: ...


def task_of(app: Declares, module: str, name: str) -> object:
    """The task of that name, which is declared when the module of its function is imported."""
    importlib.import_module(module)
    return app.tasks[name]
