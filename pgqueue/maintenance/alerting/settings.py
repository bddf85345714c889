"""What to watch, and where messages of alerts go.

Their secrets stay here: none is stored in the database, shown in an error, or logged.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pgqueue.errors import InvalidOptionError, InvalidSettingError
from pgqueue.model.units import seconds

DURATIONS = ("stalled_after", "max_age", "remind_every")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """What to watch, in seconds, and whom to tell. Raises InvalidSettingError for what cannot work, without showing it.

    ``stalled_after``: due jobs of which none has been claimed for so long; 0 watches no standstill. ``max_age``: what the
    oldest due job of a queue may wait, where ``queues.max_age`` does not say; None: any time. ``remind_every``: until an
    open alert is told again; 0: it is told once. ``webhook_token`` is sent as a bearer token. ``smtp``:
    ``smtp://user:password@host:587``, which asks for TLS, or ``smtps://``, which begins with it.
    """

    webhook: str | None = field(default=None, repr=False)
    webhook_token: str | None = field(default=None, repr=False)
    smtp: str | None = field(default=None, repr=False)
    mail_from: str | None = None
    mail_to: tuple[str, ...] = ()
    stalled_after: float = 300.0
    max_age: float | None = None
    remind_every: float = 3600.0

    def __post_init__(self) -> None:
        if (
            self.webhook is not None
            and _split(self.webhook, ("http", "https"), "webhook").username is not None
        ):
            raise InvalidSettingError("webhook of alerts holds a user name.", do="use webhook_token")
        if self.webhook_token is not None and self.webhook is not None and not _is_private(self.webhook):
            raise InvalidSettingError(
                "webhook_token of alerts would be sent without TLS.",
                do="give a webhook that begins with https://",
            )
        if self.webhook_token is not None and not _is_clean(self.webhook_token):
            raise InvalidSettingError("webhook_token of alerts is no line of ASCII characters.")
        if self.smtp is not None:
            _split(self.smtp, ("smtp", "smtps"), "smtp")
            if self.mail_from is None or not self.mail_to:
                raise InvalidSettingError(
                    "smtp of alerts is given alone.", do="say mail_from and mail_to, too"
                )
        for address in (*self.mail_to, *([self.mail_from] if self.mail_from is not None else [])):
            if not _is_clean(address) or "@" not in address or " " in address or "," in address:
                raise InvalidSettingError(
                    f"{address!a:.80} is no mail address.", do="write it like ops@example.org"
                )


def find_alerts(file: Mapping[str, Any]) -> AlertSettings:
    """``PGQUEUE_ALERTS_WEBHOOK`` and its kin, else ``[tool.pgqueue.alerts]`` (in ``file``); raises InvalidSettingError."""
    table = file.get("alerts", {})
    if not isinstance(table, dict):
        raise InvalidSettingError("[tool.pgqueue.alerts] is no table.")
    known = [setting.name for setting in fields(AlertSettings)]
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise InvalidSettingError(
                f"[tool.pgqueue.alerts] has an unknown key {key!r}.",
                do=f"did you mean {near[0]!r}?" if near else "known keys: " + ", ".join(known),
            )
    given: dict[str, Any] = {}
    for name in known:
        value = os.environ.get(f"PGQUEUE_ALERTS_{name.upper()}") or table.get(name)
        if value is not None:
            given[name] = _read(name, value)
    return AlertSettings(**given)


def _read(name: str, value: object) -> object:
    if name in DURATIONS:
        try:
            return seconds(value, name)  # type: ignore[arg-type]
        except InvalidOptionError as error:
            raise InvalidSettingError(f"{error.what.rstrip('.')}, in alerts.", do=error.do) from None
    if name == "mail_to":
        value = value.split(",") if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(address, str) for address in value):
            raise InvalidSettingError("mail_to of alerts is no list of addresses.")
        return tuple(address.strip() for address in value)
    if not isinstance(value, str):
        raise InvalidSettingError(f"{name} of alerts is a {type(value).__name__}, not a text.")
    return value.strip()


def _is_clean(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable()


def _is_private(url: str) -> bool:
    """Whether what is sent cannot be read on its way."""
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    try:
        return ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def _split(url: str, schemes: tuple[str, ...], name: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port != 0  # which raises, if it is no number
    except ValueError:
        parts, port_is_valid = urlsplit(""), False
    if (
        parts.scheme not in schemes
        or not parts.hostname
        or not port_is_valid
        or not _is_clean(url)
        or " " in url
    ):
        raise InvalidSettingError(
            f"{name} of alerts is no URL that begins with {' or '.join(scheme + '://' for scheme in schemes)}.",
            why="it is not shown, for it may hold a secret",
        )
    return parts
