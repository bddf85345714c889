"""The settings of alerts: what is watched, and where messages are sent.

Settings that are secrets are never stored in the database, shown in an error, or logged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from pgqueue.errors import InvalidSettingError
from pgqueue.model.setting import (
    DURATION,
    SECRET,
    TEXT,
    TEXTS,
    Given,
    checked_table,
    read_given,
    setting,
    settings_of,
)

TABLE = "[tool.pgqueue.alerts]"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """What is watched (times in seconds), and where messages are sent. Raises InvalidSettingError for wrong values, without secrets."""

    webhook: str | None = setting(SECRET, None, "The URL to which each message is sent as JSON, by POST.")
    webhook_token: str | None = setting(
        SECRET, None, "A bearer token for the webhook. It is sent only over https or to this machine."
    )
    smtp: str | None = setting(
        SECRET,
        None,
        "A mail server, such as smtp://user:password@host:587. With smtp://, TLS is used if the server offers it. smtps:// always uses TLS.",
    )
    mail_from: str | None = setting(TEXT, None, "The sender of mails.")
    mail_to: tuple[str, ...] = setting(
        TEXTS, (), "The receivers of mails. In the environment variable, they are separated by commas."
    )
    stalled_after: float = setting(
        DURATION,
        300.0,
        "An alert opens if a queue has due jobs, but none has been claimed from it for this time. 0: no such alert.",
    )
    max_age: float | None = setting(
        DURATION,
        None,
        "An alert opens if the oldest due job of a queue has been due for longer than this. queues.max_age sets another time for a queue.",
    )
    remind_every: float = setting(
        DURATION,
        3600.0,
        "A further message about an open alert is sent after this time. 0: only one message is sent.",
    )

    def __post_init__(self) -> None:
        if (
            self.webhook is not None
            and _split(self.webhook, ("http", "https"), "webhook").username is not None
        ):
            raise InvalidSettingError("webhook of alerts contains a user name.", do="use webhook_token")
        if self.webhook_token is not None and self.webhook is not None and not _is_private(self.webhook):
            raise InvalidSettingError(
                "webhook_token of alerts would be sent without TLS.",
                do="give a webhook that begins with https://",
            )
        if self.webhook_token is not None and not _is_clean(self.webhook_token):
            raise InvalidSettingError(
                "webhook_token of alerts must be one line of printable ASCII characters."
            )
        if self.smtp is not None:
            _split(self.smtp, ("smtp", "smtps"), "smtp")
            if self.mail_from is None or not self.mail_to:
                raise InvalidSettingError(
                    "smtp of alerts is given without mail_from and mail_to.", do="give all three"
                )
        for address in (*self.mail_to, *([self.mail_from] if self.mail_from is not None else [])):
            if not _is_clean(address) or "@" not in address or " " in address or "," in address:
                raise InvalidSettingError(
                    f"{address!a:.80} is no mail address.", do="write it like ops@example.org"
                )


def find_alerts(file: Mapping[str, object]) -> AlertSettings:
    """Reads each setting from a variable such as ``PGQUEUE_ALERTS_WEBHOOK``. If it is not set, reads ``[tool.pgqueue.alerts]`` in ``file``.

    If a setting is invalid, raises InvalidSettingError.
    """
    names = settings_of(AlertSettings)
    table = checked_table(file.get("alerts", {}), names, TABLE)
    variables = {name: f"PGQUEUE_ALERTS_{name.upper()}" for name in names}
    given: dict[str, Given] = {name: (value, f"{name} in {TABLE}") for name, value in table.items()}
    given |= {name: (os.environ[known], known) for name, known in variables.items() if os.environ.get(known)}
    make: Callable[..., AlertSettings] = AlertSettings
    return make(**read_given(AlertSettings, given))


def _is_clean(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable()


def _is_private(url: str) -> bool:
    """Returns whether no other machine can read what is sent to this URL."""
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
        port_is_valid = parts.port != 0  # raises ValueError if the port is no number
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
            why="its value is not shown, because it can contain a secret",
        )
    return parts
