"""The names, fingerprints and values of steps."""

from __future__ import annotations

import io
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel, computed_field

from pgqueue.errors import InvalidNameError, StepRefusedError, StepTooLargeError
from pgqueue.model.job import Job
from pgqueue.model.step_values import VALUE_LIMIT, codec_of, fingerprint
from pgqueue.model.steps import NAME_LIMIT, is_first, step_id


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("pay", ("pay", "")),
        (("page", 3), ("page", "3")),
        (("page", "x"), ("page", "x")),
        ("é" * 127, ("é" * 127, "")),
    ],
)
def test_a_step_has_a_name_and_perhaps_a_key(name: Any, known: tuple[str, str]) -> None:
    assert step_id(name) == known


@pytest.mark.parametrize(
    "name",
    ["", 7, None, ("a",), ("a", 1, 2), ("a", None), ("a", True), ("a", ""), (1, "a"), "x" * (NAME_LIMIT + 1), "é" * 128,
     ("a", "k" * (NAME_LIMIT + 1)), "\x00", ("a", "\ud800"), ("a", 10**5000), ("a", -(10**255)), "pgqueue.saved"],
)  # fmt: skip
def test_any_other_name_is_refused(name: Any) -> None:
    with pytest.raises(InvalidNameError, match="cannot name a step"):
        step_id(name)


def test_a_fingerprint_changes_with_the_arguments_and_fits_a_bigint() -> None:
    values = [[], [1], [2], ["1"], [1, 2], [[1, 2]], [{"a": 1}], [None]]
    found = [fingerprint(args, {}) for args in values] + [
        fingerprint([], {"a": 1}),
        fingerprint([], {"b": 1}),
    ]
    assert len(set(found)) == len(found)
    assert all(-(2**63) <= one < 2**63 for one in found)
    assert fingerprint([], {"a": 1, "b": 2}) == fingerprint([], {"b": 2, "a": 1})


class Opaque:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_arguments_that_are_not_json_count_by_their_types_alone() -> None:
    circle: list[Any] = []
    circle.append(circle)
    for args in (
        [Opaque()],
        [circle],
        [{1: 2, "a": 3}],
        [datetime(2026, 1, 1, tzinfo=UTC)],
        [Decimal(1)],
        [b"x"],
    ):
        assert fingerprint(args, {}) == fingerprint(args, {})
    assert fingerprint([Opaque()], {}) == fingerprint([Opaque()], {})


def test_a_fingerprint_takes_no_item_of_an_iterator_away_from_the_step() -> None:
    @dataclass
    class Upload:
        lines: Iterator[int]

    wrappers: list[Callable[[Any], Any]] = [
        lambda it: it,
        lambda it: {"a": [it]},
        lambda it: deque([it]),
        Upload,
    ]
    for wrapped in wrappers:
        for one in ((n for n in (1, 2)), iter([1, 2]), map(int, "12")):
            fingerprint([wrapped(one)], {})
            assert list(one) == [1, 2]
    file = io.StringIO("text")
    fingerprint([], {"file": file})
    assert file.read() == "text"


def test_a_job_as_an_argument_has_the_same_fingerprint_in_each_attempt() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    first = Job(1, "default", "t", {}, "running", 0, moment, 1, 5, lease_id=7, created_at=moment)
    again = replace(first, attempt=2, lease_id=9, last_error="no")
    assert fingerprint([first], {"job": [first]}) == fingerprint([again], {"job": [again]})


class Angry(list[int]):
    def __iter__(self) -> Iterator[int]:
        raise RuntimeError("no items")


def test_an_error_of_the_users_code_does_not_come_out_of_a_fingerprint() -> None:
    class Model(BaseModel):
        @computed_field  # type: ignore[prop-decorator]
        @property
        def n(self) -> int:
            raise ZeroDivisionError("no n")

    for value in (Model(), Angry([1])):
        assert fingerprint([value], {}) == fingerprint([value], {})


def test_a_set_has_the_same_fingerprint_in_every_process() -> None:
    code = "from pgqueue.model.step_values import fingerprint; print(fingerprint([{'a', 'b', 'c', 'd'}], {}))"
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, check=True
        ).stdout
        for seed in "12"
    }
    assert len(said) == 1


@dataclass
class Invoice:
    number: int
    due: datetime
    total: Decimal


INVOICE = Invoice(7, datetime(2026, 1, 2, tzinfo=UTC), Decimal("1.10"))


class Shop:
    def invoice(self) -> Invoice:
        return INVOICE


def invoice(number: int) -> Invoice:
    return INVOICE


async def ainvoice() -> Invoice:
    return INVOICE


def several() -> dict[str, tuple[Invoice, ...]]:
    return {"a": (INVOICE,)}


def nothing() -> None: ...


@pytest.mark.parametrize(
    ("function", "value"),
    [(invoice, INVOICE), (ainvoice, INVOICE), (Shop().invoice, INVOICE), (partial(invoice, 7), INVOICE), (several, several()),
     (nothing, None), (lambda: 1, {"a": [1, None, 1.5, "x"]}), (int, 7)],
)  # fmt: skip
def test_a_value_comes_back_by_the_annotation_of_its_function(function: Any, value: object) -> None:
    codec = codec_of(function)
    assert codec.read(codec.encode("a", value)) == value


def unresolved() -> Missing: ...  # type: ignore[name-defined]  # noqa: F821


def of_no_json() -> Opaque: ...


@pytest.mark.parametrize("function", [unresolved, of_no_json])
def test_an_annotation_that_json_cannot_carry_is_refused_before_the_call(function: Any) -> None:
    with pytest.raises(StepRefusedError, match="The annotation of what"):
        codec_of(function)


@pytest.mark.parametrize(
    ("value", "error"),
    [("x" * VALUE_LIMIT, StepTooLargeError), (float("nan"), StepRefusedError), (Opaque(), StepRefusedError),
     ("\ud800", StepRefusedError), (10**500, StepRefusedError)],
)  # fmt: skip
def test_a_value_that_cannot_be_stored_is_refused_before_anything_is_sent(
    value: object, error: type[Exception]
) -> None:
    with pytest.raises(error, match="The value of step a"):
        codec_of(lambda: 1).encode("a", value)


def test_a_value_that_does_not_fit_the_annotation_is_refused_without_being_shown() -> None:
    with pytest.raises(StepRefusedError, match="does not fit the annotation") as raised:
        codec_of(invoice).encode("a", {"number": "secret"})
    assert "secret" not in str(raised.value)


def test_only_an_odd_lease_is_the_first() -> None:
    assert [is_first(lease) for lease in (1, 2, 3)] == [True, False, True]
