"""Batches in the database: what is refused, and with which sentence."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.types.json import Jsonb

from pgqueue.model.outcome import COMPLETED
from tests.batches import cancel, counts, items, overview, store, store_row
from tests.worker_by_hand import Hand

pytestmark = pytest.mark.usefixtures("consistent_batches")


def refused(db: Connection[Any], text: str, *values: object) -> tuple[str | None, str]:
    with pytest.raises(psycopg.Error) as raised:
        db.execute(text.encode(), values)
    return raised.value.sqlstate, str(raised.value.diag.message_primary).removeprefix("pgqueue: ")


ADD, SEAL = (
    'select pgqueue.add_to_batch(%s, \'[{"task": "t"}]\', %s)',
    "select pgqueue.seal_batch(%s)",
)


def test_a_sealed_batch_takes_jobs_of_none_but_its_unfinished_members(
    db: Connection[Any], hand: Hand
) -> None:
    batch, other = store(db, 2), store(db, 1)
    first, _, of_other = hand.claim(3)
    hand.settle(first, COMPLETED)
    said = f"batch {batch} is sealed, so only its own unfinished jobs can add jobs"
    for member in (None, first.id, of_other.id, 10**9):
        assert refused(db, ADD, batch, member) == ("PQ440", said)
    assert refused(db, SEAL, batch) == ("PQ440", f"batch {batch} is sealed already")
    assert overview(db, other) == "running"


def test_a_batch_that_was_cancelled_or_has_ended_takes_no_jobs(db: Connection[Any], hand: Hand) -> None:
    batch = store(db, 1, open=True)
    cancel(db, batch)
    assert refused(db, ADD, batch, None) == ("PQ440", f"batch {batch} was cancelled")
    assert refused(db, SEAL, batch) == ("PQ440", f"batch {batch} was cancelled")
    ended = store(db, 0)
    assert refused(db, ADD, ended, None) == ("PQ440", f"batch {ended} has ended")


def test_a_batch_that_does_not_exist_is_named(db: Connection[Any]) -> None:
    flow = db.execute('select id from pgqueue.enqueue_workflow(\'{"name": "w", "nodes": []}\')').fetchone()
    assert flow
    for number in (99, flow[0], None):
        said = ("PQ540", f"there is no batch {number or 'null'}")
        assert refused(db, ADD, number, None) == said
        assert refused(db, SEAL, number) == said
        assert refused(db, "select pgqueue.retry_members(%s, 0, null)", number) == said
        assert db.execute("select pgqueue.abandon_batch(%s)", [number]).fetchone() == (None,)


WRONG = [
    ([], "a batch is an object with a name"),
    ({}, "a batch needs a name of 1 to 255 bytes"),
    ({"name": "b", "nodes": []}, 'unknown option {"nodes": []} for a batch'),
    ({"name": "b", "key": 7}, "the key of a batch is a text of 1 to 255 bytes"),
    ({"name": "b", "at_once": 0}, "at_once is 0: give a whole number from 1 to 1000000"),
    ({"name": "b", "at_once": 1.5}, "at_once is 1.5: give a whole number from 1 to 1000000"),
    ({"name": "b", "at_once": "2"}, 'at_once is "2": give a whole number from 1 to 1000000'),
    ({"name": "b", "open": 1}, "open is true or false"),
    ({"name": "b", "jobs": {}}, "jobs is a list of objects"),
    ({"name": "b", "jobs": [7]}, "job 1 of the batch: it is no object"),
    ({"name": "b", "jobs": [{"task": "t", "unique_key": "k"}]},
     'job 1 of the batch: unknown option {"task": "t", "unique_key": "k"}'),
    ({"name": "b", "jobs": [{"task": "t", "args": []}]}, "job 1 of the batch: its args are an object"),
    ({"name": "b", "jobs": [{"task": "t", "each": {}}]}, "job 1 of the batch: each is a list of args"),
    ({"name": "b", "jobs": [{"task": "t", "each": [{}, 1]}]}, "job 1 of the batch: each element of its each is an object"),
    ({"name": "b", "jobs": [{"task": "t", "each": [None]}]}, "job 1 of the batch: each element of its each is an object "),
    ({"name": "b", "jobs": [{}]}, "item 1 has no task"),
    ({"name": "b", "on_end": {"task": "t", "each": []}}, "each of on_success, on_failure and on_end is one job"),
    ({"name": "b", "on_end": {"task": "t:on_dead"}}, "the name t:on_dead is reserved"),
    ({"name": "b", "on_end": 7}, "job 1 of the batch: it is no object"),
]  # fmt: skip


@pytest.mark.parametrize(("batch", "sentence"), WRONG, ids=[said for _, said in WRONG])
def test_a_batch_that_cannot_be_stored_is_refused_with_a_sentence(
    db: Connection[Any], batch: Any, sentence: str
) -> None:
    state, said = refused(db, "select pgqueue.enqueue_batch(%s)", Jsonb(batch))
    assert (state, said.replace('{"task": "t", "unique_key"', '{"unique_key"')) == (
        "PQ404", sentence.strip().replace('{"task": "t", "unique_key"', '{"unique_key"'),
    )  # fmt: skip


def test_a_follow_up_with_a_value_of_a_wrong_type_is_refused_before_anything_is_stored(
    db: Connection[Any],
) -> None:
    batch = {"name": "b", "on_end": {"task": "t", "priority": "high"}}
    assert refused(db, "select pgqueue.enqueue_batch(%s)", Jsonb(batch))[0] == "22P02"


def test_members_of_a_batch_with_at_once_have_no_other_concurrency_key(db: Connection[Any]) -> None:
    batch = {"name": "b", "at_once": 1, "jobs": [{"task": "t", "concurrency_key": "k"}]}
    state, said = refused(db, "select pgqueue.enqueue_batch(%s)", Jsonb(batch))
    assert state == "PQ404"
    assert "has at_once, so its jobs have a concurrency_key already" in said


def test_a_second_batch_with_the_same_key_is_the_first_one(db: Connection[Any]) -> None:
    first = store_row(db, {"name": "b", "key": "k", "jobs": items(1)})
    assert first[1]
    assert store_row(db, {"name": "b", "key": "k", "jobs": items(5)}) == (first[0], False, None)
    assert store_row(db, {"name": "c", "key": "k"})[1]
    assert counts(db, first[0]) == (1, 1, 0, 0)
