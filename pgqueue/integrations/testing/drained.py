"""What a drain has done: the attempts that it ran, with their outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from pgqueue.text.counted import count

FAILURES = ("retrying", "dead")


@dataclass(frozen=True, slots=True)
class Attempted:
    """An attempt that a drain ran, or did not begin because its job was too late.

    ``state``: the state of the job after it, such as completed, retrying, pending, waiting, cancelled or dead. ``reason``: why, such as
    completed, failed, snoozed, rate_limited, sleeping, attempts_exhausted or expired. ``delay``: seconds until the job is due again.
    ``error``: the text that is stored with the job. ``exception``: what the handler raised, if it was called.
    """

    job_id: int
    task: str
    queue: str
    attempt: int
    state: str
    reason: str
    delay: float = 0.0
    error: str | None = None
    exception: BaseException | None = field(default=None, repr=False)

    def __str__(self) -> str:
        error = f": {self.error}" if self.error else ""
        again = (
            f", due again in {self.delay:g} s" if self.state in ("retrying", "pending") and self.delay else ""
        )
        return f"job {self.job_id} {self.task}, attempt {self.attempt}: {self.state} ({self.reason}){again}{error}"


@dataclass(frozen=True, slots=True)
class Drained:
    """``attempts``: in the order in which they ended. ``stopped_at_max_jobs``: whether due jobs can be left because of ``max_jobs``."""

    attempts: tuple[Attempted, ...] = ()
    stopped_at_max_jobs: bool = False

    def __len__(self) -> int:
        return len(self.attempts)

    def __iter__(self) -> Iterator[Attempted]:
        return iter(self.attempts)

    def __bool__(self) -> bool:
        """Whether any attempt ran."""
        return bool(self.attempts)

    @property
    def counts(self) -> dict[str, int]:
        """How many attempts ended in each state: ``{"completed": 2, "retrying": 1}``."""
        return dict(Counter(one.state for one in self.attempts))

    @property
    def failures(self) -> list[Attempted]:
        """The attempts after which the job is retrying or dead."""
        return [one for one in self.attempts if one.state in FAILURES]

    def of(self, task: object) -> list[Attempted]:
        """Returns the attempts of a task, which is given as the task itself or by its name."""
        name = name_of_task(task)
        return [one for one in self.attempts if one.task == name]

    def assert_no_failures(self) -> Drained:
        """Raises AssertionError, which names each failure, if a job is retrying or dead. Otherwise returns this object.

        The first exception of a handler is the cause of the AssertionError, so that its traceback is shown.
        """
        failures = self.failures
        if failures:
            cause = next((one.exception for one in failures if one.exception is not None), None)
            lines = "\n".join(f"  {one}" for one in failures)
            raise AssertionError(f"{count(len(failures), 'attempt')} failed:\n{lines}") from cause
        return self


def name_of_task(task: object) -> str:
    """Returns the name of a task that is given as a ``Task`` or by its name."""
    if isinstance(task, str):
        return task
    spec = getattr(task, "spec", None)
    if spec is None:
        msg = f"this is no task and no name of one: {task!r}"
        raise TypeError(msg)
    return str(spec.name)
