"""Where messages of alerts go, and how: by a webhook, by mail.

Their secrets stay in the settings: none is stored in the database, shown in an error, or logged.
"""

from __future__ import annotations

import difflib
import http.client
import json
import logging
import os
import smtplib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from email.message import EmailMessage
from ipaddress import ip_address
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pgqueue.config import seconds
from pgqueue.errors import InvalidOptionError, InvalidSettingError
from pgqueue.outcome import Retry
from pgqueue.shown import visible
from pgqueue.task import TaskSpec

QUEUE = "pgqueue.alerts"
TASKS = {"webhook": "pgqueue.alert_webhook", "mail": "pgqueue.alert_mail"}
PATIENCE = 10.0  # seconds for each step of sending
DURATIONS = ("stalled_after", "max_age", "remind_every")
PORTS = {"smtp": 587, "smtps": 465}

log = logging.getLogger("pgqueue")


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


# ------------------------------------------------------------------ sending


def alert_tasks(settings: AlertSettings) -> dict[str, TaskSpec]:
    """The tasks by which a worker with these settings sends messages; their jobs are stored by raise_alerts.sql."""
    senders: dict[str, Callable[[AlertSettings, dict[str, Any]], None]] = {}
    if settings.webhook is not None:
        senders["webhook"] = post
    if settings.smtp is not None:
        senders["mail"] = mail
    return {TASKS[name]: _task(TASKS[name], send, settings) for name, send in senders.items()}


def _task(
    name: str, send: Callable[[AlertSettings, dict[str, Any]], None], settings: AlertSettings
) -> TaskSpec:
    def tell(**message: Any) -> None:
        send(
            settings,
            {key: visible(value) if isinstance(value, str) else value for key, value in message.items()},
        )

    return TaskSpec(name=name, function=tell, queue=QUEUE, keep="failures", executor="thread", is_ours=True)


class NoRedirect(HTTPRedirectHandler):
    """Whoever answers with another place could have the message, and the token, sent anywhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def post(settings: AlertSettings, message: Mapping[str, Any]) -> None:
    """POSTs the message as JSON; raises Retry, which names the host alone, unless it is taken (2xx)."""
    assert settings.webhook is not None
    host = urlsplit(settings.webhook).hostname
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "pgqueue",
        "Idempotency-Key": f"pgqueue-alert-{message['alert']}-{message['message']}",
    }
    if settings.webhook_token is not None:
        headers["Authorization"] = f"Bearer {settings.webhook_token}"
    request = Request(settings.webhook, json.dumps(message).encode(), headers, method="POST")  # noqa: S310 - checked
    try:
        with build_opener(NoRedirect).open(request, timeout=PATIENCE):
            return
    except HTTPError as error:
        error.close()
        moved = ", a redirect, which is not followed" if 300 <= error.code < 400 else ""
        failed = f"answered {error.code}{moved}"
    except URLError as error:
        failed = f"cannot be reached: {_kind(error.reason)}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        failed = f"gave no answer: {_kind(error)}"
    raise Retry(f"the webhook at {host} {failed}")


def mail(settings: AlertSettings, message: Mapping[str, Any]) -> None:
    """Mails the message; raises Retry, which names the host alone, unless the server takes it."""
    assert settings.smtp is not None
    server = urlsplit(settings.smtp)
    try:
        with _connected(server) as session:
            refused = session.send_message(written(settings, message))
    except (OSError, smtplib.SMTPException) as error:
        code = f" {error.smtp_code}" if isinstance(error, smtplib.SMTPResponseException) else ""
        failed = f"{_kind(error)}{code}"
    else:
        if refused:
            log.warning(
                "the mail server at %s refused %d of the addresses in mail_to", server.hostname, len(refused)
            )
        return
    raise Retry(f"the mail server at {server.hostname} did not take it: {failed}")


def _connected(server: SplitResult) -> smtplib.SMTP:
    host, port = server.hostname or "", server.port or PORTS[server.scheme]
    context = ssl.create_default_context()
    if server.scheme == "smtps":
        session: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=PATIENCE, context=context)
    else:
        session = smtplib.SMTP(host, port, timeout=PATIENCE)
    try:
        session.ehlo()
        if server.scheme == "smtp" and session.has_extn("starttls"):
            session.starttls(context=context)
        elif server.scheme == "smtp" and server.password:
            raise Retry(f"the mail server at {host} offers no TLS, and a password is not sent without it")  # noqa: TRY301
        if server.username and server.password:
            session.login(unquote(server.username), unquote(server.password))
    except BaseException:
        session.close()
        raise
    return session


def written(settings: AlertSettings, message: Mapping[str, Any]) -> EmailMessage:
    """A mail that a person understands; one ID for each message, so that the same one sent twice is seen once."""
    found = EmailMessage()
    again = "still " if message["message"] > 1 else ""
    found["Subject"] = f"pgqueue: {again}{message['kind']}: {message['subject']}"
    found["From"] = settings.mail_from
    found["To"] = ", ".join(settings.mail_to)
    domain = (settings.mail_from or "").rpartition("@")[2]
    found["Message-ID"] = f"<pgqueue-alert-{message['alert']}-{message['message']}@{domain}>"
    lines = [message["text"], "", f"since     {message['first_at']}"]
    if message["kind"] == "many":
        found.set_content("\n".join([*lines, "look      pgq alerts"]) + "\n")
        return found
    lines += [
        f"seen      {message['count']} times"
        if message["kind"] != "dead"
        else f"dead      {message['count']}",
    ]
    if message["job_id"] is not None:
        lines.append(f"look      pgq jobs show {message['job_id']}")
    lines += [
        f"resolve   pgq alerts resolve {message['alert']}",
        f"mute      pgq alerts mute {message['alert']}",
    ]
    found.set_content("\n".join(lines) + "\n")
    return found


def _kind(error: object) -> str:
    """What kind of error it was. Its text may quote a URL, a header or an address."""
    return type(error).__name__ if isinstance(error, BaseException) else "an error of the library"
