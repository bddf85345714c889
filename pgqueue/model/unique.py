"""The options about duplicates: which of them can be combined, and how the options of an enqueue replace the options of its task.

This module does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from typing_extensions import TypedDict

from pgqueue.errors import InvalidOptionError
from pgqueue.model.options import RULES, Duration
from pgqueue.text.nearest import guess


class KeyRules(TypedDict, total=False):
    """The options about duplicates that a task can have for all its jobs. They say when a job is a duplicate, and what happens then."""

    unique: bool | list[str] | tuple[str, ...]
    unique_for: Duration
    on_conflict: Literal["skip", "replace", "raise"]
    throttle: Duration
    debounce: Duration
    debounce_max: Duration


KEY_RULES = frozenset(KeyRules.__annotations__)


# What to write instead of an option that a task does not have.
INSTEAD = {
    "max_attempts": "write retry=8 for 8 attempts in all",
    "retries": "write retry=4 for 4 attempts in all, which are 3 retries",
    "permanent": "write retry=RetryPolicy(permanent=(ValueError,))",
    "transient": "write retry=RetryPolicy(transient=(OSError,))",
    "backoff": "write retry=[1, 5, 30] for the delays in seconds, or a wait of tenacity",
}


def merged(earlier: Mapping[str, object], chosen: Mapping[str, object]) -> Mapping[str, object]:
    """Returns the options of both mappings. If both have an option, the value in ``chosen`` counts.

    A ``unique_key`` in ``chosen`` replaces a ``unique`` in ``earlier``. In the same way, a ``unique`` in ``chosen`` replaces a
    ``unique_key`` in ``earlier``. ``unique=False`` in ``chosen`` removes all options about duplicates in ``earlier``.
    """
    if not earlier and "unique" not in chosen:
        return chosen
    both = {**earlier, **chosen}
    if "unique_key" in both and "unique" in both:
        gone = "unique" if "unique_key" in chosen else "unique_key"
        if gone not in chosen:
            del both[gone]
    if chosen.get("unique") is False:
        return {name: value for name, value in both.items() if name in chosen or name not in KEY_RULES}
    return both


def checked_together(chosen: Mapping[str, object]) -> Mapping[str, object]:
    """Returns ``chosen`` in the form of the SQL API. Raises InvalidOptionError if its options about duplicates cannot be combined.

    check_jobs.sql refuses the same combinations.
    """
    if "idempotency_ttl" in chosen and "idempotency_key" not in chosen:
        raise InvalidOptionError(
            "idempotency_ttl is given without an idempotency_key.",
            do="give an idempotency_key, or leave idempotency_ttl out",
        )
    if KEY_RULES.isdisjoint(chosen):
        return chosen
    found = {name: value for name, value in chosen.items() if value is not False or name not in KEY_RULES}
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
    if debounce_max is not None and debounce is None:
        raise InvalidOptionError("debounce_max is given without debounce.", do="give debounce, too")
    if debounce_max is not None and debounce_max < debounce:
        raise InvalidOptionError(
            "debounce_max is shorter than debounce.", do="give a debounce_max that is not shorter"
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
            why="a debounce always replaces the arguments of the job, and a throttle never does",
            do="leave on_conflict out",
        )
    return found


def key_rules(given: Mapping[str, object], known: Iterable[str] = KEY_RULES) -> dict[str, object]:
    """Returns the options about duplicates of a task, in the form of the SQL API. Raises InvalidOptionError if they are wrong.

    ``known``: all options of a task, of which the error for an unknown option suggests one.
    """
    if unknown := sorted(given.keys() - KEY_RULES):
        raise InvalidOptionError(
            f"A task has no option {', '.join(unknown)}.", do=_instead(unknown[0], sorted(known))
        )
    rules = {name: RULES[name](name, value) for name, value in given.items() if value is not None}
    # ``unique`` is added only for the check, which would otherwise refuse options without a key. A task need not declare a key, because
    # each job can have its own unique_key.
    checked_together({"unique": True, **rules})
    return rules


def _instead(option: str, known: Sequence[str]) -> str:
    if option in INSTEAD:
        return INSTEAD[option]
    if option in RULES:
        return f"each job has its own: task.using({option}=…).enqueue(…)"
    return guess(option, known, "its options are " + ", ".join(known))
