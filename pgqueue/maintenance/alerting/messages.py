"""Sends the messages of alerts: to a webhook, or by mail.

A URL, a password or a token is never stored in the database, shown in an error, or logged.
"""

from __future__ import annotations

import http.client
import json
import smtplib
import ssl
from collections.abc import Callable
from email.message import EmailMessage
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pgqueue.maintenance.alerting.settings import AlertSettings
from pgqueue.model.outcome import Retry
from pgqueue.model.task import TaskSpec
from pgqueue.sql import JsonObject
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.maintenance import AddressesRefused
from pgqueue.text.counted import count
from pgqueue.text.shown import visible

QUEUE = "pgqueue.alerts"
TASKS = {"webhook": "pgqueue.alert_webhook", "mail": "pgqueue.alert_mail"}
STEP_TIMEOUT = 10.0  # the time limit, in seconds, for each connect, read or write
PORTS = {"smtp": 587, "smtps": 465}


# ------------------------------------------------------------------ sending


def alert_tasks(settings: AlertSettings) -> dict[str, TaskSpec]:
    """Returns the tasks that send messages, for a worker with these settings. raise_alerts.sql stores the jobs of these tasks."""
    senders: dict[str, Callable[[AlertSettings, JsonObject], None]] = {}
    if settings.webhook is not None:
        senders["webhook"] = post
    if settings.smtp is not None:
        senders["mail"] = mail
    return {TASKS[name]: _task(TASKS[name], send, settings) for name, send in senders.items()}


def _task(name: str, send: Callable[[AlertSettings, JsonObject], None], settings: AlertSettings) -> TaskSpec:
    def tell(**message: object) -> None:
        send(
            settings,
            {key: visible(value) if isinstance(value, str) else value for key, value in message.items()},
        )

    return TaskSpec(
        name=name, function=tell, queue=QUEUE, keep="failures", executor="thread", is_internal=True
    )


class NoRedirect(HTTPRedirectHandler):
    """Follows no redirect, because a redirect could send the message and the token to any other host."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def post(settings: AlertSettings, message: JsonObject) -> None:
    """Sends the message as JSON, by POST. If the answer is not 2xx, raises Retry, whose text contains only the host, not the URL."""
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
        with build_opener(NoRedirect).open(request, timeout=STEP_TIMEOUT):
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


def mail(settings: AlertSettings, message: JsonObject) -> None:
    """Sends the message by mail. If the mail server refuses it, raises Retry, whose text contains only the host."""
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
            emit(AddressesRefused(server.hostname, len(refused)))
        return
    raise Retry(f"the mail server at {server.hostname} did not accept the message: {failed}")


def _connected(server: SplitResult) -> smtplib.SMTP:
    host, port = server.hostname or "", server.port or PORTS[server.scheme]
    context = ssl.create_default_context()
    if server.scheme == "smtps":
        session: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=STEP_TIMEOUT, context=context)
    else:
        session = smtplib.SMTP(host, port, timeout=STEP_TIMEOUT)
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


def written(settings: AlertSettings, message: JsonObject) -> EmailMessage:
    """Makes the mail. Its Message-ID depends only on the alert and the message, so a mail program can recognise a mail that was sent twice."""
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
        f"seen      {count(message['count'], 'time')}"
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
    """Returns the class of an error, without its text, which can contain a URL, a header or an address."""
    return type(error).__name__ if isinstance(error, BaseException) else "an error of the library"
