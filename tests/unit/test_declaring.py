"""Declarations of tasks: functions that are refused as tasks, tasks that are declared again, and tasks that are pickled by name."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import importlib
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest

from pgqueue import App, JobHandle
from pgqueue.errors import (
    BadResultError,
    DuplicateTaskError,
    InvalidArgumentsError,
    InvalidScheduleError,
    UnnameableTaskError,
)

app = App("")


def plain(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def runs_it(function: Any) -> Any:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


@app.task(name="shown")
def known(n: int) -> int:
    """A task of this module."""
    return n


@plain
@plain
async def behind(n: int) -> int:
    return n + 1


def generator(n: int):
    yield n


async def async_generator(n: int):
    yield n


class Called:
    def __call__(self, n: int) -> None: ...


class Held:
    def method(self, n: int) -> None: ...

    @staticmethod
    def alone(n: int) -> None: ...

    @classmethod
    def of_class(cls, n: int) -> None: ...


def wrong_attribute(n: "contextlib.nothing"): ...  # noqa: UP037
def no_syntax(n: "a number"): ...  # noqa: F722
def no_name(n: "Nowhere"): ...  # noqa: F821, UP037
def no_type(n: 5): ...
def raises(n: "1 / 0"): ...  # noqa: UP037
def not_for_json(n: asyncio.Task): ...
def final(n): ...
def of_class(n): ...


final.__annotations__["n"], of_class.__annotations__["n"] = Final, ClassVar[int]


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (generator, "it is a generator"), (async_generator, "it is a generator"), (functools.partial(known, 1), "functools.partial"),
        (functools.partial(generator), "functools.partial"), (Called(), "Called, not a function"), (Called, "it is a class"),
        (print, "it is a builtin"), (len, "it is a builtin"), (Held.method, "it is a method"), (classmethod(known), "classmethod"),
        (Held.__dict__["of_class"], "classmethod"), (contextlib.contextmanager(generator), None), (5, "int, not a function"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_a_handler_is_refused_when_the_task_is_declared(function, why):
    if why is None:
        # This function is accepted: the wrapper is no generator function, and makes a context manager of its generator.
        App("").task(name="t")(function)
        return
    with pytest.raises(InvalidArgumentsError, match="cannot be a task") as caught:
        App("").task(name="t")(function)
    assert why in caught.value.why
    assert caught.value.do


@pytest.mark.parametrize(
    "function", [wrong_attribute, no_syntax, no_name, no_type, raises, not_for_json, final, of_class]
)
def test_a_bad_annotation_is_refused_when_the_task_is_declared(function):
    with pytest.raises(InvalidArgumentsError, match="do: "):
        App("").task(name="t")(function)


def test_a_lambda_needs_a_name():
    with pytest.raises(UnnameableTaskError):
        App("").task(lambda n: None)
    assert App("").task(name="t")(lambda n: None).name == "t"


@pytest.mark.parametrize(
    "function", [Held.alone, Held().method, Held.of_class, staticmethod(known.spec.function)]
)
def test_a_bound_method_or_a_static_method_can_be_a_task(function):
    assert App("").task(name="t")(function).spec.encode((1,), {}) == '{"n":1}'


@pytest.mark.parametrize("function", [behind, runs_it(behind)])
def test_a_coroutine_function_is_recognised_behind_wrappers_that_are_not_async(function):
    task = App("").task(name="t")(function)
    assert task.spec.is_async
    assert task.spec.encode((1,), {}) == '{"n":1}'
    assert asyncio.run(task(1)) == 2


def test_a_task_of_one_app_can_be_declared_in_another_app_too():
    assert App("").task(known).spec.function is known.spec.function


@pytest.mark.parametrize(
    "make", [lambda: behind(1), lambda: generator(1), lambda: async_generator(1), lambda: map(str, [1])]
)
def test_a_result_is_refused_if_it_is_a_coroutine_or_an_iterator_whose_work_would_never_be_done(make):
    value = make()
    with pytest.raises(BadResultError, match="whose work would never be done"):
        known.spec.encode_result(value)


# ------------------------------------------------------------------ tasks that are declared again


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yields a function that writes a module with the given text and imports it. A second module in the same folder contains the app."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "declared_base.py").write_text("from pgqueue import App\napp = App('')\n")

    def make(text: str) -> Any:
        (tmp_path / "declared_tasks.py").write_text("from declared_base import app\n" + textwrap.dedent(text))
        importlib.invalidate_caches()
        return importlib.import_module("declared_tasks")

    yield make
    for name in ("declared_base", "declared_tasks"):
        sys.modules.pop(name, None)


TEXT = """
@app.cron("0 3 * * *")
@app.task(queue="one")
def f(n: int = 1) -> int:
    return n

@f.on_dead
def dead(job, failure): ...

@app.on_failed
def failed(job, failure): ...

@app.middleware
def around(call):
    yield
"""


def test_a_reload_of_a_module_replaces_the_tasks_hooks_and_schedules_that_it_declared_before(
    module, tmp_path
):
    tasks = module(TEXT)
    before = tasks.f
    (tmp_path / "declared_tasks.py").write_text(
        "# longer\nfrom declared_base import app\n" + TEXT.replace('"one"', '"other"')
    )
    importlib.reload(tasks)
    app = tasks.app
    assert app.tasks["declared_tasks.f"] is tasks.f is not before
    assert tasks.f.spec.queue == "other"
    assert [len(tasks.f.hooks["dead"]), len(app.hooks["failed"]), len(app.layers)] == [1, 1, 1]
    assert list(app.schedules) == ["declared_tasks.f"]


def test_a_cell_of_a_notebook_that_declares_a_task_can_be_run_again():
    cell = "@app.task(name='demo.f')\ndef f(n: int) -> int:\n    return n\n"
    space = {"app": App(""), "__name__": "__main__"}
    exec(cell, space)
    exec(cell, space)
    assert space["app"].tasks["demo.f"] is space["f"]


@pytest.mark.parametrize(
    "text",
    [
        "@app.task\ndef f(): ...\n@app.task\ndef f(): ...",
        "for _ in '12':\n    @app.task(name='a')\n    def a(): ...",
        "@app.task(name='a')\ndef a(): ...\n@app.task(name='a')\ndef b(): ...",
    ],
)
def test_two_tasks_with_the_same_name_in_one_run_of_a_module_are_an_error(module, text):
    with pytest.raises(DuplicateTaskError):
        module(text)


def test_two_schedules_with_the_same_name_are_an_error(module):
    with pytest.raises(InvalidScheduleError, match="Two schedules"):
        module('@app.cron("0 3 * * *")\n@app.cron("0 4 * * *")\n@app.task\ndef f(): ...')
    with pytest.raises(InvalidScheduleError, match="Two schedules"):
        module(
            '@app.cron("0 3 * * *", name="x")\n@app.task\ndef g(): ...\n@app.cron("0 3 * * *", name="x")\n@app.task\ndef h(): ...'
        )


# ------------------------------------------------------------------ pickling


def test_tasks_are_pickled_by_their_names(module):
    tasks = module(TEXT)
    assert pickle.loads(pickle.dumps(tasks.f)) is tasks.f is copy.deepcopy(tasks.f)
    bound = pickle.loads(pickle.dumps(tasks.f.using(priority=3)))
    assert bound.job(n=1) == tasks.f.using(priority=3).job(n=1)
    assert pickle.loads(pickle.dumps(tasks.app)) is tasks.app


def test_another_process_finds_a_pickled_task_by_importing_its_module(module, tmp_path):
    code = "import pickle, sys; print(pickle.loads(bytes.fromhex(sys.argv[1]))(7))"
    pickled = pickle.dumps(module(TEXT).f).hex()
    done = subprocess.run(
        [sys.executable, "-c", code, pickled], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
    )  # fmt: skip
    assert done.stdout == "7\n"


def test_a_pickled_handle_keeps_its_app_if_the_app_is_assigned_to_a_name(module):
    tasks = module(TEXT)
    handle = pickle.loads(pickle.dumps(JobHandle(7, False, "pending", "unique_key", store=tasks.app.store)))
    assert (handle.id, handle.created, handle.state, handle.conflict, handle.store) == (
        7, False, "pending", "unique_key", tasks.app.store,
    )  # fmt: skip
    assert pickle.loads(pickle.dumps(JobHandle(7, store=App("").store))).store is None


def test_an_app_without_a_name_and_a_task_with_a_connection_are_not_pickled():
    with pytest.raises(pickle.PicklingError, match="assign it to a name at the top"):
        pickle.dumps(App(""))
    with pytest.raises(pickle.PicklingError, match="connection"):
        pickle.dumps(known.using(object()))
