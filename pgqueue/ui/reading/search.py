"""Reads the text of a search: qualifiers such as ``state:dead queue:mail error:"timed out" args.tenant:t1``, and words.

A word without a qualifier is a part of a task's name, or the id of a job if it is a number. Does no I/O.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta

from pgqueue.config import secret_names
from pgqueue.database.statements import JobFilter
from pgqueue.errors import InvalidOptionError
from pgqueue.model.job import MEANT, STATES, states_of
from pgqueue.model.redaction import is_secret_name
from pgqueue.model.units import seconds
from pgqueue.text.nearest import guess
from pgqueue.text.values import is_id, is_storable, shown

LONGEST = 1000  # characters of a search
PART = re.compile(r'\s*(?:([A-Za-z_][\w.]*):)?("(?:[^"\\]|\\.)*"?|\S+)')
PATH = re.compile(r"args((?:\.[A-Za-z_]\w{0,62}){1,5})", re.ASCII)


ANY = JobFilter()


@dataclass(frozen=True, slots=True)
class Search:
    """What a search asks for. ``problems``: a sentence for each part that was not understood; then there is no answer."""

    which: JobFilter = ANY
    job_id: int | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def is_narrow(self) -> bool:
        """Returns whether the search asks for more than a state, so that many jobs may have to be read for one that fits."""
        return replace(self.which, states=None) != ANY


def read(text: str, now: datetime | None = None) -> Search:
    """Reads a search. A part that cannot be understood becomes a problem."""
    given: dict[str, object] = {}
    problems: list[str] = []
    job_id: int | None = None
    if len(text) > LONGEST:
        problems.append(f"The search is longer than {LONGEST} characters. Shorten it.")
        text = text[:LONGEST]
    if not is_storable(text):
        return Search(problems=["The search has a character that no job can contain."])
    for name, word in PART.findall(text):
        value = _unquoted(word)
        try:
            if not name and is_id(value):
                job_id = int(value)
            elif not name:
                _once(given, "named", value, "Two words stand without a qualifier.")
            elif name == "id":
                job_id = _id(value)
            elif PATH.fullmatch(name):
                given["args"] = _with(given.get("args"), name.split(".")[1:], value)
            else:
                _qualified(name, value, given, now or datetime.now(UTC))
        except InvalidOptionError as error:
            problems.append(error.what + (f" {error.do}" if error.do else ""))
    if job_id is not None and given:
        problems.append(f"The search names the job {job_id}. Leave its other parts out.")
    made = {key: json.dumps(value) if key == "args" else value for key, value in given.items()}
    return Search(JobFilter(**made), job_id, problems)  # type: ignore[arg-type]


def _once(given: dict[str, object], name: str, value: object, said: str) -> None:
    """Stores a part of the search. Raises InvalidOptionError if the search has this part already, with another value."""
    if given.get(name, value) != value:
        raise InvalidOptionError(said, do="Leave one out.")
    given[name] = value


def _unquoted(word: str) -> str:
    if word.startswith('"'):
        return re.sub(r"\\(.)", r"\1", word[1:-1] if word.endswith('"') and len(word) > 1 else word[1:])
    return word


def _id(value: str) -> int:
    if not is_id(value):
        raise InvalidOptionError(f"{shown(value)} is no job's id.", do="An id is a whole number from 1 on.")
    return int(value)


def _states(value: str, _now: datetime) -> list[str]:
    found: list[str] = []
    for given in value.lower().split(","):
        word = MEANT.get(given, given)
        if not (meant := states_of(word)):
            raise InvalidOptionError(
                f"{shown(word)} is no state.",
                do=guess(word, STATES, "The states are " + ", ".join(STATES) + "."),
            )
        found += meant
    return found


def _moment(value: str, now: datetime) -> datetime:
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    try:
        return now - timedelta(seconds=seconds(value, "since"))
    except (InvalidOptionError, OverflowError):
        raise InvalidOptionError(
            f"{shown(value)} is no time.",
            do="Write a time such as 2030-01-31T09:00, or a duration such as 2h.",
        ) from None


def _worker(value: str, _now: datetime) -> int:
    return _id(value)


def _text(value: str, _now: datetime) -> str:
    return value


# For each qualifier: the field of JobFilter, and the function that reads the value.
QUALIFIERS: dict[str, tuple[str, Callable[[str, datetime], object]]] = {
    "state": ("states", _states),
    "queue": ("queue", _text),
    "task": ("task", _text),
    "tag": ("tag", _text),
    "error": ("error", _text),
    "unique_key": ("unique_key", _text),
    "idempotency_key": ("idempotency_key", _text),
    "key": ("concurrency_key", _text),
    "concurrency_key": ("concurrency_key", _text),
    "worker": ("worker_id", _worker),
    "workflow": ("workflow_id", _worker),
    "since": ("since", _moment),
    "until": ("until", _moment),
}


def _qualified(name: str, value: str, given: dict[str, object], now: datetime) -> None:
    if name not in QUALIFIERS:
        known = [*QUALIFIERS, "id", "args.name"]
        raise InvalidOptionError(
            f"{name}: is no qualifier.", do=guess(name, known, "The qualifiers are " + ", ".join(known) + ".")
        )
    to, reads = QUALIFIERS[name]
    _once(given, to, reads(value, now), f"{name}: stands twice.")


def _with(args: object, path: list[str], value: str) -> dict[str, object]:
    """Adds the value at this path to the arguments that jobs must contain. ``5`` and ``true`` are JSON, other words are texts."""
    if any(is_secret_name(part, secret_names()) for part in path):
        raise InvalidOptionError(f"args.{'.'.join(path)}: is secret, so nobody can search for it.")
    found: dict[str, object] = dict(args) if isinstance(args, dict) else {}
    at = found
    for part in path[:-1]:
        inner = at.get(part)
        at[part] = dict(inner) if isinstance(inner, dict) else {}
        at = at[part]  # type: ignore[assignment]
    try:
        read_value = json.loads(value)
    except (ValueError, RecursionError):
        read_value = value
    is_written = not isinstance(read_value, float) or math.isfinite(
        read_value
    )  # JSON itself has neither NaN nor Infinity
    at[path[-1]] = read_value if is_written else value
    return found


def written(which: JobFilter) -> str:
    """Returns the text of a search that asks for this filter."""
    parts: list[str] = []
    for name, value in asdict(which).items():
        if value is None:
            continue
        word = {
            "states": "state",
            "concurrency_key": "key",
            "worker_id": "worker",
            "workflow_id": "workflow",
        }.get(name, name)
        if name == "states":
            parts.append(f"state:{','.join(value)}")
        elif name == "named":
            parts.append(_quoted(value))
        elif name == "args":
            parts += [f"args.{path}:{_quoted(_plain(leaf))}" for path, leaf in _leaves(json.loads(value))]
        elif isinstance(value, datetime):
            parts.append(f"{word}:{value.isoformat()}")
        else:
            parts.append(f"{word}:{_quoted(str(value))}")
    return " ".join(parts)


def _leaves(value: dict[str, object], path: str = "") -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name, inner in value.items():
        found += (
            _leaves(inner, f"{path}{name}.") if isinstance(inner, dict) and inner else [(path + name, inner)]
        )
    return found


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _quoted(value: str) -> str:
    if re.fullmatch(r'[^\s":]+', value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
