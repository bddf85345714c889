"""What all surfaces tell about one error: the page, the API and the tools of agents give it the same sentence and the same status code."""

from __future__ import annotations

import json

import psycopg
import pytest
from starlette.requests import Request

from pgqueue import errors
from pgqueue.ui.access.access import Access
from pgqueue.ui.api.error_response import answer_to
from pgqueue.ui.mcp.answers import sentence
from pgqueue.ui.reading.failures import http_answer, known, too_many
from pgqueue.ui.web.failures import failed
from pgqueue.ui.web.site import Site

SCOPE = {
    "type": "http",
    "method": "GET",
    "path": "/",
    "query_string": b"",
    "headers": [(b"accept", b"application/json")],
}


@pytest.mark.parametrize(
    ("error", "code", "said", "again"),
    [
        (errors.InvalidOptionError("The priority is 'x'.", do="give a number"), 422, "The priority is 'x'.", None),
        (errors.JobNotFoundError(7), 404, "7", None),
        (errors.JobUnchangedError("Job 7 is completed."), 409, "Job 7 is completed.", None),
        (errors.ServerBusyError("Too many requests wait.", do="try again"), 503, "Too many requests wait.", "5"),
        (too_many("ann has 2 pages open.", "close one"), 429, "ann has 2 pages open.", "30"),
        (psycopg.errors.QueryCanceled(), 503, "did not answer within the time limit", "5"),
    ],
)  # fmt: skip
def test_all_surfaces_say_the_same_about_an_error(error, code, said, again):
    site = Site(lambda: "", Access(), title="t", environment=None, acts=False)
    request = Request(SCOPE)
    for answer in (failed(site, request, error), answer_to(error, request)):
        assert (answer.status_code, answer.headers.get("retry-after")) == (code, again)
        assert said in json.dumps(json.loads(bytes(answer.body)))
    assert said in sentence(error)


def test_an_error_of_the_database_is_an_outage_and_an_unknown_error_is_a_bug():
    for error in (psycopg.errors.DiskFull("no space"), psycopg.errors.AdminShutdown("the server stops")):
        found = known(error)
        assert isinstance(found, errors.DatabaseError)
        assert http_answer(found) == (503, {"Retry-After": "5"})
    assert known(KeyError("x")) is None
    assert http_answer(errors.PgQueueError("The page could not be made.")) == (500, {})
