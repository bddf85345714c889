"""The statements with which people read jobs and change them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from pgqueue.config import secret_names
from pgqueue.database.statements.decoding import array, each, job_of, nothing, one, plain, statement
from pgqueue.database.statements.masking import each_shown, secrets_in
from pgqueue.errors import InvalidOptionError
from pgqueue.model.job import Job
from pgqueue.model.redaction import Names, document_of_key, names_a_secret
from pgqueue.model.shown_job import redaction_of, secrets_of, shown_job, without_texts
from pgqueue.sql import Row, Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Chooses the jobs that fit every field that is not None.

    ``error``: a part of the last error. ``named``: a part of the task's name. ``args``: JSON within the arguments. ``since``, ``until``: a
    job is created at ``since`` or later, and before ``until``. ``queues``: patterns of LIKE, of which the queue must match one.
    """

    states: list[str] | None = None
    queue: str | None = None
    task: str | None = None
    tag: str | None = None
    error: str | None = None
    unique_key: str | None = None
    idempotency_key: str | None = None
    concurrency_key: str | None = None
    args: str | None = None
    named: str | None = None
    worker_id: int | None = None
    workflow_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    queues: list[str] | None = None

    def parameters(self, *, reveal: bool = False) -> dict[str, object]:
        """Returns the parameters of fragments/matching.sql. Unless ``reveal`` is True, the filter finds only what people can see.

        Raises InvalidOptionError if it asks for a value that is always masked.
        """
        if reveal:
            return {**asdict(self), "asked": None, "named_secrets": None}
        names = secret_names()
        asked = [value for value in (plain(self.args), document_of_key(self.unique_key)) if value is not None]
        if names_a_secret(asked, names):
            raise InvalidOptionError(
                "The search asks for a secret value.",
                do="search for another argument, or name the jobs by their ids",
            )
        texts = (self.error, self.tag, self.unique_key, self.concurrency_key, self.idempotency_key)
        return {
            **asdict(self),
            "asked": json.dumps(asked) if asked else None,
            "named_secrets": _named(names) if any(text is not None for text in texts) else None,
        }


def _named(names: Names) -> str:
    """Returns the jsonpath to all texts and numbers under keys that end as one of these names, which can be more than ``is_secret_name`` says."""
    words = "|".join(re.escape(name).replace("_", "[[:space:]_-]*") for name in sorted(names))
    under = f'$.** ? (@.type() == "object").keyvalue() ? (@.key like_regex {json.dumps(f"({words})$")} flag "i").value'
    return under + '.** ? (@.type() == "string" || @.type() == "number")'


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as a row of a list shows it: without traceback and keys. ``unread``: bytes of its documents; None: they were read.

    If they were not read, the job has no documents, and its texts are left out as far as they can contain secret values of the documents.
    """

    job: Job
    unread: int | None


@dataclass(frozen=True, slots=True)
class Transition:
    at: datetime
    from_state: str
    to_state: str
    reason: str
    attempt: int
    lease_id: int
    worker_id: int | None
    run_at: datetime | None
    error: str | None
    traceback: str | None


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One row of the view job_timeline: an event of a job. ``host`` and ``pid`` are None if the worker's row was deleted meanwhile."""

    at: datetime | None
    from_state: str | None
    to_state: str
    reason: str
    attempt: int
    worker_id: int | None
    host: str | None
    pid: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class JobEvent:
    """An event of a job. ``reason``: enqueued, completed, failed, revived and others. ``queue``, ``task``: None if the job's row is gone."""

    at: datetime
    job_id: int
    from_state: str | None
    to_state: str
    reason: str
    attempt: int
    worker_id: int | None
    queue: str | None
    task: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class JobCount:
    """The number of jobs with these values. A field is None if jobs are not counted by it. ``tag`` is also None for jobs without a tag."""

    task: str | None
    queue: str | None
    state: str | None
    tag: str | None
    count: int


@dataclass(frozen=True, slots=True)
class JobTogether:
    """A job that a transaction enqueued. ``started_at`` is the time of its last claim. ``committed_at`` is None if the server does not know it."""

    id: int
    queue: str
    task: str
    state: str
    created_at: datetime
    started_at: datetime | None
    committed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Why:
    """Why a job is not running: ``reason`` is a word for programs, ``sentence`` is for people.

    ``until``: when the reason ends, if that is known. ``ahead``: how many due jobs will be claimed before this job (counted up to 10,000).
    ``do``: a command that helps.
    """

    reason: str
    sentence: str
    until: datetime | None
    ahead: int | None
    do: str | None


def get_job(job_id: int, *, reveal: bool = False) -> Statement[Job | None]:
    """Reads a job. Its secret values are masked, as people see it, unless ``reveal`` is True."""
    return statement("get_job", lambda rows: _job(rows[0], reveal) if rows else None, job_id=job_id)


def _job(row: Row, reveal: bool) -> Job:
    """Decodes a row of get_job.sql or list_jobs.sql. This is the only place where jobs are masked for people."""
    job = job_of(row[:-1])
    return job if reveal else shown_job(job, redaction_of(job.task, plain(row[-1])), secret_names())


def get_job_and_secrets(job_id: int) -> Statement[tuple[Job, frozenset[str]] | None]:
    """``get_job`` and ``get_secrets`` by one statement."""
    job = get_job(job_id)
    return Statement(
        job.name,
        job.text,
        job.parameters,
        lambda rows: (_job(rows[0], False), _secrets_in(rows[0])) if rows else None,
    )


def _secrets_in(row: Row) -> frozenset[str]:
    job = job_of(row[:-1])
    redaction = redaction_of(job.task, plain(row[-1]))
    return secrets_of(job.args, job.result, job.meta, redaction, secret_names())


def get_secrets(job_id: int) -> Statement[frozenset[str]]:
    """Reads the secret values of a job, to mask them in what else people see of it (``masked_value``). Without a job, returns none."""
    return statement("get_secrets", lambda rows: secrets_in(rows[0]) if rows else frozenset(), job_id=job_id)


def get_ended(job_ids: Iterable[int], watched: Iterable[int]) -> Statement[list[tuple[int, Job | None]]]:
    """Returns (id, job) for each of ``job_ids`` that is finished or is in ``watched``, and (id, None) for each id without a job."""
    return statement(
        "get_ended",
        lambda rows: [(row[0], None if row[1] is None else job_of(row[1:])) for row in rows],
        job_ids=array(job_ids),
        watched=array(watched),
    )


def get_task(job_id: int) -> Statement[str | None]:
    return statement("get_task", one, job_id=job_id)


def why(job_id: int) -> Statement[Why]:
    """Says why a job is not running, for programs: as in ``Job``, secret values are not masked."""
    return statement("why", lambda rows: Why(*rows[0]), job_id=job_id)


def why_shown(job_id: int) -> Statement[Why]:
    """Says why a job is not running, for people: its secret values are masked."""
    shown = each_shown(Why, "sentence", "do")
    return statement("why_shown", lambda rows: shown(rows)[0], job_id=job_id)


def list_jobs(
    which: JobFilter = JobFilter(),
    *,
    before: int | None = None,
    floor: int | None = None,
    count: int = 50,
    reveal: bool = False,
) -> Statement[list[Job]]:
    """Lists jobs with ids below ``before`` and not below ``floor``, the newest first.

    Their secret values are masked, as people see them, unless ``reveal`` is True.
    """
    return statement(
        "list_jobs",
        lambda rows: [_job(row, reveal) for row in rows],
        **which.parameters(reveal=reveal),
        before=before,
        floor=floor,
        count=count,
    )


def list_job_rows(
    which: JobFilter = JobFilter(), *, before: int | None = None, floor: int | None = None, count: int = 50
) -> Statement[list[JobRow]]:
    """``list_jobs`` for lists that show only a row of each job: its cost does not depend on the size of documents."""
    return statement(
        "list_job_rows",
        lambda rows: [_job_row(row) for row in rows],
        **which.parameters(),
        before=before,
        floor=floor,
        count=count,
    )


def _job_row(row: Row) -> JobRow:
    (
        job_id, queue, task, args, state, priority, run_at, attempt, max_attempts, lease_id, created_at, worker_id, tags, started_at,
        finished_at, progress, result, last_error, meta, unread, redact,
    ) = row  # fmt: skip
    job = Job(
        id=job_id, queue=queue, task=task, args=plain(args) or {}, state=state, priority=priority, run_at=run_at, attempt=attempt,
        max_attempts=max_attempts, lease_id=lease_id, created_at=created_at, worker_id=worker_id, tags=tuple(tags),
        started_at=started_at, finished_at=finished_at, progressed=plain(progress), result=plain(result), last_error=last_error,
        meta=plain(meta) or {},
    )  # fmt: skip
    shown = shown_job(
        job if unread is None else without_texts(job), redaction_of(task, plain(redact)), secret_names()
    )
    return JobRow(shown, unread)


def count_jobs(which: JobFilter, by: Collection[str]) -> Statement[list[JobCount]]:
    """Counts jobs by some of the words task, queue, state and tag. By tag, a job with two tags counts under each of the two."""
    wanted = {f"by_{word}": word in by for word in ("task", "queue", "state", "tag")}
    return statement("count_jobs", each(JobCount), **which.parameters(), **wanted)


def count_ended(pages: int = 1000) -> Statement[dict[str, tuple[int, bool]]]:
    """Counts jobs by final state. Returns the number for each state, and whether it is exact, because at most ``pages`` pages are read."""
    return statement("count_ended", lambda rows: {row[0]: (row[1], row[2]) for row in rows}, pages=pages)


def list_timeline(job_id: int, *, reveal: bool = False) -> Statement[list[TimelineEntry]]:
    """Lists all that happened to a job. Its secret values are masked in errors, unless ``reveal`` is True."""
    return statement("list_timeline", each_shown(TimelineEntry, "error", reveal=reveal), job_id=job_id)


def list_transitions(job_id: int, *, reveal: bool = False) -> Statement[list[Transition]]:
    """Lists the transitions of a job. Its secret values are masked in errors, unless ``reveal`` is True."""
    return statement(
        "list_transitions", each_shown(Transition, "error", "traceback", reveal=reveal), job_id=job_id
    )


def list_together(job_id: int) -> Statement[list[JobTogether]]:
    """Lists the jobs that the transaction which enqueued this job has enqueued."""
    return statement("list_together", each(JobTogether), job_id=job_id)


def cancel(job_id: int) -> Statement[str | None]:
    return statement("cancel", one, job_id=job_id)


def revive(job_id: int) -> Statement[str | None]:
    return statement("revive", one, job_id=job_id)


def edit(job_id: int, changes: Mapping[str, object]) -> Statement[str | None]:
    return statement("edit", one, job_id=job_id, changes=json.dumps(changes))


@dataclass(frozen=True, slots=True)
class JobLine:
    """A log line that a handler wrote, and that its task keeps. ``id`` grows with the lines of a job."""

    id: int
    attempt: int
    at: datetime
    level: str
    logger: str
    text: str


def add_job_lines(lines: Sequence[tuple[int, int, float, str, str, str]]) -> Statement[int]:
    """Stores log lines: (job id, attempt, seconds since 1970, level, logger, text)."""
    names = ("job_id", "attempt", "at", "level", "logger", "text")
    return statement(
        "add_job_lines", one, lines=json.dumps([dict(zip(names, line, strict=True)) for line in lines])
    )


def list_job_lines(
    job_id: int, after: int = 0, count: int = 100, *, reveal: bool = False
) -> Statement[list[JobLine]]:
    """Lists kept log lines of a job, the oldest first. Its secret values are masked, unless ``reveal`` is True."""
    shown = each_shown(JobLine, "text", reveal=reveal)
    return statement("list_job_lines", shown, job_id=job_id, after=after, count=count)


def purge_job_lines(after: int, count: int) -> Statement[int | None]:
    """Deletes the lines of jobs that are gone, among ``count`` jobs with larger ids than ``after``. Returns the largest of these ids."""
    return statement("purge_job_lines", one, after=after, count=count)


def mark_waited(seconds: float) -> Statement[None]:
    return statement("mark_waited", nothing, seconds=seconds)


def list_events(
    since: float,
    after_id: int,
    *,
    queue: str | None = None,
    task: str | None = None,
    kinds: list[str] | None = None,
    most: int = 1000,
) -> Statement[list[JobEvent]]:
    """Lists events not older than ``since`` (seconds since 1970), the oldest first, at most ``most`` of each kind.

    Enqueues are listed for ids above ``after_id``. ``kinds``: reasons or new states.
    """
    return statement(
        "list_events", each_shown(JobEvent, "error"), since=since, after_id=after_id, queue=queue, task=task, kinds=kinds, most=most
    )  # fmt: skip
