"""The options of an enqueue. A rule for each option checks its value, and returns it in the form of the SQL API. This module does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta

from pydantic import ConfigDict, JsonValue, TypeAdapter, ValidationError

from pgqueue.errors import InvalidOptionError, InvalidPayloadError
from pgqueue.model.names import check_name
from pgqueue.model.payload import ARGS_LIMIT, RESULT_LIMIT, check_text, complaints, walk
from pgqueue.model.units import LARGEST_WEIGHT, seconds
from pgqueue.text.nearest import rather
from pgqueue.text.values import shown

EDITABLE = (
    "args", "queue", "priority", "run_at", "delay", "max_attempts", "timeout", "tags", "meta", "expires", "deadline",
)  # fmt: skip
CONFLICTS = ("skip", "replace", "raise")
REMOVABLE = ("timeout", "expires", "deadline")
Duration = float | str | timedelta
TICK = 1e-6  # seconds; the database stores no shorter time
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)


def options(**given: object) -> dict[str, object]:
    """Returns the options of one enqueue in the form of the SQL API. Leaves out options that are None.

    Each name must be in RULES (``unknown`` finds other names). If a value is wrong, raises InvalidOptionError or InvalidNameError, which
    says which option is wrong and which values it can have.
    """
    chosen: dict[str, object] = {}
    for name, value in given.items():
        if value is not None:
            chosen[name] = RULES[name](name, value)
    if "run_at" in chosen and "delay" in chosen:
        raise InvalidOptionError("run_at and delay are both given.", do="give one of them")
    return chosen


def unknown(given: Iterable[object]) -> str:
    """Returns the given names that are not options, as text for a message. The text is empty if all names are options."""
    return ", ".join(sorted(str(name) for name in given if name not in RULES))


def changes(given: Mapping[str, object]) -> dict[str, object]:
    """Returns the changes of an edit in the form of the SQL API. The value None removes a timeout, an expiry or a deadline."""
    wrong = ", ".join(sorted(set(given) - set(EDITABLE)))
    if wrong or not given:
        raise InvalidOptionError(
            f"A job has no option {wrong} that can be edited." if wrong else "The edit changes nothing.",
            do="give one of " + ", ".join(EDITABLE),
        )
    if "run_at" in given and "delay" in given:
        raise InvalidOptionError("run_at and delay are both given.", do="give one of them")
    return {
        name: None if value is None and name in REMOVABLE else EDITS[name](name, value)
        for name, value in given.items()
    }


def _integer(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidOptionError(f"{name} is {shown(value)}.", do=f"give a whole number from {low} to {high}")
    return value


def _moment(name: str, value: object) -> str:
    do = "give a datetime with a time zone, such as datetime.now(UTC) + …"
    if not isinstance(value, datetime):
        raise InvalidOptionError(f"{name} is {shown(value)}.", do=do)
    if value.tzinfo is None:
        raise InvalidOptionError(f"{name} is {shown(str(value))}.", why=f"{name} needs a time zone", do=do)
    if not EARLIEST <= value < LATEST:
        raise InvalidOptionError(f"{name} is {value.isoformat()}.", do="give a time from year 2000 to 2999")
    return value.astimezone(UTC).isoformat()


def _text(name: str, value: object, limit: int) -> str:
    if not isinstance(value, str):
        raise InvalidOptionError(f"{name} is {shown(value)}.", do="give a text")
    if "\x00" in value:
        raise InvalidOptionError(f"{name} is {shown(value)}.", do="give a text without U+0000")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidOptionError(f"{name} is {shown(value)}.", do="give valid Unicode text") from None
    if not 1 <= size <= limit:
        raise InvalidOptionError(f"{name} has {size} bytes.", do=f"give 1 to {limit}")
    return value


def _queue(_name: str, value: object) -> str:
    return check_name("queue", value)


def _priority(name: str, value: object) -> int:
    return _integer(name, value, -32_768, 32_767)


def _attempts(name: str, value: object) -> int:
    return _integer(name, value, 1, 10_000)


def _weight(name: str, value: object) -> int:
    return _integer(name, value, 1, LARGEST_WEIGHT)


def _ordering(name: str, value: object) -> str:
    if value not in ("block", "skip"):
        raise InvalidOptionError(
            f"{name} is {shown(value)}.",
            do="give block (a dead job blocks the jobs after it) or skip (a dead job does not block the jobs after it)",
        )
    return str(value)


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidOptionError(f"{name} is {shown(value)}.", do="give True or False")
    return value


def _seconds(name: str, value: object) -> float:
    return seconds(value, name)


def _span(name: str, value: object) -> float:
    if (span := seconds(value, name)) < TICK:
        raise InvalidOptionError(f"{name} is {value!r}.", do="give more than 0 seconds")
    return span


def _unique(name: str, value: object) -> bool | list[str]:
    if isinstance(value, bool):
        return value
    if not isinstance(value, list | tuple) or not value:
        raise InvalidOptionError(f"{name} is {shown(value)}.", do="give True or a list of names of arguments")
    return [_text("a name in unique", argument, 255) for argument in value]


def _on_conflict(name: str, value: object) -> str:
    if value not in CONFLICTS:
        raise InvalidOptionError(f"{name} is {shown(value)}.", do=rather(value, CONFLICTS))
    return str(value)


def _bound(name: str, value: object) -> str | float:
    if isinstance(value, datetime):
        return _moment(name, value)
    try:
        return seconds(value, name)
    except InvalidOptionError as error:
        raise InvalidOptionError(error.what, do=f"{error.do}, or a datetime with a time zone") from None


def _args(name: str, value: object) -> dict[str, JsonValue]:
    return _object(name, value, ARGS_LIMIT)


def _key(name: str, value: object) -> str:
    return _text(name, value, 255)


def _tags(name: str, value: object) -> list[str]:
    if not isinstance(value, list | tuple) or len(value) > 32:
        raise InvalidOptionError(f"{name} is {shown(value)}.", do="give a list of at most 32 texts")
    return [_text("a tag", tag, 64) for tag in value]


def _object(name: str, value: object, limit: int = RESULT_LIMIT) -> dict[str, JsonValue]:
    if not isinstance(value, Mapping):
        raise InvalidOptionError(f"{name} is {shown(value)}.", do="give a dict")
    try:
        given = _OBJECT.validate_python(dict(value))
        text = _OBJECT.dump_json(given)
    except ValidationError as error:
        raise InvalidPayloadError(f"{name} is not JSON: {complaints(error)}.") from None
    except ValueError as error:
        raise InvalidPayloadError(f"{name} is not JSON: {error!s:.200}") from None
    check_text(text, name, limit)
    stored = _OBJECT.validate_json(text)
    if stored != given:  # a lone surrogate in a key became another character in JSON
        walk(given, name)
    return stored


_OBJECT: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(
    dict[str, JsonValue], config=ConfigDict(ser_json_inf_nan="constants")
)


RULES: dict[str, Callable[[str, object], object]] = {
    "queue": _queue,
    "priority": _priority,
    "run_at": _moment,
    "delay": _seconds,
    "unique_key": _key,
    "unique": _unique,
    "unique_for": _span,
    "on_conflict": _on_conflict,
    "throttle": _span,
    "debounce": _span,
    "debounce_max": _span,
    "idempotency_key": _key,
    "idempotency_ttl": _seconds,
    "max_attempts": _attempts,
    "timeout": _span,
    "concurrency_key": _key,
    "weight": _weight,
    "ordering": _ordering,
    "tags": _tags,
    "meta": _object,
    "expires": _bound,
    "deadline": _bound,
    "wake": _flag,
}
EDITS = {**RULES, "args": _args}


LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
NO_LEVEL = 1 << 30  # higher than the level of any line


def kept_level(keep_logs: object) -> int | None:
    """Returns the level from which on a task keeps log lines. None: the worker decides. NO_LEVEL: the task keeps none.

    Raises InvalidOptionError for anything else.
    """
    if keep_logs is None:
        return None
    if isinstance(keep_logs, bool):
        return LEVELS["INFO"] if keep_logs else NO_LEVEL
    if isinstance(keep_logs, str) and keep_logs.upper() in LEVELS:
        return LEVELS[keep_logs.upper()]
    raise InvalidOptionError(
        f"keep_logs is {shown(keep_logs)}.", do=f"give True, False or a level: {', '.join(LEVELS)}"
    )
