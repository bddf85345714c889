"""Types of arguments for tests, and a function that passes a value through the database and back."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from psycopg import Connection
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    PrivateAttr,
    SecretStr,
    computed_field,
    field_serializer,
)
from typing_extensions import TypedDict

from pgqueue.model.task import TaskSpec

T = TypeVar("T")


BERLIN = ZoneInfo("Europe/Berlin")


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
    """Passes the value through jsonb, as an argument of a job; returns the value that a handler gets."""
    text = spec.encode((), {"value": value})
    assert spec.encode_many([{"value": value}]) == [text], "a value has the same text in a batch and alone"
    row = db.execute("select %s::jsonb::text", [text]).fetchone()
    return spec.decode(row[0])["value"]


def is_same(value: Any, got: Any) -> bool:
    """Returns whether both values are equal, and the type of ``got`` is the type of ``value`` or one of its base classes."""
    return value == got and isinstance(value, type(got))
