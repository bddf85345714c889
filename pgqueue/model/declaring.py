"""Checks which functions can be declared as tasks, finds their names, and recognises a task that is declared again. This module does no I/O."""

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
from typing import Any, Protocol, TypeGuard, TypeVar

from pgqueue.errors import InvalidArgumentsError, UnnameableTaskError
from pgqueue.text.values import shown

Handler = Callable[..., Any]  # the function of a task; its call can return an awaitable
T = TypeVar("T")

MAIN = ("__main__", "__mp_main__")


def runnable(function: Any) -> Handler:
    """Returns the function that a worker calls for ``function``.

    If a plain ``def`` wraps a coroutine function, its call returns a coroutine. For such a function, returns an ``async def`` that awaits it.
    If ``function`` cannot be a task (for example, a class, a generator function or an unbound method), raises InvalidArgumentsError.
    """
    inner = inspect.unwrap(function) if _is_function(function) or hasattr(function, "__wrapped__") else None
    if not callable(function) or not _is_function(inner):
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


def _is_function(value: object) -> TypeGuard[Callable[..., object]]:
    # Since Python 3.14, a partial is a routine, too. It has no name, and its parameters have changed.
    return (
        inspect.isroutine(value) and not inspect.isbuiltin(value) and not isinstance(value, functools.partial)
    )


def _described(function: object) -> str:
    if isinstance(function, type):
        return "a class"
    if inspect.isbuiltin(function):
        return "a builtin, which has no signature to check arguments against"
    return f"a {type(function).__module__}.{type(function).__qualname__}, not a function"


def _is_unbound(function: Callable[..., object]) -> bool:
    """Whether the function is a method that is not bound to an object, because it was decorated inside its class."""
    is_inside = "." in getattr(function, "__qualname__", "").rpartition("<locals>.")[2]
    return is_inside and not inspect.ismethod(function) and next(iter(inspect.signature(function).parameters), "") in {
        "self", "cls",
    }  # fmt: skip


def home_of(function: object) -> str:
    """Returns the name under which other processes can import the function's module; an empty text if they cannot import it.

    Child processes of multiprocessing run the main module under the name ``__mp_main__``.
    """
    module: str = getattr(function, "__module__", None) or ""
    if module not in MAIN:
        return module
    spec = getattr(sys.modules.get(module), "__spec__", None)
    return spec.name if spec is not None else ""


def module_of(app: object) -> str:
    """Returns the name of the module whose code makes the app. In the stack of calls, skips methods of the app itself, such as ``__init__``."""
    frame = sys._getframe(1)  # noqa: SLF001 - there is no other way to find the caller
    while frame.f_back is not None and frame.f_locals.get("self") is app:
        frame = frame.f_back
    name = str(frame.f_globals.get("__name__", "app"))
    if name in MAIN:
        name = Path(str(frame.f_globals.get("__file__") or "app.py")).stem
    return re.sub(r"[^A-Za-z0-9_.:-]", "_", name if name[:1].isalpha() else f"_{name}")[:127]


def task_name(function: Callable[..., object]) -> str:
    """Returns ``module.function``. Raises UnnameableTaskError if a worker cannot import the function under that name."""
    module, qualname = home_of(function), getattr(function, "__qualname__", "")
    if not module or not qualname or "<" in qualname:
        raise UnnameableTaskError(
            f"{qualname or shown(function)} has no name under which a worker could find it.",
            why="it is a lambda, is defined inside another function, or its file is run as the main program",
            do='give it one: @app.task(name="orders.ship")',
        )
    return f"{module}.{qualname}"


def hints_of(name: str, function: Callable[..., object]) -> dict[str, object]:
    """Returns the annotations of a task's function. Raises InvalidArgumentsError if an annotation cannot be resolved."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise InvalidArgumentsError(
            f"An annotation of task {name} cannot be resolved: {error}",
            do="import the type at the top of the task's module, outside `if TYPE_CHECKING`",
        ) from None
    except Exception as error:  # noqa: BLE001 - an annotation that is a text is evaluated, which can raise any error
        raise InvalidArgumentsError(
            f"An annotation of task {name} cannot be resolved: {type(error).__name__}: {error!s:.200}",
            do="annotate each parameter with a type",
        ) from None


def run_of_module() -> CodeType | None:
    """Returns the code object of the module, or of the notebook's cell, that runs now. A new run of the module has another code object."""
    frame = sys._getframe(1)  # noqa: SLF001 - inspect.currentframe() does the same, but can return None
    while frame is not None and (frame.f_locals is not frame.f_globals):
        frame = frame.f_back  # type: ignore[assignment]
    return None if frame is None else frame.f_code


class Runs:
    """Remembers which run of a module declared an object. If a later run declares the object again, the new object replaces the old one."""

    def __init__(self) -> None:
        self._known: dict[int, CodeType | None] = {}

    def note(self, declared: object) -> None:
        self._known[id(declared)] = run_of_module()

    def repeats(self, known: object, declared: object) -> bool:
        """Whether ``declared`` is a new version of ``known``: a reload of the module, or a second run of a cell, has declared it."""
        names = [
            (home_of(each) or "__main__", getattr(each, "__qualname__", None)) for each in (known, declared)
        ]
        return (
            names[0] == names[1]
            and names[0][1] is not None
            and self._known.get(id(known)) is not run_of_module()
        )

    def put(self, listed: list[T], declared: T) -> None:
        """Appends ``declared`` to ``listed``. If ``listed`` has a version from a former run of the module, replaces that version instead."""
        place = next((n for n, known in enumerate(listed) if self.repeats(known, declared)), len(listed))
        listed[place : place + 1] = [declared]
        self.note(declared)


def named(value: object) -> tuple[str, str]:
    """Returns a module, and the name under which that module holds this object. Raises PicklingError if no module holds the object."""
    for module in list(sys.modules.values()):
        for name, found in list(getattr(module, "__dict__", {}).items()):
            if found is value:
                return importable(module.__name__), name
    raise pickle.PicklingError(
        f"{type(value).__name__} is pickled by its name, but no module has it: assign it to a name at the top of a module."
    )


def importable(module: str) -> str:
    """Returns the name under which other processes of multiprocessing import the module. Only the main module has another name there."""
    return MAIN[0] if module in MAIN else module


def found(module: str, name: str) -> object:
    return getattr(importlib.import_module(module), name)


class Declares(Protocol):
    """The part of an app that this module uses."""

    @property
    def tasks(self) -> Mapping[str, object]: ...


def task_of(app: Declares, module: str, name: str) -> object:
    """Imports ``module``, which declares the task, and returns the task of this name."""
    importlib.import_module(module)
    return app.tasks[name]
