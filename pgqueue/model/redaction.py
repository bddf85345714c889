"""Masks secret values before people see them. Pure functions: ``redacted`` for JSON values, ``masked`` for texts such as errors.

A value is secret if its path is one of the task's ``paths`` (``Redact`` in the types, see redact.py), or if the name of a key is secret.
A path is a tuple of keys. ``*`` stands for each item of a list and each key of an object; ``**`` stands for any number of keys, also none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from typing import Any

MASK = "[redacted]"
EACH, ANY_DEPTH = "*", "**"
# Values under these names are always masked, also under longer names that end with one of them: client_secret, accessToken.
NAMES = frozenset((
    "password", "passwd", "passphrase", "pwd", "secret", "token", "api_key", "apikey", "access_key", "private_key", "authorization",
    "cookie", "credentials", "credit_card", "card_number", "cvv", "cvc", "ssn",
))  # fmt: skip
# A text masks a value of at least SHORTEST characters, and a value of fewer than LONG characters only as a whole word. Otherwise a value
# such as 7 would blank half of each text. Messages cut long values, so a part of at least PIECE characters at either end is masked, too.
SHORTEST, LONG, PIECE = 4, 8, 16
LARGEST_TEXT = 100_000  # of a longer value, only the ends are looked for in texts
DERIVED = ("pgq:args:", "pgq:by:")  # the beginnings of unique keys that contain arguments
CAMEL = re.compile(r"([a-z0-9])([A-Z])")

TEXT = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')  # a text in JSON
SEPARATORS = re.compile(r"[\s_-]+")

Path = tuple[str, ...]
Paths = tuple[Path, ...]
Names = frozenset[str]


class Undecoded(str):
    """The text of a JSON document that Python cannot decode."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is secret in the jobs of a task: paths within their arguments, and paths within their results."""

    args: Paths = ()
    result: Paths = ()

    def as_json(self) -> dict[str, list[list[str]]]:
        """Returns the redaction as a worker declares it in the column ``redact`` of pgqueue.tasks."""
        found = {"args": self.args, "result": self.result}
        return {name: [list(path) for path in paths] for name, paths in found.items() if paths}

    @classmethod
    def of_json(cls, stored: Any) -> Redaction:
        """Reads the column. SQL can write anything there. So what cannot be read masks everything."""
        if stored is None:
            return NOTHING
        try:
            return cls(
                *(
                    tuple(tuple(map(str, path)) for path in stored.get(name, ()))
                    for name in ("args", "result")
                )
            )
        except (AttributeError, TypeError):
            return EVERYTHING

    def within(self, *, args: Path, result: Path) -> Redaction:
        """Returns the paths of all that is secret in a document that holds the arguments and the result at these two paths."""
        return Redaction(
            (*((*args, *path) for path in self.args), *((*result, *path) for path in self.result))
        )


NOTHING, EVERYTHING = Redaction(), Redaction(((),), ((),))


@lru_cache(4096)
def is_secret_name(name: str, names: Names = NAMES) -> bool:
    """Returns whether values of this key are always masked. ``names`` are lower case, with underscores."""
    words = _in_words(name[:200]).split("_")
    return any("_".join(words[start:]) in names for start in range(len(words)))


def _in_words(text: str) -> str:
    """Returns the text in lower case, with ``_`` between words: for accessToken, Access-Token and access token, ``access_token``."""
    return SEPARATORS.sub("_", CAMEL.sub(r"\1_\2", text).lower())


def redacted(value: Any, paths: Paths = (), names: Names = NAMES) -> Any:
    """Returns the JSON value with MASK in the place of each secret value. What is not there (null) stays null."""
    try:
        return _redacted(value, paths, names)
    except RecursionError:
        return MASK


def _redacted(value: Any, paths: Paths, names: Names) -> Any:
    if value is None:
        return None
    if () in paths:
        return MASK
    if isinstance(value, Undecoded):
        return redacted_text(value, paths, names)
    if isinstance(value, dict):
        return {
            key: (None if inner is None else MASK)
            if is_secret_name(key, names)
            else _redacted(inner, narrowed(paths, key), names)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        inner_paths = narrowed(paths, EACH)
        return [_redacted(item, inner_paths, names) for item in value]
    return value


def redacted_text(value: Any, paths: Paths, names: Names = NAMES) -> Any:
    """Does ``redacted`` for a document. If it is only a text, because it cannot be decoded, masks the whole text if in doubt."""
    if not isinstance(value, str):
        return redacted(value, paths, names)
    return MASK if _can_be_secret(value, paths, names) else value


def _can_be_secret(text: str, paths: Paths, names: Names) -> bool:
    if paths:
        return True
    said = _in_words(text)
    return any(name in said for name in names)


def narrowed(paths: Paths, key: str) -> Paths:
    """Returns the rest of each path that goes through ``key``. For an item of a list, ``key`` is EACH."""
    found: list[Path] = []
    for path in paths:
        if path[0] == ANY_DEPTH:
            found += [path, *narrowed((path[1:],), key)]
        elif path[0] in (key, EACH):
            found.append(path[1:])
    return tuple(found)


def secrets(value: Any, paths: Paths = (), names: Names = NAMES) -> frozenset[str]:
    """Returns the secret values within a JSON value as texts, for ``masked``. Within a text that cannot be decoded: all texts, if in doubt."""
    if isinstance(value, Undecoded):
        inner = TEXT.findall(value) if _can_be_secret(value, paths, names) else ()
        return frozenset(text for text in map(json.loads, inner) if len(text) >= SHORTEST)
    found: set[str] = set()
    with suppress(RecursionError):  # nobody can decode such arguments, so no handler gets them
        _collect(value, paths, names, found)
    return frozenset(found)


def _collect(value: Any, paths: Paths, names: Names, found: set[str], *, is_secret: bool = False) -> None:
    is_secret = is_secret or () in paths
    if isinstance(value, dict):
        for key, inner in value.items():
            inside = () if is_secret else narrowed(paths, key)
            _collect(inner, inside, names, found, is_secret=is_secret or is_secret_name(key, names))
    elif isinstance(value, list):
        inside = () if is_secret else narrowed(paths, EACH)
        for item in value:
            _collect(item, inside, names, found, is_secret=is_secret)
    elif is_secret and value is not None and not isinstance(value, bool):
        text = value if isinstance(value, str) else json.dumps(value)
        if len(text) >= SHORTEST:
            found.add(text)


def masked_value(value: Any, values: frozenset[str], names: Names = NAMES) -> Any:
    """Returns the value with MASK in the place of each of ``values`` in its texts and numbers, and of what stands under a secret name.

    The value can consist of dicts, lists, named tuples and dataclasses.
    """
    if isinstance(value, str):
        return masked(redacted(value, (), names), values)
    if isinstance(value, dict):
        return {
            key: MASK
            if is_secret_name(str(key), names) and inner is not None
            else masked_value(inner, values, names)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        each = [masked_value(item, values, names) for item in value]
        return value._make(each) if hasattr(value, "_make") else type(value)(each)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value,
            **{one.name: masked_value(getattr(value, one.name), values, names) for one in fields(value)},
        )
    if isinstance(value, int | float) and not isinstance(value, bool) and json.dumps(value) in values:
        return MASK
    return value


def masked(text: str, values: Iterable[str]) -> str:
    """Returns the text with MASK in the place of each of the values, also where the value is written as Python or JSON write it."""
    for value in sorted(values, key=len, reverse=True):
        for form in _forms(value):
            if len(form) < LONG:
                text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", MASK, text)
            elif len(form) <= LARGEST_TEXT:
                text = text.replace(form, MASK)
            if len(form) > PIECE:
                text = _without_pieces(text, form)
    return text


def _forms(value: str) -> list[str]:
    """Returns the value as it can stand in a text: as it is, quoted by Python or JSON, or line by line."""
    lines = [line for line in value.splitlines() if len(line.strip()) >= LONG] if "\n" in value else []
    quoted = [repr(value)[1:-1], ascii(value)[1:-1], json.dumps(value)[1:-1]]
    if "'" in value:
        quoted.append(repr("\"'" + value)[4:-1])  # a text with both kinds of quotes
    return list(dict.fromkeys((value, *quoted, *lines)))


def _without_pieces(text: str, value: str) -> str:
    """Masks each part of the text that begins as the value begins, or that ends as the value ends."""
    start = text.find(value[:PIECE])
    while start >= 0:
        size = PIECE
        while size < len(value) and text[start + size : start + size + 1] == value[size]:
            size += 1
        text = text[:start] + MASK + text[start + size :]
        start = text.find(value[:PIECE], start + len(MASK))
    start = text.find(value[-PIECE:])
    while start >= 0:
        size = PIECE
        while size < len(value) and start > 0 and text[start - 1] == value[-size - 1]:
            start, size = start - 1, size + 1
        text = text[:start] + MASK + text[start + size :]
        start = text.find(value[-PIECE:], start + len(MASK))
    return text


def redacted_key(key: str | None, paths: Paths, names: Names = NAMES) -> str | None:
    """Returns a job's unique key as people see it. A key that pgqueue derived contains arguments (functions/unique_key.sql)."""
    if key is None or not key.startswith(DERIVED):
        return key
    head, document, rest = _parts(key)
    if document is None:
        return f"{head}:{MASK}"
    shown = redacted(document, paths, names)
    return key if shown == document else f"{head}:{json.dumps(shown)}{rest}"


def document_of_key(key: str | None) -> Any:
    """Returns the arguments within a unique key that pgqueue derived; None: there are none."""
    return _parts(key)[1] if key is not None and key.startswith(DERIVED) else None


def _parts(key: str) -> tuple[str, dict[str, Any] | None, str]:
    """Returns what stands before the arguments in a derived key, the arguments (None: they cannot be decoded), and what stands after them."""
    head, _, document = key.partition(":{")
    try:
        value, end = json.JSONDecoder().raw_decode("{" + document)
    except (ValueError, RecursionError):
        return head, None, ""
    return head, value, ("{" + document)[end:]


def names_a_secret(value: Any, names: Names = NAMES) -> bool:
    """Whether a JSON value has a key whose values are always masked. Nobody may search for such a value, because each answer is a guess."""
    if isinstance(value, dict):
        return any(
            is_secret_name(str(name), names) or names_a_secret(inner, names) for name, inner in value.items()
        )
    return isinstance(value, list) and any(names_a_secret(item, names) for item in value)
