"""Arguments that are stored come back from the database unchanged. An enqueue refuses all other arguments."""

from __future__ import annotations

import itertools
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping, MutableSequence, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PlainSerializer,
    SecretBytes,
    SecretStr,
)

from pgqueue import App
from pgqueue.errors import InvalidArgumentsError, InvalidJobError
from tests.stages.argument_types import (
    BERLIN,
    Aliased,
    Animal,
    Box,
    Cat,
    Colour,
    Computed,
    Crossed,
    Dog,
    Excluded,
    Lazy,
    Level,
    Loose,
    Open,
    Parsed,
    Point,
    Private,
    Puppy,
    ReadByAnother,
    Secret,
    Serialized,
    Shape,
    Size,
    Sum,
    Tree,
    Unequal,
    WrittenByAnother,
    is_same,
    spec_of,
    through,
    twice,
)

NAIVE = datetime.fromisoformat("2025-01-02T03:00")

# Annotations, each with a value that comes back equal.
SAME = [
    (int, 7), (int, 10**300), (bool, True), (str, 'é€😀\\"\n'), (float, 1e22), (float, 1e-7), (float, -0.0),
    (None, None), (Any, {"b": [1, None, {"a": "x"}]}), (dict[str, Any], {"b": 1, "a": 2}),
    (Decimal, Decimal("1.10")), (UUID, UUID(int=1)), (datetime, datetime(2025, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
    (datetime, datetime(2025, 7, 1, tzinfo=BERLIN)), (datetime, NAIVE), (date, date(2025, 1, 2)),
    (time, time(1, 2, 3, 4)), (timedelta, timedelta(days=-1, microseconds=1)), (Colour, Colour.RED), (Size, Size.LARGE),
    (Level, Level.LOW), (Literal["a", 1], 1), (bytes, b"abc"), (Path, Path("/a/b")),
    (set[int], {1, 2}), (frozenset[UUID], frozenset({UUID(int=1)})), (tuple[int, str], (1, "a")), (tuple[int, ...], (1, 2)),
    (dict[int, str], {1: "a"}), (dict[UUID, date], {UUID(int=1): date(2025, 1, 1)}), (deque[int], deque([1])),
    (defaultdict[str, int], defaultdict(int, {"a": 1})), (OrderedDict[str, int], OrderedDict(a=1, b=2)),
    (Iterable[int], [1, 2]), (Sequence[int], [1, 2]), (Mapping[str, int], {"b": 1}), (Iterable, [1, "a"]),
    (int | None, None), (int | str, "1"), (int | str, 1), (datetime | int, 5), (Cat | int, Cat("Tom")),
    (Aliased, Aliased(orderId=7)), (list[Aliased], [Aliased(orderId=7)]), (ReadByAnother, ReadByAnother(orderId=7)),
    (WrittenByAnother, WrittenByAnother(order_id=7, a=3)), (Computed, Computed(a=1)), (Parsed, Parsed(data="[1, 2]")),
    (Excluded, Excluded(a=1)), (Open, Open(a=1, b=[1])), (Private, Private(a=1)), (Animal, Animal(name="Rex")),
    (Box[int], Box[int](inside=1)), (Box[list[UUID]], Box[list[UUID]](inside=[UUID(int=1)])),
    (Sum, Sum(1)), (Tree, Tree(children=[Tree(value="x")])), (Cat, Cat("Tom")), (Point, Point(1, 2.0)), (Shape, {"n": 1}),
    (Loose, Loose(data={"a": [1]})), (Annotated[int, Field(alias="other", gt=0)], 5), (SecretStr, SecretStr("")), (time, time(1, tzinfo=BERLIN)),
    (list[int | float], [1.0, 7.205759403792135e16]), (Any, {"1e5": [7.205759403792135e16, 1e-9, 10**16]}), (Decimal | float, Decimal("1.5")),
    (dict[int | str, int], {"1": 1}),
]  # fmt: skip

# Annotations, each with a value that an enqueue refuses, and with a pattern that the error matches.
REFUSED = [
    (Secret, Secret(token="hunter2"), "value.token"), (SecretBytes, SecretBytes(b"hunter2"), "value"),
    (Excluded, Excluded(a=1, b=2), "value.b"), (Serialized, Serialized(at=NAIVE), "value.at"),
    (Crossed, Crossed(a=2, b=1), "value"), (Animal, Puppy(name="Rex", age=1), "value comes back as Animal instead of Puppy"),
    (dict[str, Any], {"at": NAIVE}, "value.at"), (Mapping[str, Any], {"at": NAIVE}, "value.at"),
    (Sequence[Any], [Decimal("1.10")], "value"), (Loose, Loose(data={"id": UUID(int=1)}), "value.data.id"),
    (Shape, {"data": Decimal(1)}, "value.data comes back as str instead of Decimal"),
    (Lazy, Lazy(items=[1]), "value.items"), (Sequence[int], (1, 2), "value comes back as list instead of tuple"),
    (Sequence[int], range(3), "value: it would come back as a list: give a list, not range"), (Sequence, range(3), "give a list, not range"),
    (MutableSequence[int], deque([1]), "give a list, not deque"), (Iterable[int], range(3), "give a list, not range"), (Iterable, range(3), "give a list"),
    (list[Sequence[int]], [range(3)], r"value\.0: it would"), (Sequence[int] | None, range(3), "give a list"),
    (datetime | str, "2025-01-01T12:00:00", "value comes back as datetime instead of str"), (UUID | str, str(UUID(int=1)), "value"),
    (bytes | str, "abc", "value"), (Cat | Dog, Dog("Rex"), "value comes back as Cat instead of Dog"),
    (list[Cat | Dog], [Cat("a"), Dog("b")], r"value\[1\]"), (Colour | Size, Size.SMALL, "value comes back as Colour"),
    (set[int] | frozenset[int], frozenset({1}), "value"),
    (dict[str | None, int], {None: 1}, "value"),
    (Annotated[int, PlainSerializer(lambda n: 0)], 2, "value comes back with another value"),
    (Annotated[int, AfterValidator(twice)], 2, "value comes back with another value"),
    (Annotated[datetime, PlainSerializer(lambda at: "never")], NAIVE, "value"),
 (OrderedDict[str, int], OrderedDict(b=1, a=2), "value comes back in another order"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), SAME, ids=itertools.count())
def test_a_value_that_json_can_represent_comes_back_equal(db, kind, value):
    got = through(db, spec_of(kind), value)
    assert is_same(value, got), (value, got)


@pytest.mark.parametrize(("kind", "value", "said"), REFUSED, ids=itertools.count())
def test_a_value_that_json_would_change_is_refused_and_the_error_contains_its_path(db, kind, value, said):
    with pytest.raises(InvalidArgumentsError, match=said) as caught:
        through(db, spec_of(kind), value)
    assert "hunter2" not in str(caught.value)


def test_a_time_in_the_hour_that_the_clocks_repeat_comes_back_as_the_same_moment(db):
    late = datetime(2025, 10, 26, 2, 30, fold=1, tzinfo=BERLIN)
    assert through(db, spec_of(datetime), late).astimezone(UTC) == late.astimezone(UTC)


def test_objects_without_an_eq_method_are_compared_by_their_attributes(db):
    assert through(db, spec_of(Unequal), Unequal(1)).n == 1


def test_the_fields_of_a_model_can_be_given_by_their_names_or_their_aliases(db):
    spec = spec_of(Aliased)
    assert spec.encode((), {"value": {"orderId": 7}}) == spec.encode((), {"value": {"order_id": 7}})
    assert spec.decode('{"value": {"orderId": 7}}') == spec.decode('{"value": {"order_id": 7}}')


def test_the_error_about_a_bad_value_in_a_batch_says_which_job_has_it(app: App):
    @app.task(name="t")
    def t(at: datetime | str) -> None: ...

    with pytest.raises(InvalidJobError, match=r"\[1\].*at comes back as datetime instead of str"):
        t.enqueue_many([{"at": "noon"}, {"at": "2025-01-01T12:00:00"}])


def test_a_key_that_is_no_unicode_text_is_refused(app: App):
    @app.task(name="counts")
    def counts(words: dict[str, int]) -> None: ...

    assert counts.job({"\ufffd": 1}).args == '{"words":{"\ufffd":1}}'
    with pytest.raises(InvalidArgumentsError, match="would change"):
        counts.job({"\ud800": 1})
    with pytest.raises(InvalidJobError, match="would change"):
        counts.enqueue_many([{"words": {"a": 1}}, {"words": {"\ud800": 1}}])


def test_an_item_of_a_chunk_comes_back_equal_or_is_refused(app: App):
    @app.task(name="t", chunk=10)
    def t(items: list[Aliased]) -> None: ...

    @app.task(name="s", chunk=10)
    def s(items: list[Secret]) -> None: ...

    assert t.spec.decode(t.spec.encode((Aliased(orderId=7),), {})) == Aliased(orderId=7)
    assert t.spec.encode((), {"order_id": 7}) == t.spec.encode((), {"orderId": 7})
    with pytest.raises(InvalidArgumentsError, match="token comes back"):
        s.spec.encode((Secret(token="hunter2"),), {})


def test_the_error_does_not_show_a_value_that_raises_when_it_is_read_back(app: App):
    class Spiteful(BaseModel):
        a: int

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("hunter2")

        __hash__ = None

    with pytest.raises(InvalidArgumentsError, match="reading it back raises RuntimeError") as caught:
        spec_of(Spiteful).encode((), {"value": Spiteful(a=1)})
    assert "hunter2" not in str(caught.value)


text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8)
