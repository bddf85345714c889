"""The bodies and queries that the routes take. pydantic checks them, and makes their part of the OpenAPI document."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue

from pgqueue.errors import InvalidNameError
from pgqueue.model.job import STATE_WORDS, STATES, states_of
from pgqueue.model.names import QUEUE_NAME, TASK_NAME, check_free
from pgqueue.model.options import CONFLICTS, EARLIEST, LATEST
from pgqueue.model.units import LARGEST_WEIGHT, LONGEST_DURATION
from pgqueue.text.nearest import rather
from pgqueue.text.values import is_id
from pgqueue.ui.api.calls import Shape
from pgqueue.ui.api.waiting import LONGEST
from pgqueue.ui.reading.events import MEANT, TYPES

LARGEST_PAGE = 200
MOST_JOBS = 1000  # jobs of one batch
RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
IDS = "^[1-9][0-9]{0,18}$"


def moment_of(text: str) -> datetime:
    """Returns the time that a text of RFC 3339 names. Raises ValueError."""
    if not RFC3339.fullmatch(text):
        raise ValueError("it is no time such as 2030-01-31T09:00:00Z")
    fraction = re.sub(r"(\.\d{6})\d+", r"\1", text.upper())
    found = datetime.fromisoformat(fraction).astimezone(UTC)
    if not EARLIEST <= found < LATEST:
        raise ValueError("the year is not from 2000 to 2999")
    return found


def _checked_moment(text: str) -> str:
    try:
        moment_of(text)
    except OverflowError:
        raise ValueError("the year is not from 2000 to 2999") from None
    return text


def _checked_task(name: str) -> str:
    try:
        return check_free(name)
    except InvalidNameError as error:
        raise ValueError(f"{error.what[:-1]}: {error.do}") from None


def _checked_states(listed: list[str]) -> list[str]:
    chosen = [word for text in listed for word in text.split(",")]
    for word in chosen:
        if word not in STATE_WORDS:
            raise ValueError(f"use {', '.join(STATES)} or failed")
    return [state for word in chosen for state in states_of(word)]


def _checked_types(listed: list[str]) -> list[str]:
    chosen = [word for text in listed for word in text.split(",")]
    for word in chosen:
        if word not in TYPES:
            raise ValueError(rather(word, TYPES, MEANT))
    return chosen


def _checked_id(text: str) -> str:
    if not is_id(text):
        raise ValueError("no row has an id as large as this")
    return text


Queue = Annotated[str, Field(pattern=f"^{QUEUE_NAME.pattern}$", description="The name of a queue.")]
TaskName = Annotated[str, Field(pattern=f"^{TASK_NAME.pattern}$"), AfterValidator(_checked_task)]
AnyTask = Annotated[str, Field(pattern=f"^{TASK_NAME.pattern}$")]
Key = Annotated[str, Field(min_length=1, max_length=255)]
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"}), AfterValidator(_checked_moment)]
Span = Annotated[float, Field(gt=0.000_001, le=LONGEST_DURATION, description="Seconds.")]
Seconds = Annotated[float, Field(ge=0, le=LONGEST_DURATION, description="Seconds.")]
Document = dict[str, JsonValue]
Ids = Annotated[str, Field(pattern=IDS), AfterValidator(_checked_id)]


class Waiting(Shape):
    wait: Annotated[
        float | None,
        Field(
            ge=0, le=LONGEST, description="Answer only when the job has ended, or after this many seconds."
        ),
    ] = None


class EnqueuedJob(Shape):
    """A job to store. The options are those of the SQL function ``pgqueue.enqueue``; an option that is left out has the task's value."""

    task: TaskName
    args: Annotated[Document, Field(default_factory=dict, description="The arguments of the task.")]
    queue: Queue | None = None
    priority: Annotated[
        int | None, Field(ge=-32_768, le=32_767, description="A smaller number runs first.")
    ] = None
    run_at: Annotated[Moment | None, Field(description="The earliest start. Not together with delay.")] = None
    delay: Seconds | None = None
    max_attempts: Annotated[int | None, Field(ge=1, le=10_000)] = None
    timeout: Span | None = None
    tags: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]] | None, Field(max_length=32)] = (
        None
    )
    meta: Document | None = None
    expires: Annotated[
        Seconds | Moment | None, Field(description="Do not start later: seconds from now, or a time.")
    ] = None
    deadline: Annotated[
        Seconds | Moment | None, Field(description="End by then: seconds from now, or a time.")
    ] = None
    unique_key: Key | None = None
    unique_for: Span | None = None
    on_conflict: Literal[CONFLICTS] | None = None  # type: ignore[valid-type]
    throttle: Span | None = None
    debounce: Span | None = None
    debounce_max: Span | None = None
    idempotency_key: Annotated[Key | None, Field(description="As the header Idempotency-Key.")] = None
    idempotency_ttl: Seconds | None = None
    concurrency_key: Key | None = None
    weight: Annotated[int | None, Field(ge=1, le=LARGEST_WEIGHT)] = None
    ordering: Literal["block", "skip"] | None = None


class EnqueuedBatch(Shape):
    """Jobs that are stored together: all of them or, if one is refused, none."""

    jobs: Annotated[list[EnqueuedJob], Field(min_length=1, max_length=MOST_JOBS)]


class SentSignal(Shape):
    """A signal to a job. A second signal with the same name and key is not stored."""

    name: Annotated[str, Field(pattern=f"^{TASK_NAME.pattern}$")]
    payload: JsonValue = None
    key: Key | None = None


class WantedJobs(Shape):
    """The jobs that fit every field. At least one field is given."""

    state: Annotated[list[Literal[STATES]] | None, Field(min_length=1, max_length=len(STATES))] = None  # type: ignore[valid-type]
    queue: Queue | None = None
    task: AnyTask | None = None
    tag: Annotated[str | None, Field(min_length=1, max_length=64)] = None
    error: Annotated[
        str | None, Field(min_length=1, max_length=100, description="A part of the last error.")
    ] = None
    concurrency_key: Key | None = None
    args: Annotated[Document | None, Field(description="An object that the arguments contain.")] = None
    since: Annotated[Moment | None, Field(description="Created at this time or later.")] = None
    until: Annotated[Moment | None, Field(description="Created before this time.")] = None


class SentOperation(Shape):
    """An action on many jobs. With ``dry_run``, nothing is changed, and the answer says how many jobs would be."""

    action: Literal["cancel", "retry"]
    jobs: WantedJobs
    limit: Annotated[int, Field(ge=1, le=1_000_000, description="Change at most this many jobs.")] = 1_000_000
    dry_run: bool = False


class Listing(Shape):
    """Which jobs to list: those that fit every parameter."""

    state: Annotated[
        list[str] | None,
        AfterValidator(lambda listed: None if listed is None else _checked_states(listed)),
        Field(json_schema_extra={"items": {"type": "string", "enum": [*STATE_WORDS]}}),
    ] = None
    queue: Queue | None = None
    task: AnyTask | None = None
    tag: Annotated[str | None, Field(max_length=64)] = None
    error: Annotated[str | None, Field(max_length=100, description="A part of the last error.")] = None
    unique_key: Key | None = None
    idempotency_key: Key | None = None
    concurrency_key: Key | None = None
    args: Annotated[
        str | None, Field(max_length=4096, description="A JSON object that the arguments contain.")
    ] = None
    named: Annotated[str | None, Field(max_length=100, description="A part of the task's name.")] = None
    worker: Ids | None = None
    workflow: Ids | None = None
    since: Annotated[Moment | None, Field(description="Created at this time or later.")] = None
    until: Annotated[Moment | None, Field(description="Created before this time.")] = None
    after: Annotated[Ids | None, Field(description="The `next` of the page before.")] = None
    limit: Annotated[int, Field(ge=1, le=LARGEST_PAGE)] = 50


class Following(Shape):
    """Which events to send: those that fit every parameter."""

    queue: Queue | None = None
    task: AnyTask | None = None
    type: Annotated[
        list[str] | None,
        AfterValidator(lambda listed: None if listed is None else _checked_types(listed)),
        Field(
            description="Reasons or new states.",
            json_schema_extra={"items": {"type": "string", "enum": [*TYPES]}},
        ),
    ] = None


def option_values(job: EnqueuedJob) -> dict[str, Any]:
    """Returns the options that the body has, with times as datetimes."""
    given = job.model_dump(exclude={"task", "args"}, exclude_none=True)
    return {
        name: moment_of(value)
        if name in ("run_at", "expires", "deadline") and isinstance(value, str)
        else value
        for name, value in given.items()
    }
