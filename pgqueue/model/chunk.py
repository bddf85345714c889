"""A task whose handler gets many jobs in one call. Each job holds one item. The handler's annotation says which type an item has."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel, JsonValue, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError
from typing_extensions import is_typeddict

from pgqueue.errors import InvalidArgumentsError, InvalidOptionError, WrongOutcomesError
from pgqueue.model.declaring import hints_of
from pgqueue.model.job import Job
from pgqueue.model.nodes import NodeResult
from pgqueue.model.payload import complaints
from pgqueue.model.redact import result_paths
from pgqueue.model.redaction import Paths
from pgqueue.model.task import TaskSpec
from pgqueue.text import counted
from pgqueue.text.values import shown

LARGEST_CHUNK = 1000  # the largest number of jobs in a chunk
LONGEST_WAIT = 60.0  # the largest chunk_wait, in seconds
SHAPE = (
    "give the handler one parameter list[T] (T: a dataclass, a pydantic model or a TypedDict), one parameter list[Job],"
    " or both"
)


@dataclass(frozen=True)
class ChunkSpec(TaskSpec):
    """A task whose handler gets up to ``chunk`` jobs in one call.

    A worker starts a chunk when the chunk is full, or ``chunk_wait`` seconds after it claimed the first job of the chunk.
    """

    chunk: int = 1
    chunk_wait: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if (
            isinstance(self.chunk, bool)
            or not isinstance(self.chunk, int)
            or not 1 <= self.chunk <= LARGEST_CHUNK
        ):
            raise InvalidOptionError(
                f"chunk is {shown(self.chunk)}.", do=f"give a whole number from 1 to {LARGEST_CHUNK}"
            )
        if self.chunk_wait > LONGEST_WAIT:
            raise InvalidOptionError(
                f"chunk_wait is {self.chunk_wait:g} s.",
                why="jobs that wait until their chunk is complete keep their slots",
                do=f"give {LONGEST_WAIT:g} s at most",
            )

    @cached_property
    def parameters(self) -> tuple[str | None, Any, str | None]:
        """The name of the parameter for items, the type of an item, and the name of the parameter for jobs.

        If the handler has no parameter for items, the first two are None. If it has no parameter for jobs, the last is None.
        """
        hints = hints_of(self.name, self.function)
        items: list[tuple[str, Any]] = []
        jobs: list[str] = []
        for name in self.signature.parameters:
            kind = hints.get(name)
            inner = get_args(kind)[0] if get_origin(kind) is list else None
            if inner is Job:
                jobs.append(name)
            elif _is_object(inner):
                items.append((name, inner))
            else:
                raise self._misshapen(f"its parameter {name!r} is no list of items or jobs")
        if len(items) > 1 or len(jobs) > 1 or not items + jobs:
            raise self._misshapen(f"it has {len(items)} parameters for items and {len(jobs)} for jobs")
        jobs_name = jobs[0] if jobs else None
        return (*items[0], jobs_name) if items else (None, None, jobs_name)

    def _misshapen(self, why: str) -> InvalidArgumentsError:
        return InvalidArgumentsError(
            f"Task {self.name} takes chunks, but its parameters do not fit: {why}.", do=SHAPE
        )

    @cached_property
    def job_parameter(self) -> str | None:
        return None

    @cached_property
    def arguments(self) -> dict[str, Parameter]:
        """The fields of an item. The arguments of a job are the values of these fields."""
        _, kind, _ = self.parameters
        if kind is None:
            return {"arguments": Parameter("arguments", Parameter.VAR_KEYWORD)}
        if issubclass(kind, BaseModel):
            return {
                name: Parameter(name, Parameter.KEYWORD_ONLY, annotation=field.annotation)
                if field.is_required()
                else Parameter(name, Parameter.KEYWORD_ONLY, annotation=field.annotation, default=...)
                for name, field in kind.model_fields.items()
            }
        if not is_typeddict(kind):
            return dict(inspect.signature(kind).parameters)
        return {
            name: Parameter(
                name,
                Parameter.KEYWORD_ONLY,
                annotation=hint,
                default=Parameter.empty if name in kind.__required_keys__ else ...,
            )
            for name, hint in get_type_hints(kind).items()
        }

    @cached_property
    def _known(self) -> frozenset[str] | None:
        """The names of the fields that an item can have.

        None if any field is allowed, or if the item is a pydantic model: the model's own config decides which further fields it accepts.
        """
        _, kind, _ = self.parameters
        is_open = kind is None or issubclass(kind, BaseModel)
        return None if is_open else frozenset(self.arguments)

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        _, kind, _ = self.parameters
        try:
            return TypeAdapter(dict[str, JsonValue] if kind is None else kind)
        except (PydanticUserError, PydanticSchemaGenerationError) as error:
            raise InvalidArgumentsError(
                f"The items of task {self.name} cannot be stored: {error.message.splitlines()[0]}",
                do="annotate their fields with types that JSON can carry",
            ) from None

    def result_paths(self, hint: object) -> Paths:
        """The handler returns a list with the result of each job."""
        return tuple(path[1:] for path in result_paths(hint))

    def encode(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
        """Returns the JSON text of one item. The arguments are either the item itself, or its fields."""
        _, kind, _ = self.parameters
        if (
            len(args) == 1
            and not kwargs
            and kind is not None
            and not is_typeddict(kind)
            and isinstance(args[0], kind)
        ):
            fields = self._fields(args[0])
            if any(isinstance(value, NodeResult) for value in fields.values()):
                self.encode_with_results((), fields)
            return super().encode((), fields)
        self._refuse_unknown(kwargs)
        return super().encode(args, kwargs)

    def encode_with_results(
        self,
        args: tuple[object, ...],  # noqa: ARG002 - as for other tasks
        kwargs: Mapping[str, object],  # noqa: ARG002
    ) -> tuple[str, dict[str, NodeResult]]:
        raise InvalidArgumentsError(
            f"A job of task {self.name} takes the result of a node, but the task takes chunks.",
            why="its jobs are checked as whole items",
            do="give the result to a job of another task, which enqueues the items",
        )

    def encode_many(self, items: Sequence[Mapping[str, object]]) -> list[str]:
        for item in items:
            if not isinstance(item, Mapping):
                raise InvalidArgumentsError(f"An item is a {type(item).__name__}, not a dict of arguments.")
            self._refuse_unknown(item)
        return super().encode_many(items)

    def _fields(self, item: Any) -> dict[str, object]:
        if isinstance(item, BaseModel):
            return dict(item)
        return {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}

    def _refuse_unknown(self, given: Mapping[str, object]) -> None:
        if self._known is not None and not self._known.issuperset(given):
            names = ", ".join(sorted(str(name) for name in given if name not in self._known))
            raise InvalidArgumentsError(
                f"Arguments of task {self.name}: {names} is unknown.", do=f"it takes {self.describe()}"
            )

    def decode(self, text: str) -> Any:
        """Returns the item that the JSON text holds. If the text does not fit, raises InvalidArgumentsError or ValueError."""
        try:
            return self.read(text)
        except ValidationError as error:
            raise InvalidArgumentsError(
                f"The stored arguments do not fit task {self.name}: {complaints(error)}.",
                do=f"it takes {self.describe()}",
            ) from None

    def call_with(self, items: list[object], jobs: list[Job]) -> Any:
        """Calls the handler with the items, the jobs, or both. The handler's parameters decide which of them it gets."""
        name, _, jobs_name = self.parameters
        given: dict[str, object] = {}
        if name is not None:
            given[name] = items
        if jobs_name is not None:
            given[jobs_name] = jobs
        return self.function(**given)

    @cached_property
    def wants_jobs(self) -> bool:
        return self.parameters[2] is not None

    def results_of(self, value: object, count: int) -> list[object]:
        """Returns the result of each job, from the value that the handler returned. If that is impossible, raises WrongOutcomesError."""
        if value is None:
            return [None] * count
        if isinstance(value, list | tuple) and len(value) == count:
            return list(value)
        returned = (
            counted.count(len(value), "outcome")
            if isinstance(value, list | tuple)
            else f"a {type(value).__name__}"
        )
        raise WrongOutcomesError(
            f"Task {self.name} returned {returned} for {counted.count(count, 'job')}.",
            why="it is not clear which result belongs to which job, so all of them failed",
            do="return a list with one outcome for each job, in their order, or None",
        )


def _is_object(kind: object) -> bool:
    """Whether ``kind`` is a type whose values can be stored as JSON objects with fields."""
    return (
        dataclasses.is_dataclass(kind)
        or is_typeddict(kind)
        or (isinstance(kind, type) and issubclass(kind, BaseModel))
    )
