"""Flask: ``flask pgq …``, an application context around handlers, 202 for accepted jobs, a route for their state, and keys of requests.

::

    app = Flask(__name__)
    queue = App()
    use_pgqueue(app, queue, may_see=of_the_same_user)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pickle import PicklingError
from weakref import WeakKeyDictionary

import click
from flask import Flask, Response, jsonify, request, url_for
from werkzeug.routing import BuildError

from pgqueue.app.app import App
from pgqueue.app.handle import JobHandle
from pgqueue.errors import InvalidSettingError, JobNotFoundError, NoDsnError, PgQueueError
from pgqueue.integrations import answers
from pgqueue.model.declaring import named
from pgqueue.model.hooks import Call
from pgqueue.model.job import Job
from pgqueue.ui.api.problems import MEDIA, problem_of

ROUTE = "pgqueue_job"  # the endpoint of the route for the state of a job


def use_pgqueue(
    app: Flask, queue: App, *, may_see: Callable[[Job], bool] | None = None, path: str = "/jobs/<job_id>"
) -> None:
    """Connects a Flask application with an App. Call this once for each application, also in a factory of applications.

    Afterwards ``flask pgq …`` runs each command of ``pgq`` for this App, handlers run in an application context, and pgqueue's errors
    are answered as application/problem+json: with 503 and Retry-After if the database is away.
    ``may_see(job)``: whether the caller of this request may see the job. With it, ``GET /jobs/<job_id>`` (``path``) answers with the state of
    a job. It is required for that, because ids of jobs can be guessed.
    """
    app.extensions["pgqueue"] = queue
    app.register_error_handler(PgQueueError, _problem)
    app.cli.add_command(_command(queue))

    if queue not in _applications:
        queue.middleware(partial(_in_context, queue))
    _applications[queue] = app
    if may_see is not None:
        app.add_url_rule(path, ROUTE, _state(queue, may_see))


# The application whose context the handlers of an App get: the one that was connected last.
_applications: WeakKeyDictionary[App, Flask] = WeakKeyDictionary()


@contextmanager
def _in_context(queue: App, _call: Call) -> Iterator[None]:
    with _applications[queue].app_context():
        yield


def accepted(handle: JobHandle, *, location: str | None = None, retry_after: int = answers.AGAIN) -> Response:
    """Returns the answer 202 (Accepted) for a job, with Location and Retry-After. Call it after your transaction has committed.

    ``location``: where the state of the job can be read; by default, the path of pgqueue's route. ``retry_after``: seconds. If a key found
    another job, the answer is about that job, and its ``created`` is false. Raises InvalidSettingError if there is neither.
    """
    if location is None:
        try:
            location = url_for(ROUTE, job_id=handle.id)
        except BuildError:
            raise InvalidSettingError(
                "accepted() does not know where the state of a job can be read.",
                do="give use_pgqueue() may_see, or accepted() a location",
            ) from None
    return _response(answers.accepted(handle, location, retry_after))


def idempotency_key(caller: object, *, is_required: bool = True) -> str | None:
    """Returns the key for ``using(idempotency_key=…)`` from the header ``Idempotency-Key`` of this request.

    ``caller``: who sends the request, such as the id of a user. Callers cannot meet each other's keys. Raises InvalidRequestError (400) if
    the header is missing although required, or is no text of 1 to 255 printable characters.
    """
    place = f"{request.method} {request.path}"
    return answers.idempotency_key(
        request.headers.get(answers.HEADER), str(caller), place, is_required=is_required
    )


def _state(queue: App, may_see: Callable[[Job], bool]) -> Callable[[str], Response]:
    def state(job_id: str) -> Response:
        job = queue.handle(answers.read_id(job_id)).job()
        if not may_see(job):
            raise JobNotFoundError(job.id)
        return _response(answers.state_of(job))

    return state


def _response(answer: answers.Answer) -> Response:
    made = jsonify(answer.content)
    made.status_code = answer.code
    made.headers.update(answer.headers)
    return made


def _problem(error: PgQueueError) -> Response:
    found = problem_of(error, request.method, request.path)
    return Response(found.body, found.code, dict(found.headers), mimetype=MEDIA)


def _command(queue: App) -> click.Command:
    """Returns ``flask pgq``, which gives all its words to pgq."""

    @click.command(
        "pgq",
        help="Commands of pgqueue, for the database of this application.",
        add_help_option=False,
        context_settings={
            "ignore_unknown_options": True,
            "allow_extra_args": True,
            "allow_interspersed_args": False,
        },
    )
    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    def pgq(words: tuple[str, ...]) -> None:
        run_pgq(queue, list(words), prog="flask pgq")

    return pgq


def run_pgq(queue: App, words: list[str], prog: str) -> None:
    """Runs a command of pgq in this process, with the database and the app of ``queue`` as defaults. Ends with SystemExit."""
    from pgqueue.ui.cli import main  # noqa: PLC0415 - only commands need it

    # If no module holds the App, or no setting has a DSN, the commands that need it say what to do.
    with suppress(PicklingError):
        os.environ.setdefault("PGQUEUE_APP", ":".join(named(queue)))
    with suppress(NoDsnError):
        os.environ.setdefault("PGQUEUE_DSN", queue.dsn)
    sys.argv = [prog, *words]
    main()
