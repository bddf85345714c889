"""Tests of the signature of a task: which types its arguments can have, and how arguments become JSON and are read back."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from pgqueue import App, Job
from pgqueue.errors import (
    BadResultError,
    InvalidArgumentsError,
    InvalidOptionError,
    InvalidPayloadError,
    PgQueueError,
    UnnameableTaskError,
)
from pgqueue.model.declaring import task_name
from pgqueue.model.task import TaskSpec

NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001


@dataclass
class Address:
    street: str
    number: int = 1


class Order(BaseModel):
    id: int
    total: Decimal
    address: Address | None = None


class Colour(Enum):
    RED = "red"


def spec(function: Callable[..., Any]) -> TaskSpec:
    return TaskSpec("t", function)


def taking(kind: Any) -> TaskSpec:
    """Returns a task with one parameter ``x`` of this type."""

    def function(x): ...

    function.__annotations__["x"] = kind
    return spec(function)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 5),
        (int, 2**63),
        (float, 1e300),
        (bool, True),
        (str, "żółć 🙂 \u202e \t"),
        (bytes, b"plain"),
        (UUID, UUID(int=7)),
        (Decimal, Decimal("0.10")),
        (datetime, datetime(2030, 1, 1, 12, tzinfo=UTC)),
        (datetime, NAIVE),
        (date, date(2030, 1, 1)),
        (timedelta, timedelta(hours=1)),
        (Colour, Colour.RED),
        (Literal["a", "b"], "b"),
        (set[int], {1, 2}),
        (tuple[int, str], (1, "a")),
        (tuple, (1, [2])),
        (list[UUID], [UUID(int=1)]),
        (dict[str, Decimal], {"a": Decimal(1)}),
        (int | None, None),
        (int | str, "5"),
        (Address, Address("Main", 2)),
        (Order, Order(id=1, total=Decimal("9.99"), address=Address("Main"))),
        (list[Order], [Order(id=1, total=Decimal(1))]),
        (Annotated[int, Field(ge=0)], 0),
        (Any, {"a": [1, None, True, 2.5, "b", {}]}),
        (object, []),
        (dict, {"a": []}),
        (Any | None, [None]),
    ],
)
def test_a_value_of_the_annotated_type_comes_back_unchanged(kind, value):
    task = taking(kind)
    assert task.decode(task.encode((value,), {})) == {"x": value}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, "many"),
        (int, None),
        (str, 5),
        (UUID, "no"),
        (Literal["a"], "b"),
        (Address, {"number": 1}),
        (Order, {"id": 1, "total": "x"}),
        (Annotated[int, Field(ge=0)], -1),
        (float, math.nan),
        (float, math.inf),
        (dict, {1: 2}),
        *((kind, value) for kind in (Any, object, Any | None, Annotated[Any, "note"])
          for value in ({1}, NAIVE, date(2030, 1, 1), (1,), b"a", Decimal(1), UUID(int=1), {1: 2}, object(), Colour.RED)),
        (list, [{1}]),
        (tuple, ({1},)),
        (dict[str, Any], {"a": {"b": {1}}}),
        (list[Any] | None, [NAIVE]),
    ],
)  # fmt: skip
def test_the_error_about_a_value_of_another_type_contains_the_path_to_the_value(kind, value):
    with pytest.raises(InvalidArgumentsError, match=r"PGQ-401  Arguments of task t: x"):
        taking(kind).encode((), {"x": value})


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a\x00b", "x' contains U\\+0000"),
        ({"a\x00": 1}, r"\(a key\)' contains U\+0000"),
        (["\ud800"], "surrogate|UnicodeEncodeError"),
        ({"\ud800": 1}, "surrogate|UnicodeEncodeError|valid string|not a valid JSON"),
        ("\udcff", "surrogate|UnicodeEncodeError"),
        ([math.nan], r"\$.x\[0\] is nan"),
        ({"a": -math.inf}, r"\$.x.a is -inf"),
        (10**400, "more than 400 digits"),
        pytest.param(10**5000, "digits", id="5000 digits"),
        pytest.param([10**5000], "digits", id="5000 digits within"),
        (nested(64), "more than 64 levels deep"),
        (nested(5000), "levels deep|[Rr]ecursion|cyclic"),
    ],
)
def test_a_value_that_jsonb_cannot_store_is_refused(value, message):
    with pytest.raises((InvalidPayloadError, InvalidArgumentsError), match=message):
        taking(Any).encode((value,), {})


def test_a_value_that_contains_itself_is_refused():
    value: list[Any] = []
    value.append(value)
    with pytest.raises(PgQueueError, match="PGQ-40"):
        taking(Any).encode((value,), {})


def test_values_exactly_at_the_limits_are_accepted():
    taking(Any).encode((nested(63),), {})
    taking(Any).encode((10**399,), {})


def test_a_value_whose_repr_raises_is_refused_with_a_normal_error():
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError

    with pytest.raises(InvalidArgumentsError, match="Hostile"):
        taking(int).encode((Hostile(),), {})


def first(job: Job, a: int, b: str = "b") -> None: ...
def middle(a: int, job: Job, b: str = "b") -> None: ...
def last(a: int, b: str = "b", *, job: Job) -> None: ...
def without(a: int, b: str = "b") -> None: ...


@pytest.mark.parametrize("function", [first, middle, last, without])
def test_the_job_can_be_any_parameter_of_the_handler_and_is_no_argument(function):
    task = spec(function)
    assert task.job_parameter == (None if function is without else "job")
    assert task.decode(task.encode((1,), {})) == {"a": 1}
    assert task.decode(task.encode((1, "c"), {})) == {"a": 1, "b": "c"}
    assert task.describe() == "a: int, b: str = 'b'"


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "a is missing"),
        ((1, "b", 3), {}, "takes 2 positional arguments, not 3"),
        ((1,), {"a": 1}, "'a' twice"),
        ((), {"a": 1, "c": 2}, "c is unknown.* do: it takes a: int, b: str = 'b'"),
        ((), {"job": 1, "a": 1}, "job is unknown"),
        ((None,), {}, "a: .*not None"),
    ],
)
def test_arguments_that_do_not_fit_the_signature_are_refused(args, kwargs, message):
    with pytest.raises(InvalidArgumentsError, match=message):
        spec(middle).encode(args, kwargs)


def test_arguments_for_a_parameter_with_two_stars_are_checked_as_well():
    def loose(a: int = 0, **rest): ...
    def typed(**rest: UUID): ...

    assert spec(loose).decode(spec(loose).encode((), {"b": [1]})) == {"b": [1]}
    assert spec(typed).decode(spec(typed).encode((), {"b": UUID(int=1)})) == {"b": UUID(int=1)}
    for task, args, kwargs in [
        (spec(loose), (), {"b": {1}}),
        (spec(loose), (), {"b": NAIVE}),
        (spec(loose), (1, 2), {}),
        (spec(typed), (), {"b": 1}),
    ]:
        with pytest.raises(InvalidArgumentsError):
            task.encode(args, kwargs)


def positional_only(a, /): ...
def variadic(*args): ...
def unresolved(a: Nowhere): ...  # noqa: F821
def connection(a: types.FrameType): ...


@pytest.mark.parametrize("function", [positional_only, variadic, unresolved, connection])
def test_a_signature_that_a_task_cannot_have_is_refused_when_the_task_is_declared(function):
    app = App("")
    with pytest.raises(InvalidArgumentsError, match="do: "):
        app.task(name="t")(function).spec.encode((), {})


@pytest.mark.parametrize(
    "text", ["[]", "null", "1", "{", '{"a": 1, "a": "x"}', '{"a": "x"}', "{}", '{"a":1,"z":1}']
)
def test_the_error_says_that_stored_arguments_do_not_fit(text):
    with pytest.raises(InvalidArgumentsError, match="stored arguments do not fit"):
        spec(without).decode(text)


@pytest.mark.parametrize(
    ("option", "bad"),
    [
        ("timeout", 0),
        ("timeout", "-5"),
        ("timeout", timedelta(-1)),
        ("priority", "high"),
        ("priority", 10**6),
    ],
)
def test_a_bad_option_is_refused_when_the_task_is_declared(option, bad):
    with pytest.raises(InvalidOptionError, match=f"{option} is "):
        App("").task(name="t", **{option: bad})(without)


def test_a_task_is_named_by_its_module_and_function(monkeypatch):
    assert task_name(middle) == f"{__name__}.middle"
    monkeypatch.setattr(middle, "__module__", "__main__")
    monkeypatch.setattr(
        sys.modules["__main__"], "__spec__", types.SimpleNamespace(name="shop.__main__"), raising=False
    )
    assert task_name(middle) == "shop.__main__.middle"
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    with pytest.raises(UnnameableTaskError):
        task_name(middle)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({1, 2}, None),
        (Order(id=1, total=Decimal(1)), None),
        (object(), "returned a value of type object, which is not JSON"),
        (math.nan, "is nan, which JSON does not have"),
        ("a\x00", "U.0000|NUL|x00"),
        (nested(100), "nested more than 64 levels"),
        (nested(5000), "depth exceeded"),
        ("x" * 65 * 1024, "the limit is 64 KiB"),
    ],
)
def test_a_result_is_checked_like_arguments(value, complaint):
    task = spec(without)
    if complaint is None:
        assert task.encode_result(value)
    else:
        with pytest.raises(BadResultError, match=complaint):
            task.encode_result(value)


def test_the_result_none_is_not_stored():
    assert spec(without).encode_result(None) is None


values = st.recursive(
    st.none() | st.integers(-5, 5) | st.text('aN\\u\x00"[{\n', max_size=4) | st.sampled_from([math.nan, 10**402, object()]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a\\", max_size=2), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
arguments = st.fixed_dictionaries({"x": values | st.builds(nested, st.sampled_from([10, 70]))})


@given(items=st.lists(arguments | st.just({"wrong": 1}), max_size=5))
def test_a_batch_is_encoded_exactly_as_its_jobs_are_encoded_one_by_one(items: list[dict[str, Any]]) -> None:
    task = taking(Any)
    try:
        alone = [task.encode((), item) for item in items]
    except PgQueueError:
        with pytest.raises(PgQueueError):
            task.encode_many(items)
    else:
        assert task.encode_many(items) == alone
