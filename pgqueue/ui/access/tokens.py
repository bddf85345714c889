"""Tokens: random texts that callers send. Only the SHA-256 of a token is stored, in a TOML file that people can read and edit.

::

    [[token]]
    name = "shop"                 # who uses the token
    sha256 = "9f86d0…"
    role = "viewer"               # viewer, operator or admin
    tasks = ["mail.*"]            # what it may enqueue; default: nothing
    queues = ["*"]                # what it may see; default: all
    expires = 2027-01-01T00:00:00Z  # optional
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from pgqueue.errors import InvalidSettingError
from pgqueue.model.setting import checked_table
from pgqueue.text.values import shown
from pgqueue.ui.access.who import Role, Who

PREFIX = "pgq_"  # with it, programs that search for secrets in code find a token
LONGEST = 512  # characters; a longer text is no token, and is not hashed
DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
KEYS = ("name", "sha256", "role", "tasks", "queues", "expires")
LARGEST_FILE = 1_000_000


@dataclass(frozen=True, slots=True)
class Token:
    """A stored token: its SHA-256, and who uses it. Without ``expires``, it is valid until it is removed from the file."""

    sha256: str
    who: Who
    expires: datetime | None = None


def new_token() -> str:
    """Returns a new token: 256 random bits. Show it once, and store only ``digest_of(token)``."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """Returns the SHA-256 of a token. A slow hash is not needed, because a token is random and too long to guess."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def find(presented: str, tokens: Sequence[Token], now: datetime) -> Token | None:
    """Returns the stored token that was presented; None if there is none or it has expired. Takes equally long whichever it is."""
    if not presented or len(presented) > LONGEST:
        return None
    digest = digest_of(presented)
    found = None
    for token in tokens:
        if hmac.compare_digest(token.sha256, digest):
            found = token
    return None if found is None or (found.expires is not None and found.expires <= now) else found


class TokenFile:
    """A file of tokens, read again when it changes. So a token that is removed from the file is refused at once."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._read_at: tuple[int, int, int] | None = None
        self._tokens: tuple[Token, ...] = ()

    def tokens(self) -> tuple[Token, ...]:
        """Returns the tokens. Raises InvalidSettingError if the file cannot be read or is wrong: then no token is accepted."""
        try:
            found = self._path.stat()
            key = (found.st_mtime_ns, found.st_size, found.st_ino)
            if key != self._read_at:
                _check_rights(found, self._path)
                self._tokens, self._read_at = read_tokens(self._path.read_text("utf-8"), str(self._path)), key
        except (OSError, UnicodeDecodeError) as error:
            self._read_at = None
            why = (error.strerror if isinstance(error, OSError) else None) or "it is not UTF-8"
            raise InvalidSettingError(
                f"The file of tokens cannot be read: {self._path}.",
                why=why,
                do="pgq api token --name NAME --file FILE makes one",
            ) from None
        except InvalidSettingError:
            self._read_at = None
            raise
        return self._tokens


def _check_rights(found: os.stat_result, path: Path) -> None:
    if found.st_mode & stat.S_IWOTH:
        raise InvalidSettingError(
            f"Every user of this machine may write the file of tokens: {path}.", do=f"chmod o-w {path}"
        )
    if found.st_size > LARGEST_FILE:
        raise InvalidSettingError(f"The file of tokens is larger than {LARGEST_FILE} bytes: {path}.")


def read_tokens(text: str, where: str = "the file of tokens") -> tuple[Token, ...]:
    """Reads the text of a file of tokens. Raises InvalidSettingError, which names the token that is wrong."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidSettingError(f"{where} is not TOML.", why=str(error)[:200]) from None
    rows = checked_table(table, ("token",), where).get("token", [])
    if not isinstance(rows, list):
        raise InvalidSettingError(
            f"{where} has token as {shown(rows)}.", do="write [[token]] before each token"
        )
    tokens = tuple(_token(row, f"token {number} in {where}") for number, row in enumerate(rows, 1))
    for what in ({token.who.name for token in tokens}, {token.sha256 for token in tokens}):
        if len(what) < len(tokens):
            raise InvalidSettingError(
                f"{where} has two tokens with the same name or the same sha256.", do="remove one of them"
            )
    return tokens


def _token(row: object, where: str) -> Token:
    given: dict[str, Any] = checked_table(row, KEYS, where)
    digest, expires = given.get("sha256"), given.get("expires")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise InvalidSettingError(f"sha256 of {where} is no SHA-256.", do="make the token with pgq api token")
    if expires is not None and (not isinstance(expires, datetime) or expires.tzinfo is None):
        raise InvalidSettingError(
            f"expires of {where} is {shown(expires)}.", do="write a time such as 2027-01-01T00:00:00Z"
        )
    who = Who(
        cast("str", given.get("name")),  # Who checks it
        Role.named(given.get("role", "viewer"), f"role of {where}"),
        given.get("tasks", ()),
        given.get("queues", ("*",)),
    )
    return Token(digest, who, expires)


def written(token: str, who: Who, expires: datetime | None = None) -> str:
    """Returns the lines that store a token in the file."""
    lines = [
        "[[token]]",
        f"name = {_quoted(who.name)}",
        f'sha256 = "{digest_of(token)}"',
        f'role = "{who.role.name}"',
    ]
    lines += [
        f"{word} = [{', '.join(map(_quoted, values))}]"
        for word, values in (("tasks", who.tasks), ("queues", who.queues))
    ]
    if expires is not None:
        lines.append(
            f"expires = {expires.astimezone(UTC).isoformat(timespec='seconds').replace('+00:00', 'Z')}"
        )
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def append(path: Path, token: str, who: Who, expires: datetime | None = None) -> None:
    """Adds a token to the file, and makes the file if it is missing. Raises InvalidSettingError if the name is taken."""
    before = path.read_text("utf-8") if path.exists() else ""
    if any(known.who.name == who.name for known in read_tokens(before, str(path))):
        raise InvalidSettingError(
            f"{shown(who.name)} has a token in {path} already.",
            do="choose another name, or remove its lines first",
        )
    text = (before.rstrip("\n") + "\n\n" if before.strip() else "") + written(token, who, expires)
    read_tokens(text, str(path))
    beside = path.with_name(path.name + ".new")
    with os.fdopen(
        os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
    beside.replace(path)
