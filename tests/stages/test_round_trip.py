"""What is enqueued comes back equal from jsonb, or is refused at the enqueue: for all that pydantic can annotate."""

from __future__ import annotations

import dataclasses
import enum
import itertools
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping, MutableSequence, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypeVar, Union
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    PlainSerializer,
    PrivateAttr,
    SecretBytes,
    SecretStr,
    computed_field,
    create_model,
    field_serializer,
)
from typing_extensions import TypedDict

from pgqueue import App
from pgqueue.errors import InvalidArgumentsError, InvalidJobError
from pgqueue.model.task import TaskSpec

T = TypeVar("T")
NAIVE = datetime.fromisoformat("2025-01-02T03:00")
BERLIN = ZoneInfo("Europe/Berlin")
QUIET = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Size(enum.Enum):
    SMALL = "red"
    LARGE = 2


class Level(enum.IntEnum):
    LOW = 1


class Aliased(BaseModel):
    order_id: int = Field(alias="orderId")


class ReadByAnother(BaseModel):
    order_id: int = Field(validation_alias=AliasChoices("orderId", AliasPath("order", 0)))


class WrittenByAnother(BaseModel):
    order_id: int = Field(serialization_alias="orderId")
    other: int = Field(0, validation_alias="a", serialization_alias="b")


class Crossed(BaseModel):
    a: int = Field(alias="b")
    b: int = Field(alias="a")


class Secret(BaseModel):
    token: SecretStr


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int

    @computed_field
    @property
    def twice(self) -> int:
        return 2 * self.a


class Parsed(BaseModel):
    data: Json[list[int]]


class Excluded(BaseModel):
    a: int
    b: int = Field(default=0, exclude=True)


class Serialized(BaseModel):
    at: datetime

    @field_serializer("at")
    def only_the_day(self, at: datetime) -> str:
        return at.date().isoformat()


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class Private(BaseModel):
    a: int
    _seen: int = PrivateAttr(0)


class Loose(BaseModel):
    data: Any


class Lazy(BaseModel):
    items: Iterable[int]


class Animal(BaseModel):
    name: str


class Puppy(Animal):
    age: int


class Box(BaseModel, Generic[T]):
    inside: T


class Tree(BaseModel):
    children: list[Tree] = []
    value: int | str = 0


@dataclasses.dataclass
class Cat:
    name: str


@dataclasses.dataclass
class Dog:
    name: str


@dataclasses.dataclass
class Sum:
    a: int
    total: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.total = self.a + 1


@dataclasses.dataclass(eq=False)
class Unequal:
    n: int


class Point(NamedTuple):
    x: int
    y: float


class Shape(TypedDict, total=False):
    n: int
    data: Any


def twice(n: int) -> int:
    return 2 * n


def spec_of(kind: Any) -> TaskSpec:
    def handler(value): ...

    handler.__annotations__ = {"value": kind}
    return TaskSpec("round.trip", handler)


def through(db: Connection[Any], spec: TaskSpec, value: Any) -> Any:
    """What the handler gets of what was sent."""
    text = spec.encode((), {"value": value})
    assert spec.encode_many([{"value": value}]) == [text], "in bulk as alone"
    row = db.execute("select %s::jsonb::text", [text]).fetchone()
    return spec.decode(row[0])["value"]


def is_same(value: Any, got: Any) -> bool:
    """Equal by its own equality, and of its type, or of one that it is a kind of."""
    return value == got and isinstance(value, type(got))


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
def test_what_json_can_carry_comes_back_equal(db, kind, value):
    got = through(db, spec_of(kind), value)
    assert is_same(value, got), (value, got)


@pytest.mark.parametrize(("kind", "value", "said"), REFUSED, ids=itertools.count())
def test_what_would_change_is_refused_with_its_place(db, kind, value, said):
    with pytest.raises(InvalidArgumentsError, match=said) as caught:
        through(db, spec_of(kind), value)
    assert "hunter2" not in str(caught.value)


def test_an_hour_that_comes_twice_is_the_same_moment(db):
    late = datetime(2025, 10, 26, 2, 30, fold=1, tzinfo=BERLIN)
    assert through(db, spec_of(datetime), late).astimezone(UTC) == late.astimezone(UTC)


def test_an_object_without_equality_is_compared_by_what_it_holds(db):
    assert through(db, spec_of(Unequal), Unequal(1)).n == 1


def test_a_model_may_be_given_by_names_and_by_aliases(db):
    spec = spec_of(Aliased)
    assert spec.encode((), {"value": {"orderId": 7}}) == spec.encode((), {"value": {"order_id": 7}})
    assert spec.decode('{"value": {"orderId": 7}}') == spec.decode('{"value": {"order_id": 7}}')


def test_a_bad_value_in_a_batch_is_told_by_its_place(app: App):
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


def test_what_the_reading_raises_is_told_without_the_value(app: App):
    class Spiteful(BaseModel):
        a: int

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("hunter2")

        __hash__ = None

    with pytest.raises(InvalidArgumentsError, match="reading it back raises RuntimeError") as caught:
        spec_of(Spiteful).encode((), {"value": Spiteful(a=1)})
    assert "hunter2" not in str(caught.value)


# ------------------------------------------------------------------ whatever annotation, whatever value

text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8)
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
Kind = tuple[Any, st.SearchStrategy[Any]]


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
def test_plain_annotations_are_known_to_carry_all_values(
    db: Connection[Any], kind: Kind, data: st.DataObject
):
    annotation, values = kind
    spec = spec_of(annotation)
    assert spec.is_closed
    value = data.draw(values)
    assert through(db, spec, value) == value


@QUIET
@given(anything, st.data())
def test_any_annotation_carries_a_value_or_refuses_it(db: Connection[Any], kind: Kind, data: st.DataObject):
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
