"""The definition of a task: a function, its name and its defaults. Also translates its arguments to JSON and back.

This module does no I/O. ``app/enqueue.py`` has the methods that enqueue.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from types import CoroutineType
from typing import Any, NotRequired

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticErrorMixin
from pydantic_core import CoreConfig, SchemaSerializer, to_json
from typing_extensions import TypedDict

from pgqueue.errors import (
    BadResultError,
    InvalidArgumentsError,
    InvalidJobError,
    InvalidOptionError,
    InvalidPayloadError,
    InvalidSettingError,
)
from pgqueue.model.declaring import Handler, hints_of
from pgqueue.model.job import Job
from pgqueue.model.names import EXECUTORS, check_free, check_name
from pgqueue.model.nodes import NodeResult, refuse_results
from pgqueue.model.outcome import COMPLETED, FORGOTTEN, Keep, Outcome
from pgqueue.model.payload import (
    ARGS_LIMIT,
    RESULT_LIMIT,
    check_text,
    check_texts,
    complaints,
    plain,
    plain_numbers,
)
from pgqueue.model.redact import paths_in, result_paths
from pgqueue.model.redaction import EVERYTHING, Paths, Redaction
from pgqueue.model.retry import RetryPolicy
from pgqueue.model.round_trip import difference, has_any, is_closed
from pgqueue.text.described import message
from pgqueue.text.nearest import rather
from pgqueue.text.values import name_of

TOGETHER = 500  # this many items are checked together: few enough to stay in the processor's cache
# If a key contains a lone surrogate, pydantic writes this character instead. So arguments with this character are read back and compared.
REPLACEMENT = "\ufffd".encode()
BOTH_NAMES = {"by_alias": True, "by_name": True}  # a field can be given by its name or by its alias
KEEPS = ("all", "failures", "none")
KEPT_ELSEWHERE = "return plain data or nothing, or declare the task with store_result=False"


@dataclass(frozen=True)
class TaskSpec:
    """A task without its app. ``timeout`` is in seconds. ``executor`` is where its handler runs; None: the worker decides.

    ``store_result`` False: the value that the handler returns is not stored. ``has_hooks``: hooks run after its completions.
    ``is_internal``: the task is one of pgqueue's own, so middleware is not called for its attempts. ``version``: of the code; ``accepts``: the
    versions whose checkpoints this code understands (model/versions.py). ``is_partial``: arguments can be left out, because the
    results of nodes will take their places. ``redacts``: what is secret in its jobs; None: what its types say. ``keep_logs``:
    from which level on the lines that its handler logs are stored; None: the worker decides.
    """

    name: str
    function: Handler
    queue: str = "default"
    priority: int = 0
    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy.of(None))
    timeout: float | None = None
    keep: Keep = "all"
    store_result: bool = True
    executor: str | None = None
    # The options about duplicates (unique.KeyRules), in the form of the SQL API.
    rules: Mapping[str, object] = field(default_factory=dict)
    has_hooks: bool = False
    is_internal: bool = False
    version: int | None = None
    accepts: tuple[int, ...] = ()
    is_partial: bool = False
    redacts: Redaction | None = None
    keep_logs: int | None = None

    def __post_init__(self) -> None:
        check_name("task", self.name) if self.is_internal else check_free(self.name)
        check_name("queue", self.queue)
        if self.keep not in KEEPS:
            raise InvalidOptionError(f"keep is {self.keep!r}.", do=rather(self.keep, KEEPS))
        if self.executor is not None and self.executor not in EXECUTORS:
            raise InvalidSettingError(f"executor is {self.executor!r}.", do=rather(self.executor, EXECUTORS))
        self.check_unique(self.rules.get("unique"))

    @cached_property
    def options(self) -> dict[str, object]:
        """The default options of the task's jobs, in the form of the SQL API. An enqueuer can choose other values."""
        options: dict[str, object] = {"queue": self.queue, "max_attempts": self.retry.max_attempts}
        if self.priority:
            options["priority"] = self.priority
        if self.timeout is not None:
            options["timeout"] = self.timeout
        return {**options, **self.rules}

    def check_unique(self, names: object) -> None:
        """Raises InvalidOptionError if one of ``names`` is no argument of the task. Such a name would count as null in the key of every job."""
        if not isinstance(names, list) or any(p.kind is p.VAR_KEYWORD for p in self.arguments.values()):
            return
        if unknown := [name for name in names if name not in self.arguments]:
            raise InvalidOptionError(
                f"unique contains {', '.join(unknown)}, which is no argument of task {self.name}.",
                do=f"it takes {self.describe()}",
            )

    @cached_property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    @cached_property
    def completion(self) -> Outcome:
        """The outcome of an attempt whose handler returned None. COMPLETED and FORGOTTEN are cheap (complete.sql), but no hook runs after them."""
        if self.has_hooks:
            return Outcome.completed(keep=self.keep)
        return COMPLETED if self.keep == "all" else FORGOTTEN

    @cached_property
    def job_parameter(self) -> str | None:
        """The name of the parameter that is annotated ``Job``, which gets the stored job. None: there is no such parameter."""
        hints = hints_of(self.name, self.function)
        return next((name for name in self.signature.parameters if hints.get(name) is Job), None)

    @cached_property
    def signature(self) -> inspect.Signature:
        return inspect.signature(self.function)

    @cached_property
    def arguments(self) -> dict[str, inspect.Parameter]:
        """The parameters that get their values from a job's arguments, in order."""
        found = {name: p for name, p in self.signature.parameters.items() if name != self.job_parameter}
        for name, parameter in found.items():
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                raise InvalidArgumentsError(
                    f"Task {self.name} has the parameter {name!r}, which cannot be given by name.",
                    do="arguments are stored as a JSON object: name every parameter",
                )
        return found

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        hints = hints_of(self.name, self.function)
        fields: dict[str, object] = {}
        rest: dict[str, object] = {}
        for name, parameter in self.arguments.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                rest["extra_items"] = plain(hints.get(name, Any))
                continue
            kind = plain(hints.get(name, Any))
            is_required = parameter.default is parameter.empty and not self.is_partial
            fields[name] = kind if is_required else NotRequired[kind]
        make: Any = TypedDict
        try:
            shape = make("Arguments", fields, **rest)
            shape.__pydantic_config__ = ConfigDict(
                extra="allow" if rest else "forbid", allow_inf_nan=False, arbitrary_types_allowed=False
            )
            return TypeAdapter(shape)
        except Exception as error:  # noqa: BLE001 - a user's own type can raise any error
            said = (
                error.message if isinstance(error, PydanticErrorMixin) else f"{type(error).__name__}: {error}"
            )
            raise InvalidArgumentsError(
                f"The signature of task {self.name} cannot be stored: {(said.splitlines() or [''])[0]:.200}",
                do="annotate its parameters with types that JSON can carry",
            ) from None

    @cached_property
    def redaction(self) -> Redaction:
        """What is secret in the arguments and results of the task's jobs. If their types are not defined yet, everything is."""
        if self.redacts is not None:
            return self.redacts
        hint = hints_of(self.name, self.function).get("return")
        try:
            return Redaction(paths_in(self.adapter.core_schema), self.result_paths(hint))
        except PydanticUserError:
            return EVERYTHING

    def result_paths(self, hint: object) -> Paths:
        """Returns the paths of what is secret in the result of a job. ``hint``: the return type of the handler."""
        return result_paths(hint)

    @cached_property
    def validator(self) -> Any:
        """The validator inside the adapter. A direct call of it is faster, because it skips the code of the adapter."""
        return self.adapter.validator

    @cached_property
    def is_closed(self) -> bool:
        """Whether all arguments that fit the signature certainly come back from JSON equal. If not, each enqueue reads them back and compares them."""
        return is_closed(self.adapter.core_schema)

    @cached_property
    def validate(self) -> Callable[[object], object]:
        return self.validator.validate_python if self.is_closed else partial(self.validator.validate_python, **BOTH_NAMES)  # fmt: skip

    @cached_property
    def read(self) -> Callable[[str], Any]:
        return self.validator.validate_json if self.is_closed else partial(self.validator.validate_json, **BOTH_NAMES)  # fmt: skip

    @cached_property
    def write(self) -> Callable[[object], bytes]:
        """A function that writes arguments as JSON.

        It writes each field under its name and not under its alias, because a model can have one alias for reading and another for writing.
        """
        to_json = self.serializer.to_json
        if self.is_closed and not has_any(self.adapter.core_schema):
            return to_json
        rules: Any = {} if self.is_closed else {"by_alias": False, "round_trip": True, "warnings": "none"}
        return lambda arguments: plain_numbers(to_json(arguments, **rules))

    def check_return(self, sent: object, text: str) -> None:
        """Raises InvalidArgumentsError if a worker would read other values from ``text`` than the values that were sent."""
        try:
            said = difference(sent, self.read(text))
        except ValidationError as error:
            said = f"read back, {complaints(error)}"
        except Exception as error:  # noqa: BLE001 - a user's own validators and ``__eq__`` can raise any error
            said = f"reading it back raises {type(error).__name__}"
        if said is not None:
            raise InvalidArgumentsError(
                f"Arguments of task {self.name} would change on their way through JSON: {said}.",
                why="a handler must get exactly the values that were sent",
                do="annotate the parameter so that JSON can carry it (no union whose types look the same in JSON, no secrets, no excluded fields)",
            )

    @cached_property
    def serializer(self) -> SchemaSerializer:
        """Writes NaN as NaN, so that a later check refuses it. The adapter's own serializer would write null."""
        return SchemaSerializer(self.adapter.core_schema, CoreConfig(ser_json_inf_nan="constants"))

    def encode(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
        """Checks the arguments against the signature, and returns them as JSON text.

        Raises InvalidArgumentsError, InvalidPayloadError or PayloadTooLargeError.
        """
        given = dict(kwargs)
        if args:
            self._name_each(args, given)
        validate, write = self.validate, self.write
        try:
            valid = validate(given)
            written = write(valid)
        except ValidationError as error:
            refuse_results(self.name, given)
            raise InvalidArgumentsError(
                f"Arguments of task {self.name}: {complaints(error)}.", do=f"it takes {self.describe()}"
            ) from None
        except Exception as error:
            refuse_results(self.name, given)
            raise InvalidPayloadError(
                f"Arguments of task {self.name} cannot be made JSON: {type(error).__name__}: {error!s:.200}"
            ) from error
        text = check_text(written, f"The arguments of task {self.name}", ARGS_LIMIT)
        if not self.is_closed or REPLACEMENT in written:
            self.check_return(valid, text)
        return text

    @cached_property
    def positional(self) -> list[str]:
        """The names of the parameters that can be given by their position, in order."""
        return [name for name, p in self.arguments.items() if p.kind is p.POSITIONAL_OR_KEYWORD]

    def _name_each(self, args: tuple[object, ...], given: dict[str, object]) -> None:
        """Puts positional arguments into ``given``, under their names."""
        names = self.positional
        if len(args) > len(names):
            raise InvalidArgumentsError(
                f"Task {self.name} takes {len(names)} positional arguments, not {len(args)}."
            )
        for name, value in zip(names, args, strict=False):
            if name in given:
                raise InvalidArgumentsError(f"Task {self.name} got the argument {name!r} twice.")
            given[name] = value

    def encode_with_results(
        self, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> tuple[str, dict[str, NodeResult]]:
        """Does ``encode`` for arguments of which some are results of nodes. Returns the other ones as JSON text, and the results by name.

        A result is not known yet, so it is checked only when the handler is called.
        """
        given = dict(kwargs)
        self._name_each(args, given)
        results = {name: value for name, value in given.items() if isinstance(value, NodeResult)}
        is_open = any(p.kind is p.VAR_KEYWORD for p in self.arguments.values())
        wrong = [f"{name} is unknown" for name in results if not is_open and name not in self.arguments]
        wrong += [
            f"{name} is missing"
            for name, p in self.arguments.items()
            if name not in given and p.default is p.empty and p.kind is not p.VAR_KEYWORD
        ]
        if wrong:
            raise InvalidArgumentsError(
                f"Arguments of task {self.name}: {'; '.join(wrong)}.", do=f"it takes {self.describe()}"
            )
        return self._partly.encode((), {k: v for k, v in given.items() if k not in results}), results

    @cached_property
    def _partly(self) -> TaskSpec:
        return replace(self, is_partial=True)

    def encode_many(self, items: Sequence[Mapping[str, object]]) -> list[str]:
        """Does ``encode`` for each item, at a third of its cost. If an item is bad, raises an InvalidJobError that does not say which item."""
        if not self.is_closed:
            return [self.encode((), item) for item in items]
        validate, to_json = self.validate, self.write
        texts: list[str] = []
        for start in range(0, len(items), TOGETHER):
            try:
                made = [to_json(validate(item)) for item in items[start : start + TOGETHER]]
            except Exception as error:
                raise InvalidArgumentsError(f"An item is bad: {error!s:.200}") from error
            if REPLACEMENT in b"".join(made):
                made = [self.encode((), item).encode() for item in items[start : start + TOGETHER]]
            texts += check_texts(made, f"The arguments of task {self.name}", ARGS_LIMIT)
        return texts

    def decode(self, text: str) -> dict[str, object]:
        """Returns the keyword arguments of the function. If the text does not fit, raises InvalidArgumentsError or ValueError."""
        try:
            arguments: dict[str, object] = self.read(text)
            return arguments  # noqa: TRY300
        except ValidationError as error:
            raise InvalidArgumentsError(
                f"The stored arguments do not fit task {self.name}: {complaints(error)}.",
                do=f"it takes {self.describe()}",
            ) from None

    def encode_result(self, value: object) -> str | None:
        """Returns the result as JSON text. None: there is no result to store.

        Raises BadResultError if the result cannot be stored, also if code of the value's own class raises an error.
        """
        if value is None or not self.store_result:
            return None
        try:
            _refuse_work(self.name, value)
            text = plain_numbers(to_json(value, inf_nan_mode="constants"))
            return check_text(text, f"The result of task {self.name}", RESULT_LIMIT)
        except InvalidJobError as error:
            raise BadResultError(error.what, why=error.why, do=KEPT_ELSEWHERE) from None
        except BaseException as error:  # noqa: BLE001
            raise BadResultError(
                f"Task {self.name} returned a value of type {name_of(value)}, which is not JSON: {message(error)}",
                do=KEPT_ELSEWHERE,
            ) from None

    def describe(self) -> str:
        """Returns the parameters as a text for messages, such as ``order_id: int, email: str = ...``."""
        return ", ".join(_written(parameter) for parameter in self.arguments.values()) or "no arguments"


def _refuse_work(task: str, value: object) -> None:
    """Refuses a coroutine or an iterator as a result. Its work is not done yet, and would be done while the JSON is written, or never."""
    if issubclass(type(value), Awaitable | Iterator | AsyncIterator):
        if type(value) is CoroutineType:
            value.close()
        raise InvalidPayloadError(
            f"Task {task} returned a value of type {name_of(value)}, whose work would never be done."
        )


def _written(parameter: inspect.Parameter) -> str:
    """Returns the parameter as it is written in the source. An annotation that is a text has no quotes."""
    if not isinstance(parameter.annotation, str):
        return str(parameter)
    return str(parameter).replace(repr(parameter.annotation), parameter.annotation, 1)
