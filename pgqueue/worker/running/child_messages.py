"""The messages between a worker and its child processes. Each message is a line of JSON, except ``ready``.

::

    parent ─► child    request: perform these attempts, of one task, in one call
                       ending: this attempt has ended, but the call goes on
                       answer: the checkpoints that a question asked for, or why there are none
    child ─► parent    ready: the app is imported
                       progress: the progress of this attempt
                       lines: log lines that these attempts keep
                       checkpointed: this attempt has committed a step with its own rows, or has saved its place (perhaps, if another
                                     connection commits the place)
                       question: a step of this attempt asks to store a checkpoint, to read all of them, or to end a wait
                       conclusion: the outcome of this attempt, or the reason why none is written
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from pgqueue.errors import LeaseLostError, PgQueueError, StepRefusedError
from pgqueue.model.outcome import Outcome
from pgqueue.model.progress import Progress
from pgqueue.model.steps import Checkpoint, Load, Question, TakeSignal
from pgqueue.model.suspension import Request
from pgqueue.runtime.clock import moment_in, monotonic, server_time
from pgqueue.sql import JsonObject
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import Conclusion, Ending, NothingToSettle, OwnCommit
from pgqueue.worker.job_lines import Line

READY = b"ready\n"


def request(attempts: Sequence[Attempt]) -> bytes:
    rows = [attempt.row() for attempt in attempts]
    return _line(worker_id=attempts[0].worker_id, now=server_time.now(), rows=rows)


def ending(attempt: Attempt) -> bytes:
    return _line(id=attempt.id, ending=attempt.ending)


def note_ending(said: JsonObject, attempt: Attempt) -> None:
    """Called in the child. Notes the ending of the attempt that the parent has sent."""
    attempt.end(Ending(said["ending"]))


def progress(attempt: Attempt) -> bytes:
    return _line(id=attempt.id, progress=attempt.progress)


def lines(job_id: int, kept: Sequence[Line]) -> bytes:
    """Log lines that jobs of the call keep. ``job_id``: any job of the call."""
    return _line(id=job_id, progress=None, lines=kept)


def checkpointed(attempt: Attempt, *, certain: bool) -> bytes:
    return _line(id=attempt.id, progress=None, checkpointed=certain)


def conclusion(attempt: Attempt, concluded: Conclusion) -> bytes:
    what = {"outcome": asdict(concluded)} if isinstance(concluded, Outcome) else {"nothing": concluded.name}
    ran = monotonic() - attempt.started_at if attempt.started_at else None
    return _line(
        id=attempt.id,
        progress=attempt.progress,
        own_commit=attempt.own_commit,
        ran=ran,
        span=attempt.span,
        **what,
    )


def noted(said: JsonObject, attempt: Attempt) -> Conclusion | None:
    """Called in the parent. Handles a message of the child. Returns the conclusion of the attempt, or None if the attempt goes on."""
    if said["progress"] is not None:
        attempt.note_progress(Progress(*said["progress"]))
    if "lines" in said and attempt.keeper is not None:
        attempt.keeper.lines.add(Line(*line) for line in said["lines"])
    if "checkpointed" in said:
        attempt.note_checkpoint() if said["checkpointed"] else attempt.doubt_checkpoint()
    if "own_commit" not in said:
        return None
    attempt.own_commit, attempt.ran, attempt.span = OwnCommit(said["own_commit"]), said["ran"], said["span"]
    return _outcome(said["outcome"]) if "outcome" in said else NothingToSettle[said["nothing"]]


def _outcome(said: JsonObject) -> Outcome:
    requests = tuple(
        made._replace(names=tuple(made.names)) for made in map(Request._make, said.pop("requests"))
    )
    return Outcome(**said, requests=requests)


def question(attempt: Attempt, number: int, asked: Question) -> bytes:
    """Makes the message with a question of a step.

    The answer has the same ``number``, because several threads and tasks can ask together.
    """
    made = _row(asked) if isinstance(asked, Checkpoint) else None
    other: dict[str, object] = {}
    if isinstance(asked, TakeSignal | Load):
        other["take" if isinstance(asked, TakeSignal) else "load"] = asked
    return _line(id=attempt.id, number=number, question=made, **other)


def asked(said: JsonObject) -> Question:
    if "take" in said:
        made = TakeSignal._make(said["take"])
        return made._replace(names=tuple(made.names))
    return Load._make(said["load"]) if "load" in said else _checkpoint(said["question"])


def answer(number: int, found: list[Checkpoint] | Exception) -> bytes:
    if isinstance(found, LeaseLostError):
        return _line(answer=number, lost=[found.job_id, found.lease_id])
    if isinstance(found, PgQueueError):
        return _line(answer=number, refused=found.what)
    if isinstance(found, Exception):
        return _line(answer=number, refused=f"The worker could not store it: {type(found).__name__}")
    return _line(answer=number, found=[_row(one) for one in found])


def answered(said: JsonObject) -> list[Checkpoint] | Exception:
    if "lost" in said:
        return LeaseLostError(*said["lost"])
    if "refused" in said:
        return StepRefusedError(said["refused"])
    return [_checkpoint(row) for row in said["found"]]


def _row(one: Checkpoint) -> list[object]:
    """Returns the checkpoint as JSON. In it, the end of a sleep is given as the seconds that are left until then."""
    *columns, at, over_at = one
    return [
        *columns,
        None if at is None else at.isoformat(),
        None if over_at is None else over_at - monotonic(),
    ]


def _checkpoint(row: list[Any]) -> Checkpoint:
    *columns, at, left = row
    return Checkpoint._make([*columns, None if at is None else datetime.fromisoformat(at), moment_in(left)])


def decoded(line: bytes) -> JsonObject:
    message: JsonObject = json.loads(line)
    return message


def _line(**message: object) -> bytes:
    return json.dumps(message).encode() + b"\n"
