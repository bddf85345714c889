"""Makes the rows with which COPY stores many jobs. A COPY costs the server half as much as an insert. Nothing here does I/O.

The rows are in COPY's binary form. If they were text, the server would spend a tenth of all its work on reading numbers and times.

Only jobs without keys are stored in this way, because COPY cannot find duplicates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct, pack
from struct import error as StructError  # noqa: N812
from typing import Any

from pgqueue.errors import InvalidOptionError
from pgqueue.model.names import is_reserved
from pgqueue.model.new_job import Batch

SMALLEST_COPY = 100  # with this many jobs or more, COPY is cheaper, although it takes three round trips
ROWS_AT_ONCE = 500  # rows in a block; the server works on a block while Python makes the next block
SOON_DUE = timedelta(seconds=1)  # a job that is due later needs no wake-up: a poll finds it when it is due
SIGNATURE, END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
# A row begins with the number of columns, the length of id, id, the length of args, and the version of jsonb's binary form.
HEAD = Struct(">hiqiB")
COLUMNS, JSONB, TEXT = 15, 1, 25
NULL = b"\xff\xff\xff\xff"
MIDNIGHT_2000 = datetime(2000, 1, 1, tzinfo=UTC)  # the server counts times from this moment
WITHOUT_KEYS = frozenset(
    {"queue", "priority", "run_at", "delay", "max_attempts", "timeout", "concurrency_key", "weight", "ordering",
     "tags", "meta", "trace_context", "wake"}
)  # fmt: skip

# A job that has only these options can be stored by ``insert_unique.sql``. Any on_conflict is possible, because that statement stores
# nothing if there is a conflict. Then the job is passed to the SQL API, which does what on_conflict says.
UNIQUE = WITHOUT_KEYS | {"unique_key", "unique", "unique_for", "on_conflict"}


def sendable(batches: list[Batch], *, utf8: bool) -> tuple[list[Batch], bool]:
    """Returns the batches in a form that the connection can send, and whether it can send their options unchanged.

    An encoding other than UTF-8 can lack a character, or can use its code for another character: Shift JIS and EUC_JP have a yen sign where
    ASCII has the backslash. So for such an encoding the arguments are JSON in ASCII. If options are not ASCII, the SQL API must store the
    jobs: it takes options as JSON, which can be written in ASCII, too.
    """
    if utf8:
        return batches, True
    plain = all(
        json.dumps(dict(batch.options), ensure_ascii=False).isascii()
        and all(map(str.isascii, batch.keys or ()))
        for batch in batches
    )
    return [batch.in_ascii() for batch in batches], plain


def have_no_keys(batches: Sequence[Batch]) -> bool:
    """Returns whether no job has a key, a reserved task name, or an option that only the SQL API knows."""
    return all(
        batch.keys is None and WITHOUT_KEYS.issuperset(batch.options) and not is_reserved(batch.task)
        for batch in batches
    )


def have_a_unique_key(batches: Sequence[Batch]) -> bool:
    """Returns whether this is a single job that, besides a unique key, has no option that only the SQL API knows."""
    [batch, *more] = batches
    return (
        not more and len(batch.args) == 1 and UNIQUE.issuperset(batch.options) and not is_reserved(batch.task)
    )


def rows(
    batches: Sequence[Batch], ids: Sequence[int], moment: datetime, workflow: int | None = None
) -> Iterator[bytes | bytearray]:
    """Yields blocks of rows in COPY's binary form, in the columns of ``copy_jobs.sql`` or, with ``workflow``, of ``copy_nodes.sql``.

    The server's function ``…_send`` of each type (such as ``int8send``) defines the binary form of its values.

    ``moment`` is the database's time. If an option does not fit its column, raises InvalidOptionError before the first block.
    """
    last = b"" if workflow is None else pack(">iq", 8, workflow)
    tails = [_tail(batch, moment) + last for batch in batches]
    return _blocks(batches, tails, iter(ids), COLUMNS if workflow is None else COLUMNS + 1)


def _blocks(
    batches: Sequence[Batch], tails: Sequence[bytes], ids: Iterator[int], columns: int
) -> Iterator[bytes | bytearray]:
    yield SIGNATURE
    for batch, tail in zip(batches, tails, strict=True):
        for start in range(0, len(batch.args), ROWS_AT_ONCE):
            block = bytearray()
            for text in batch.args[start : start + ROWS_AT_ONCE]:
                args = text.encode()
                block += HEAD.pack(columns, 8, next(ids), len(args) + 1, JSONB)
                block += args
                block += tail
            yield block
    yield END


def queues_to_wake(batches: Sequence[Batch], moment: datetime) -> list[str]:
    """Returns the queues in which a job is due now or soon."""
    soon = [
        batch.options
        for batch in batches
        if batch.options.get("wake") is not False and _run_at(batch.options, moment) <= moment + SOON_DUE
    ]
    return list(dict.fromkeys(str(options.get("queue") or "default") for options in soon))


def _run_at(options: Mapping[str, Any], moment: datetime) -> datetime:
    if options.get("run_at") is not None:
        return datetime.fromisoformat(options["run_at"])
    return moment + timedelta(seconds=max(options.get("delay") or 0.0, 0.0))


def _tail(batch: Batch, moment: datetime) -> bytes:
    """Returns the columns after ``args``, which are the same for all jobs of a batch."""
    options = batch.options
    timeout = options.get("timeout")
    try:
        return b"".join([
            _text(batch.task),
            _text(options.get("queue") or "default"),
            _small(options.get("priority") or 0),
            _moment(moment),
            _moment(_run_at(options, moment)),
            _small(options.get("max_attempts") or 6),
            NULL if timeout is None else pack(">iqii", 16, round(timeout * 1_000_000), 0, 0),
            _text(options.get("concurrency_key")),
            _whole(options.get("weight")),
            _text(options.get("ordering")),
            _sized(_array(options.get("tags") or ())),
            _json(options.get("meta") or {}),
            _json(options.get("trace_context")),
        ])  # fmt: skip
    except StructError as error:
        raise InvalidOptionError(
            f"A number among the options of {batch.task} does not fit its column.",
            do="make its jobs by task.using(…).job(…), which checks them",
        ) from error


def _sized(value: bytes) -> bytes:
    return pack(">i", len(value)) + value


def _text(value: str | None) -> bytes:
    return NULL if value is None else _sized(value.encode())


def _small(value: int | None) -> bytes:
    return NULL if value is None else pack(">ih", 2, value)


def _whole(value: int | None) -> bytes:
    return NULL if value is None else pack(">ii", 4, value)


def _moment(value: datetime) -> bytes:
    return pack(">iq", 8, (value - MIDNIGHT_2000) // timedelta(microseconds=1))


def _json(value: object) -> bytes:
    return NULL if value is None else _sized(pack("B", JSONB) + json.dumps(value).encode())


def _array(tags: Sequence[str]) -> bytes:
    """Returns an array of texts in binary form: number of dimensions, flags, type; if it is not empty, then its length and its first index."""
    return pack(">iiI", bool(tags), 0, TEXT) + (
        pack(">ii", len(tags), 1) + b"".join(map(_text, tags)) if tags else b""
    )
