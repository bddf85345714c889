"""Whatever the annotation of an argument is, the value comes back unchanged from the database, or the enqueue is refused."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, Optional, Union
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection
from pydantic import (
    Field,
    SecretStr,
    create_model,
)

from pgqueue.errors import InvalidArgumentsError, InvalidJobError
from tests.stages.argument_types import (
    BERLIN,
    Aliased,
    Animal,
    Cat,
    Colour,
    Dog,
    Level,
    Point,
    Size,
    is_same,
    spec_of,
    through,
)

QUIET = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8)

# These strings look like values of other types.
looks = st.sampled_from(
    [
        "1",
        "1.5",
        "true",
        "null",
        "2025-01-01",
        "2025-01-01T12:00:00Z",
        "red",
        "P1D",
        "PT1S",
        str(UUID(int=7)),
        "[1]",
    ]
)

numbers = st.integers(-(2**70), 2**70)

floats = st.floats(allow_nan=False, allow_infinity=False)

moments = st.datetimes(timezones=st.none() | st.sampled_from([UTC, BERLIN]))

LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    int: numbers, str: text | looks, bool: st.booleans(), float: floats, None: st.none(),
    UUID: st.uuids(),
}  # fmt: skip

OTHERS: dict[Any, st.SearchStrategy[Any]] = {
    Decimal: st.decimals(allow_nan=False, allow_infinity=False), datetime: moments, date: st.dates(), time: st.times(),
    timedelta: st.timedeltas(), bytes: st.binary(max_size=5), Colour: st.sampled_from(Colour), Size: st.sampled_from(Size),
    Level: st.just(Level.LOW), Literal["1", 1, "red"]: st.sampled_from(["1", 1, "red"]), SecretStr: text.map(SecretStr),
    Cat: text.map(Cat), Dog: text.map(Dog), Animal: text.map(lambda name: Animal(name=name)), Aliased: numbers.map(lambda n: Aliased(orderId=n)),
    Point: st.builds(Point, numbers, floats),
}  # fmt: skip

json_values = st.recursive(
    st.none() | st.booleans() | numbers | floats | text | looks,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)

Kind = tuple[Any, st.SearchStrategy[Any]]  # an annotation, and a strategy that makes values of it


def listed(kind: Kind) -> Kind:
    return list[kind[0]], st.lists(kind[1], max_size=3)


def keyed(kind: Kind) -> Kind:
    return dict[str, kind[0]], st.dictionaries(text | looks, kind[1], max_size=3)


def optional(kind: Kind) -> Kind:
    return Optional[kind[0]], st.none() | kind[1]  # noqa: UP045 - made at run time


def either(kinds: tuple[Kind, Kind]) -> Kind:
    return Union[kinds[0][0], kinds[1][0]], kinds[0][1] | kinds[1][1]  # noqa: UP007 - made at run time


def fielded(kinds: tuple[Kind, Kind]) -> Kind:
    (one, ones), (other, others) = kinds
    number = next(COUNTER)
    alias = {"alias": "aB"} if number % 2 else {}
    model = create_model(f"Model{number}", a=(one, Field(**alias)), b=(other, ...))
    made = dataclasses.make_dataclass(f"Made{number}", [("a", one), ("b", other)])
    if number % 3:
        return model, st.builds(lambda a, b: model.model_construct(a=a, b=b), ones, others)
    return made, st.builds(made, ones, others)


COUNTER = itertools.count()

leaves = st.sampled_from(list(LEAVES.items()))

closed = st.recursive(
    leaves | st.just((Any, json_values)),
    lambda inner: inner.map(listed) | inner.map(keyed) | inner.map(optional),
    max_leaves=4,
)

anything = st.recursive(
    leaves | st.sampled_from(list(OTHERS.items())) | st.just((Any, json_values | moments | st.uuids())),
    lambda inner: (
        inner.map(listed)
        | inner.map(keyed)
        | inner.map(optional)
        | st.tuples(inner, inner).map(either)
        | st.tuples(inner, inner).map(fielded)
        | inner.map(lambda kind: (tuple[kind[0], ...], st.lists(kind[1], max_size=3).map(tuple)))
        | inner.map(lambda kind: (Mapping[str, kind[0]], st.dictionaries(text, kind[1], max_size=3)))
        | inner.map(lambda kind: (Sequence[kind[0]], st.lists(kind[1], max_size=3)))
        | inner.map(lambda kind: (dict[int, kind[0]], st.dictionaries(numbers, kind[1], max_size=3)))
        | leaves.map(lambda kind: (set[kind[0]], st.sets(kind[1], max_size=3)))
    ),
    max_leaves=5,
)


@QUIET
@given(closed, st.data())
def test_simple_annotations_are_recognised_as_closed_and_their_values_come_back_unchanged(
    db: Connection[Any], kind: Kind, data: st.DataObject
):
    """An annotation is closed if every value that fits it certainly comes back from JSON equal."""
    annotation, values = kind
    spec = spec_of(annotation)
    assert spec.is_closed
    value = data.draw(values)
    assert through(db, spec, value) == value


@QUIET
@given(anything, st.data())
def test_a_value_of_any_annotation_comes_back_unchanged_or_is_refused(
    db: Connection[Any], kind: Kind, data: st.DataObject
):
    annotation, values = kind
    try:
        spec = spec_of(annotation)
        spec.adapter  # noqa: B018
    except InvalidArgumentsError:
        return
    value = data.draw(values)
    try:
        got = through(db, spec, value)
    except InvalidJobError:
        return
    if "fold" not in repr(value):
        assert is_same(value, got), (annotation, value, got)
