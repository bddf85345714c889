"""Tests of alerts: their settings, the causes that raise an alert, and the sending of messages. No secret of a setting is ever shown."""

from __future__ import annotations

import logging
import traceback
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgqueue.errors import InvalidSettingError, PgQueueError
from pgqueue.maintenance.alerting.messages import TASKS, alert_tasks, mail, post
from pgqueue.maintenance.alerting.settings import AlertSettings, find_alerts
from pgqueue.maintenance.alerting.watch import Standstill, dead_cause, late_causes, stalled_causes
from pgqueue.model.alert import DeadTask, Front
from pgqueue.model.outcome import Retry
from pgqueue.text.described import describe, trace
from tests import receivers

SECRET = "S3cr3T"
MESSAGE = {
    "alert": 3, "message": 1, "kind": "dead", "subject": "a", "queue": "q", "job_id": 7, "count": 2,
    "first_at": "2030-01-01T00:00:00+00:00", "text": "2 jobs of a are dead",
}  # fmt: skip


def mailing(url: str) -> AlertSettings:
    return AlertSettings(smtp=url, mail_from="q@example.org", mail_to=("a@example.org", "b@example.org"))


# ---------------------------------------------------------------- settings


def test_a_setting_in_the_environment_overrides_the_setting_in_the_file(monkeypatch):
    monkeypatch.setenv("PGQUEUE_ALERTS_WEBHOOK", "https://example.org/env")
    monkeypatch.setenv("PGQUEUE_ALERTS_MAIL_TO", "a@example.org, b@example.org")
    monkeypatch.setenv("PGQUEUE_ALERTS_REMIND_EVERY", "2h")
    file = {
        "alerts": {
            "webhook": "https://example.org/file", "smtp": "smtps://mail.example.org", "mail_from": "q@example.org",
            "max_age": 90, "stalled_after": "10m",
        }
    }  # fmt: skip
    assert find_alerts(file) == AlertSettings(
        webhook="https://example.org/env", smtp="smtps://mail.example.org", mail_from="q@example.org",
        mail_to=("a@example.org", "b@example.org"), max_age=90.0, stalled_after=600.0, remind_every=7200.0,
    )  # fmt: skip
    assert find_alerts({}).max_age is None
    assert sorted(alert_tasks(find_alerts(file))) == sorted(TASKS.values())
    assert alert_tasks(AlertSettings()) == {}


@pytest.mark.parametrize(
    "table",
    [
        5,
        {"webhok": "https://example.org"},
        {"webhook": 5},
        {"webhook": f"ftp://{SECRET}@example.org"},
        {"webhook": f"https://{SECRET}@example.org"},
        {"webhook": f"https://example.org:{SECRET}/"},
        {"webhook": f"https://example.org/{SECRET} x"},
        {"webhook": f"https:///{SECRET}"},
        {"webhook": f"https://[{SECRET}/"},
        {"webhook_token": f"{SECRET}\r\nX: y"},
        {"smtp": f"smtp://me:{SECRET}@example.org"},
        {"smtp": f"http://me:{SECRET}@example.org", "mail_from": "q@x", "mail_to": "a@x"},
        {"mail_to": "nobody"},
        {"mail_to": ["a@example.org\nBcc: b@example.org"]},
        {"mail_to": [1]},
        {"max_age": "soon"},
        {"stalled_after": True},
    ],
    ids=str,
)
def test_invalid_settings_are_refused_and_the_error_shows_no_secret(table):
    with pytest.raises(InvalidSettingError) as caught:
        find_alerts({"alerts": table})
    assert SECRET not in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_is_accepted_as_a_url_or_refused_without_being_shown(text):
    said = []
    for make in (
        lambda: AlertSettings(webhook=text),
        lambda: mailing(text),
        lambda: AlertSettings(webhook_token=text),
    ):
        try:
            make()
        except PgQueueError as error:
            said.append(str(error))
    assert len(text) < 8 or not any(text in words for words in said)


def test_settings_do_not_show_their_secrets():
    settings = AlertSettings(
        webhook=f"https://example.org/{SECRET}", webhook_token=SECRET, smtp=f"smtp://u:{SECRET}@h",
        mail_from="a@example.org", mail_to=("b@example.org",),
    )  # fmt: skip
    assert SECRET not in repr(settings)


# ---------------------------------------------------------------- sending


def refused(send: Any, settings: AlertSettings) -> str:
    """Sends a message that is refused, and checks that neither the log nor the row of the job would contain a secret. Returns the error in the row."""
    with pytest.raises(Retry) as caught:
        send(settings, MESSAGE)
    error = caught.value
    shown = "\n".join([describe(error), trace(error) or "", "".join(traceback.format_exception(error))])
    assert SECRET not in shown
    return describe(error)


def test_a_webhook_gets_the_message_as_json_with_its_token():
    with receivers.serving(receivers.WebSink()) as web:
        settings = AlertSettings(webhook=f"{web.url}/{SECRET}", webhook_token=SECRET)
        post(settings, MESSAGE)
        [posted] = web.taken
        assert (posted.path, posted.body) == (f"/{SECRET}", MESSAGE)
        assert posted.headers["Authorization"] == f"Bearer {SECRET}"
        assert posted.headers["Idempotency-Key"] == "pgqueue-alert-3-1"


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308, 400, 404, 500])
def test_a_webhook_that_refuses_or_redirects_is_tried_again_and_redirects_are_not_followed(code):
    with receivers.serving(receivers.WebSink()) as web:
        web.answers = [code]
        settings = AlertSettings(webhook=f"{web.url}/{SECRET}", webhook_token=SECRET)
        assert refused(post, settings).startswith(f"Retry: the webhook at 127.0.0.1 answered {code}")
        assert len(web.seen) == 1


def test_the_error_about_an_unreachable_or_wrong_server_contains_its_host_and_no_secret():
    with receivers.serving(receivers.MailSink()) as mails:
        gone = f"http://127.0.0.1:{mails.server_address[1]}/{SECRET}"
        assert "the webhook at 127.0.0.1 gave no answer: BadStatusLine" in refused(
            post, AlertSettings(webhook=gone)
        )
    assert "cannot be reached: ConnectionRefusedError" in refused(post, AlertSettings(webhook=gone))
    smtp = gone.replace("http://", f"smtp://me:{SECRET}@")
    assert "the mail server at 127.0.0.1 did not accept the message: ConnectionRefusedError" in refused(
        mail, mailing(smtp)
    )


def test_a_mail_says_what_is_wrong_and_what_to_do():
    with receivers.serving(receivers.MailSink()) as mails:
        mail(mailing(mails.url), MESSAGE)
        mail(mailing(mails.url), {**MESSAGE, "message": 2})
        first, second = mails.taken
    assert first["Subject"] == "pgqueue: dead: a"
    assert second["Subject"] == "pgqueue: still dead: a"
    assert first["To"] == "a@example.org, b@example.org"
    assert (first["Message-ID"], second["Message-ID"]) == (
        "<pgqueue-alert-3-1@example.org>", "<pgqueue-alert-3-2@example.org>",
    )  # fmt: skip
    body = first.get_content().replace("\r", "")
    assert body.startswith("2 jobs of a are dead\n")
    assert "pgq jobs show 7" in body
    assert "pgq alerts resolve 3" in body


def test_a_password_is_not_sent_without_tls():
    with receivers.serving(receivers.MailSink()) as mails:
        url = mails.url.replace("smtp://", f"smtp://me:{SECRET}@")
        assert "offers no TLS" in refused(mail, mailing(url))
        assert mails.taken == []


def test_sending_logs_no_secret(caplog):
    caplog.set_level(logging.DEBUG)
    with receivers.serving(receivers.WebSink()) as web:
        web.answers = [500]
        refused(post, AlertSettings(webhook=f"{web.url}/{SECRET}", webhook_token=SECRET))
    assert SECRET not in caplog.text


# ---------------------------------------------------------------- causes


def front(queue: str = "q", **given: Any) -> Front:
    return Front(
        **{
            "queue": queue, "priority": 0, "key": None, "job_id": 1, "task": "a", "run_at": 0.0, "age": 0.0, "max_age": None,
            "queue_served": True, "task_served": True, **given,
        }
    )  # fmt: skip


def test_a_queue_without_its_own_max_age_is_late_after_the_max_age_of_the_settings():
    fronts = [
        front("own", age=50.0, max_age=40.0),
        front("kept", age=30.0, max_age=40.0),
        front("lanes", age=25.0, priority=1, job_id=4),
        front("lanes", age=5.0, priority=0, job_id=3),
        front("young", age=19.0),
    ]
    assert [cause.subject for cause in late_causes(fronts, None)] == ["own"]
    causes = late_causes(fronts, 20.0)
    assert [(cause.subject, cause.job_id) for cause in causes] == [("own", 1), ("lanes", 4)]
    assert causes[1].text == "job 4 of queue lanes has been due for 25 s; the limit is 20 s"


@pytest.mark.parametrize(
    ("given", "still", "why"),
    [
        ({"queue_served": False, "task_served": False}, 0.0, "no living worker serves it"),
        ({"task_served": False}, 0.0, "no living worker of this queue knows the task a"),
        ({}, 301.0, "nothing has been claimed for 5 min"),
        ({}, 299.0, None),
    ],
)
def test_a_queue_is_stalled_if_no_worker_claims_jobs_that_have_been_due_for_long(given, still, why):
    causes = stalled_causes([front(age=400.0, **given)], {"q": still}, 300.0)
    assert [cause.text.rpartition(" and ")[2] for cause in causes] == ([why] if why else [])
    assert stalled_causes([front(age=299.0, **given)], {"q": still}, 300.0) == []
    assert stalled_causes([front(age=400.0, **given)], {"q": still}, 0.0) == []


LANES = st.tuples(
    st.integers(0, 1), st.sampled_from([None, "k"])
)  # a lane is given by its priority and its key
PLACES = st.dictionaries(LANES, st.integers(1, 6), max_size=3)  # maps each lane to the id of its first job


@given(st.lists(st.tuples(PLACES, st.integers(1, 9)), min_size=1, max_size=12))
def test_a_queue_has_been_stalled_since_the_first_job_of_one_of_its_lanes_last_changed(findings):
    """Each finding is (the first jobs of the lanes, seconds since the finding before). The test computes the expected time in a simpler way.

    It goes back through all findings, from the last one to the first one.
    """
    watched, now, story = Standstill(), 0.0, []
    for places, pause in findings:
        now += pause
        fronts = [
            front(priority=priority, key=key, job_id=job, run_at=float(job))
            for (priority, key), job in places.items()
        ]
        found = watched.seen(fronts, now)
        story.append((now, places))
        if not places:
            assert found == {}
            continue
        since = now
        for (_, later), (at, earlier) in zip(reversed(story), list(reversed(story))[1:], strict=False):
            if not earlier or any(later.get(lane, 99) > job for lane, job in earlier.items()):
                break
            since = at
        assert found == {"q": now - since}


@pytest.mark.parametrize(
    ("count", "error", "text"),
    [
        (1, "ValueError: no\nmore", "1 job of a is dead, the last is 7: ValueError: no"),
        (1000, None, "1000 jobs of a are dead, the last is 7"),
    ],
)
def test_the_alert_about_dead_jobs_shows_the_last_job_and_its_error(count, error, text):
    now = datetime.now(UTC)
    cause = dead_cause(DeadTask("a", "q", 7, error, count, now))
    assert (cause.kind, cause.subject, cause.text, cause.count, cause.first_at) == (
        "dead",
        "a",
        text,
        count,
        now,
    )
