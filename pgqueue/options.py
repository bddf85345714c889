"""What one enqueue may be given beside its arguments: each option with its rule, as the SQL API takes it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import ConfigDict, JsonValue, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from pgqueue.config import check_name, seconds
from pgqueue.errors import InvalidOptionError, InvalidPayloadError, shown
from pgqueue.payload import RESULT_LIMIT, check_text

Duration = float | str | timedelta


class KeyRules(TypedDict, total=False):
    """When a job is a duplicate, and what then: the options of keys that a task may have for all its jobs."""

    unique: bool | list[str] | tuple[str, ...]
    unique_for: Duration
    on_conflict: Literal["skip", "replace", "raise"]
    throttle: Duration
    debounce: Duration
    debounce_max: Duration


KEY_RULES = frozenset(KeyRules.__annotations__)
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)


def options(
    *,
    queue: str | None = None,
    priority: int | None = None,
    run_at: datetime | None = None,
    delay: Duration | None = None,
    unique_key: str | None = None,
    unique: bool | list[str] | tuple[str, ...] | None = None,
    unique_for: Duration | None = None,
    on_conflict: Literal["skip", "replace", "raise"] | None = None,
    throttle: Duration | None = None,
    debounce: Duration | None = None,
    debounce_max: Duration | None = None,
    idempotency_key: str | None = None,
    idempotency_ttl: Duration | None = None,
    max_attempts: int | None = None,
    timeout: Duration | None = None,
    concurrency_key: str | None = None,
    tags: list[str] | tuple[str, ...] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> dict[str, object]:
    """The options of one enqueue as the SQL API takes them, without those not given.

    Raises InvalidOptionError or InvalidNameError, naming the option and its limit.
    """
    given = {name: value for name, value in locals().items() if value is not None}
    if "run_at" in given and "delay" in given:
        raise InvalidOptionError("run_at and delay are both given.", do="give one of them")
    return {name: RULES[name](name, value) for name, value in given.items()}


def merged(earlier: Mapping[str, object], chosen: Mapping[str, object]) -> dict[str, object]:
    """``chosen`` over ``earlier``. A key named in one way takes the place of one named in the other; ``unique=False`` ends all rules of keys."""
    both = {**earlier, **chosen}
    if "unique_key" in both and "unique" in both:
        gone = "unique" if "unique_key" in chosen else "unique_key"
        if gone not in chosen:
            del both[gone]
    if chosen.get("unique") is False:
        return {name: value for name, value in both.items() if name in chosen or name not in KEY_RULES}
    return both


def checked_together(chosen: Mapping[str, object]) -> Mapping[str, object]:
    """``chosen`` as the SQL API takes it; raises InvalidOptionError for rules of keys that do not go together (check_jobs.sql refuses them too)."""
    if KEY_RULES.isdisjoint(chosen):
        return chosen
    found = {name: value for name, value in chosen.items() if value is not False}
    has_key = "unique" in found or "unique_key" in found
    debounce: Any = found.get("debounce")
    debounce_max: Any = found.get("debounce_max")
    holders = [name for name in ("throttle", "debounce", "idempotency_key") if name in found]
    if "unique" in found and "unique_key" in found:
        raise InvalidOptionError("unique and unique_key are both given.", do="give one of them")
    if not has_key and (rule := next((name for name in found if name in KEY_RULES), None)):
        raise InvalidOptionError(f"{rule} is given without a key.", do="give unique or unique_key, too")
    if len(holders) > 1:
        raise InvalidOptionError(f"{' and '.join(holders)} are both given.", do="give one of them")
    if debounce_max is not None and (debounce is None or debounce_max < debounce):
        raise InvalidOptionError(
            "debounce_max is given without a debounce that is not longer.", do="give both"
        )
    if debounce is not None and ("run_at" in found or "delay" in found):
        raise InvalidOptionError(
            "debounce is given with run_at or delay.", why="debounce sets run_at", do="leave them out"
        )
    if (debounce is not None and found.get("on_conflict", "replace") != "replace") or (
        "throttle" in found and found.get("on_conflict") == "replace"
    ):
        raise InvalidOptionError(
            f"on_conflict is {found['on_conflict']!r}.",
            why="a debounce always replaces, a throttle never",
            do="leave on_conflict out",
        )
    return found


def key_rules(given: Mapping[str, Any]) -> dict[str, object]:
    """Those of a task, as the SQL API takes them; raises InvalidOptionError."""
    if unknown := sorted(given.keys() - KEY_RULES):
        raise InvalidOptionError(
            f"A task has no option {', '.join(unknown)}.",
            do="of keys it takes " + ", ".join(sorted(KEY_RULES)),
        )
    rules = {name: RULES[name](name, value) for name, value in given.items() if value is not None}
    checked_together({"unique": True, **rules})  # each job may bring its own unique_key
    return rules


def _integer(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidOptionError(f"{name} is {shown(value)}.", do=f"give a whole number from {low} to {high}")
    return value


def _moment(name: str, value: object) -> str:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidOptionError(
            f"{name} is {shown(value)}.", why=f"{name} needs a time zone", do="use datetime.now(UTC) + …"
        )
    if not EARLIEST <= value < LATEST:
        raise InvalidOptionError(f"{name} is {value.isoformat()}.", do="give a time from year 2000 to 2999")
    return value.isoformat()


def _text(name: str, value: object, limit: int) -> str:
    if not isinstance(value, str) or "\x00" in value:
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


def _seconds(name: str, value: Any) -> float:
    return seconds(value, name)


def _span(name: str, value: Any) -> float:
    if not (span := seconds(value, name)):
        raise InvalidOptionError(f"{name} is {value!r}.", do="give more than 0 seconds")
    return span


def _unique(name: str, value: object) -> bool | list[str]:
    if isinstance(value, bool):
        return value
    if not isinstance(value, list | tuple) or not value:
        raise InvalidOptionError(f"{name} is {shown(value)}.", do="give True or a list of names of arguments")
    return [_text("a name in unique", argument, 255) for argument in value]


def _on_conflict(name: str, value: object) -> str:
    if value not in ("skip", "replace", "raise"):
        raise InvalidOptionError(f"{name} is {shown(value)}.", do="use skip, replace or raise")
    return str(value)


def _key(name: str, value: object) -> str:
    return _text(name, value, 255)


def _tags(name: str, value: object) -> list[str]:
    if not isinstance(value, list | tuple) or len(value) > 32:
        raise InvalidOptionError(f"{name} is {shown(value)}.", do="give a list of at most 32 texts")
    return [_text("a tag", tag, 64) for tag in value]


def _object(name: str, value: object) -> Any:
    if not isinstance(value, Mapping):
        raise InvalidOptionError(f"{name} is {shown(value)}.", do="give a dict")
    try:
        text = _OBJECT.dump_json(_OBJECT.validate_python(dict(value)))
    except (ValidationError, ValueError) as error:
        raise InvalidPayloadError(f"{name} is not JSON: {error!s:.200}") from None
    check_text(text, name, RESULT_LIMIT)
    return _OBJECT.validate_json(text)


_OBJECT: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(
    dict[str, JsonValue], config=ConfigDict(ser_json_inf_nan="constants")
)


RULES: dict[str, Callable[[str, Any], object]] = {
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
    "tags": _tags,
    "meta": _object,
}
