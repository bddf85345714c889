"""The assertions about enqueued jobs, and what their messages show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import pytest
from psycopg import Connection

from pgqueue import App, Redact
from pgqueue.integrations.testing import QueueInTest


@pytest.fixture
def mail(app: App) -> object:
    @app.task(name="mail", queue="mails")
    def mail(to: str, token: Annotated[str, Redact] = "", more: dict[str, object] | None = None) -> None: ...

    return mail


def test_a_job_that_fits_is_returned(queue: QueueInTest, mail: object) -> None:
    first = mail.using(tags=["a", "b"], priority=3).enqueue("ann", more={"x": 1, "y": [1]})
    mail.using(delay="1h").enqueue("bob")
    assert (
        queue.assert_enqueued(
            mail, args={"to": "ann", "more": {"x": 1}}, queue="mails", priority=3, tags=["b"]
        ).id
        == first.id
    )
    assert queue.assert_enqueued("mail", args={"to": "bob"}, run_at="1h", count=1)
    assert queue.assert_enqueued(mail, run_at=datetime.now(UTC) + timedelta(hours=1))
    assert queue.assert_enqueued(count=2)
    assert [job.args["to"] for job in queue.all_enqueued(mail)] == ["ann", "bob"]
    queue.refute_enqueued(mail, args={"to": "eve"})
    queue.refute_enqueued("other")


def test_a_message_says_what_is_there(queue: QueueInTest, mail: object) -> None:
    with pytest.raises(AssertionError, match=r"No job is enqueued\."):
        queue.assert_enqueued(mail)
    mail.enqueue("ann", token="s3cr3t", more={"x": 1})
    with pytest.raises(AssertionError) as caught:
        queue.assert_enqueued(mail, args={"more": {"x": 2}}, queue="mails")
    said = str(caught.value)
    assert "Expected a job: mail, args={'more': {'x': 2}}, queue='mails'" in said
    assert "does not fit: args['more']['x'] is 1" in said
    assert 'mail {"to": "ann"' in said
    assert "s3cr3t" not in said
    with pytest.raises(AssertionError, match=r"Expected 2 jobs: mail\nFound 1 that fit"):
        queue.assert_enqueued(mail, count=2)
    with pytest.raises(AssertionError, match=r"Expected no job: mail\nEnqueued"):
        queue.refute_enqueued(mail)
    with pytest.raises(TypeError, match="there is no quue to compare"):
        queue.assert_enqueued(mail, quue="x")
    with pytest.raises(TypeError, match="this is no task"):
        queue.assert_enqueued(7)


def test_jobs_of_plain_sql_are_there_too(queue: QueueInTest, mail: object, conn: Connection) -> None:
    conn.execute("insert into pgqueue.jobs (task, args) values ('mail', '{\"to\": \"sql\"}')")
    queue.assert_enqueued(mail, args={"to": "sql"})
    assert queue.drain().counts == {"completed": 1}
    queue.assert_enqueued(mail, state="completed")
