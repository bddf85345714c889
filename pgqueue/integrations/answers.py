"""What web frameworks answer about jobs: 202 for an accepted job, the state of a job, and keys from the header ``Idempotency-Key``."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from pgqueue.app.handle import JobHandle
from pgqueue.errors import InvalidRequestError, JobNotFoundError
from pgqueue.model.job import FINAL, Job
from pgqueue.text.shown import visible

HEADER = "Idempotency-Key"
MOST = 255  # characters of the header's value
ID = re.compile(r"[0-9]{1,19}")
AGAIN = 2  # seconds after which a caller should ask again for the state of its job


class Answer(NamedTuple):
    """An HTTP answer, for whichever framework sends it."""

    code: int
    content: dict[str, object]
    headers: dict[str, str]


def accepted(handle: JobHandle, location: str, retry_after: int = AGAIN) -> Answer:
    """Returns the answer 202 for a job. ``location``: where its state can be read. ``retry_after``: seconds."""
    content = {
        "id": str(handle.id),  # JavaScript rounds numbers above 2^53
        "state": handle.state or "pending",
        "created": handle.created,
        "status_url": location,
    }
    return Answer(202, content, {"Location": location, "Retry-After": str(retry_after)})


def state_of(job: Job) -> Answer:
    """Returns the answer about a job: its state and progress, and, if it has ended, its result. The text of an error stays on the server."""
    content: dict[str, object] = {
        "id": str(job.id),
        "state": job.state,
        "attempt": job.attempt,
        "progress": job.progressed,
        "result": job.result if job.state == "completed" else None,
    }
    return Answer(200, content, {} if job.state in FINAL else {"Retry-After": str(AGAIN)})


def read_id(text: str) -> int:
    """Returns the id of a job from the path of a request. Raises JobNotFoundError if the text is no id."""
    if not ID.fullmatch(text) or not 0 < int(text) < 2**63:
        raise JobNotFoundError(visible(text[:40]))
    return int(text)


def idempotency_key(value: str | None, caller: str, request: str, *, is_required: bool = True) -> str | None:
    """Returns the key for ``using(idempotency_key=…)``, made of the header's value, of the caller and of the request's method and path.

    So callers cannot meet each other's keys, and neither can two endpoints. Returns None if the header is missing and not required.
    Raises InvalidRequestError (400) if it is missing although required, or is no text of 1 to 255 printable characters.
    The header is that of the IETF's draft "The Idempotency-Key HTTP Header Field".
    """
    if value is None and not is_required:
        return None
    text = (value or "").strip().strip('"')
    if not text or len(text) > MOST or not text.isprintable():
        raise InvalidRequestError(
            f"The header {HEADER} is missing." if value is None else f"The header {HEADER} cannot be used.",
            why=f"it must be a text of 1 to {MOST} characters",
            do="send a new random value, such as a UUID, with each new request, and the same value if you repeat it",
            http_code=400,
        )
    digest = hashlib.sha256(f"{caller}\0{request}\0{text}".encode()).hexdigest()
    return f"http:{digest}"
