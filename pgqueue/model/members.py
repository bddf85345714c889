"""The jobs that are added to a batch: they are checked, and divided into slices, each of which one transaction stores. Does no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pgqueue.errors import InvalidArgumentsError, InvalidOptionError
from pgqueue.model.new_job import Batch, NewJob, in_batches
from pgqueue.model.without_keys import MEMBER_OPTIONS, Declared, Options, without_keys
from pgqueue.text.values import with_article

# A slice has at most this many jobs, and ends with the job by which its arguments exceed this many characters.
JOBS_AT_ONCE, TEXT_AT_ONCE = 10_000, 8 * 1024 * 1024
MOST_KNOWN = 1000  # checked mappings of options that are remembered; many jobs share one mapping


class Members:
    """Collects jobs until they are a slice. ``declared`` returns the rules about duplicates that a task declares."""

    def __init__(self, declared: Declared) -> None:
        self._declared = declared
        self._jobs: list[NewJob] = []
        self._size = 0
        self._count = 0
        # The options as given, and those without declared rules, by the task and the identity of the mapping.
        self._known: dict[tuple[str, int], tuple[Options, Options]] = {}

    def take(self, job: object) -> list[Batch] | None:
        """Notes a job. If the noted jobs are a whole slice now, returns them. Raises InvalidArgumentsError or InvalidOptionError."""
        self._count += 1
        if not isinstance(job, NewJob):
            raise InvalidArgumentsError(
                f"Item {self._count} is {with_article(job)}, not a job.",
                do="give jobs that task.job(…) has made",
            )
        self._jobs.append(self._checked(job))
        self._size += len(job.args)
        if len(self._jobs) < JOBS_AT_ONCE and self._size < TEXT_AT_ONCE:
            return None
        return self.rest()

    def rest(self) -> list[Batch]:
        """Returns the noted jobs, and forgets them."""
        jobs, self._jobs, self._size = self._jobs, [], 0
        return in_batches(jobs)

    def _checked(self, job: NewJob) -> NewJob:
        if job.unique_key is not None:
            raise _refused(job.task, ["unique_key"])
        if MEMBER_OPTIONS.issuperset(job.options):
            return job
        given = (job.task, id(job.options))
        if given not in self._known:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[given] = job.options, _kept(job.task, job.options, self._declared)
        return job._replace(options=self._known[given][1])


def follow_up(job: object, declared: Declared, trace_context: Mapping[str, str]) -> dict[str, object]:
    """Returns the item of ``pgqueue.enqueue_batch`` for a job that follows a batch."""
    if not isinstance(job, NewJob):
        raise InvalidArgumentsError(
            f"The job that follows the batch is {with_article(job)}.",
            do="give a job that task.job(…) has made",
        )
    if job.unique_key is not None:
        raise _refused(job.task, ["unique_key"])
    in_batches([job])  # raises an error if it takes a result of a workflow
    options = _kept(job.task, job.options, declared)
    traced = {"trace_context": dict(trace_context)} if trace_context else {}
    return {"task": job.task, "declared": True, "args": json.loads(job.args), **options, **traced}


def _kept(task: str, options: Options, declared: Declared) -> Options:
    """Returns the options without the rules about duplicates that the task declares. Raises InvalidOptionError for a rule of the job itself."""
    kept, wrong = without_keys(options, declared(task), MEMBER_OPTIONS)
    if wrong:
        raise _refused(task, wrong)
    return kept


def _refused(task: str, wrong: list[str]) -> InvalidOptionError:
    return InvalidOptionError(
        f"A job of task {task} that belongs to a batch has the option {', '.join(wrong)}.",
        why="it is stored once with its batch, whatever other jobs there are",
        do="leave it out; to store a batch only once, give the batch a key",
    )
