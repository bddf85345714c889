"""The statements of requests: what people ask running workers, and what the workers answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pgqueue.database.statements.decoding import each, one, statement
from pgqueue.database.statements.noting import Who, noted
from pgqueue.sql import Statement

WorkerRequest = Literal["quiet", "stop", "stacks"]
MOST_BYTES = 200_000  # of an answer; the database refuses more than 262,144


@dataclass(frozen=True, slots=True)
class Asked:
    id: int
    worker_id: int


@dataclass(frozen=True, slots=True)
class WorkerAnswer:
    id: int
    worker_id: int
    answer: str


def ask_workers(
    request: WorkerRequest, workers: Sequence[int] | None, *, who: Who | None = None
) -> Statement[list[Asked]]:
    """``workers``: their ids. None: all living workers. Returns a request for each worker that lives."""
    return noted(
        "ask_workers", who, lambda rows: [Asked(*row[:2]) for row in rows],
        request=request, workers=None if workers is None else list(workers),
    )  # fmt: skip


def list_worker_requests(worker_id: int) -> Statement[list[tuple[int, WorkerRequest]]]:
    return statement(
        "list_worker_requests", lambda rows: [(row[0], row[1]) for row in rows], worker_id=worker_id
    )


def answer_request(worker_id: int, request_id: int, answer: str) -> Statement[bool]:
    """Stores an answer, cut to MOST_BYTES. Returns False if nobody waits for the answer any longer."""
    kept = answer.replace("\0", "").encode(errors="replace")[:MOST_BYTES].decode(errors="ignore")
    return statement("answer_request", bool, worker_id=worker_id, request_id=request_id, answer=kept)


def read_answers(request_ids: Sequence[int]) -> Statement[list[WorkerAnswer]]:
    return statement("read_answers", each(WorkerAnswer), request_ids=list(request_ids))


def purge_requests(count: int) -> Statement[int]:
    return statement("purge_requests", one, count=count)
