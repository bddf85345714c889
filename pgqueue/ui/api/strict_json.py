"""Decodes the JSON of a request. Refuses what JSON leaves open, or what the database cannot store, with one sentence.

Two equal keys in an object, NaN, half of a surrogate pair, U+0000, numbers that Python would make infinite, and deep nesting are refused.
"""

from __future__ import annotations

import json
from typing import NoReturn

from pgqueue.errors import InvalidPayloadError, InvalidRequestError
from pgqueue.model.payload import walk
from pgqueue.text.values import shown


def decode(text: bytes, what: str = "The body") -> object:
    """Returns the value. Raises InvalidRequestError; ``what`` names the text in its message."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_object, parse_constant=_constant)
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{what} is not UTF-8.") from None
    except RecursionError:
        raise InvalidRequestError(f"{what} is nested too deep.", do="nest at most 64 levels") from None
    except json.JSONDecodeError as error:
        raise InvalidRequestError(
            f"{what} is not JSON: {error.msg} at character {error.pos}.",
            do='send a JSON object such as {"task": "greet"}',
        ) from None
    except ValueError:  # a number of more than 4,300 digits
        raise InvalidRequestError(
            f"{what} has a number with too many digits.", do="send it as a string"
        ) from None
    try:
        walk(value, what)
    except InvalidPayloadError as error:
        raise InvalidRequestError(error.what, do=error.do) from None
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names: set[str] = set()
        for name, _ in pairs:
            if name in names:
                raise InvalidRequestError(
                    f"An object has the key {shown(name)} twice.", do="send each key once"
                )
            names.add(name)
    return made


def _constant(word: str) -> NoReturn:
    raise InvalidRequestError(f"The body has {word}, which is no JSON.", do="send null or a string")


def encode(value: object) -> bytes:
    """Returns the JSON of an answer, in ASCII, so that no invisible character in it acts on a terminal.

    A number that is infinite for Python, because the database can store larger ones, becomes a string.
    """
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))
    return text.replace("\x7f", "\\u007f").encode()


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return repr(value) if isinstance(value, float) and value - value != 0 else value
