"""The writer of counts keeps what could not be written, and reports what is lost. It uses no database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pgqueue.database.outage import ConnectionLost
from pgqueue.model.tally import Tally
from pgqueue.runtime.clock import server_time
from pgqueue.telemetry.events import subscribed
from pgqueue.telemetry.events.workers import CountsLost
from pgqueue.worker import stats_writer as writing
from pgqueue.worker.stats_writer import StatsWriter
from tests.factories import attempt
from tests.unit.fake_link import FakeLink

LOCKED = psycopg.errors.LockNotAvailable("locked")


@pytest.fixture
def facts() -> Iterator[list[Any]]:
    found: list[Any] = []
    with subscribed(CountsLost, found.append):
        yield found


@pytest.fixture
def tally() -> Tally:
    return Tally(lambda: 1_772_366_400.0)


def written(link: FakeLink) -> list[dict[str, Any]]:
    return [json.loads(str(sent["deltas"])) for sent in link.parameters("add_stats")]


def writer(tally: Tally, *answers: Any) -> tuple[StatsWriter, FakeLink]:
    link = FakeLink({"add_stats": answers})
    return StatsWriter(link, tally), link  # type: ignore[arg-type]


def now() -> list[tuple[float]]:
    return [(server_time.now(),)]


def test_a_worker_that_has_nothing_to_count_sends_nothing(tally: Tally) -> None:
    made, link = writer(tally, now())
    asyncio.run(made.once())
    assert link.sent == []


def test_many_counts_are_written_by_several_short_statements(
    tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "ROWS_AT_ONCE", 2)
    for task in "abc":
        tally.claimed([attempt(task=task)])
    made, link = writer(tally, now())
    asyncio.run(made.once())
    assert [[delta["task"] for delta in deltas] for deltas in written(link)] == [["a", "b"], ["c"]]


@pytest.mark.parametrize("error", [LOCKED, ConnectionLost("cut"), psycopg.errors.InsufficientPrivilege("no")])
def test_counts_that_could_not_be_written_are_written_later(tally: Tally, error: Exception) -> None:
    tally.claimed([attempt()])
    made, link = writer(tally, error, now())
    with pytest.raises(type(error)):
        asyncio.run(made.once())
    tally.claimed([attempt()])
    asyncio.run(made.once())
    assert [delta["started"] for delta in written(link)[-1]] == [2]
    assert tally.take() == []


def test_counts_of_a_write_that_is_cancelled_are_kept(tally: Tally) -> None:
    tally.claimed([attempt()])

    class Hanging(FakeLink):
        async def once(self, statement: Any) -> Any:
            await asyncio.Event().wait()

    async def play() -> None:
        task = asyncio.create_task(StatsWriter(Hanging(), tally).once())  # type: ignore[arg-type]
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(play())
    [(_, counts)] = tally.take()
    assert counts.started == 1


def test_counts_that_come_during_a_write_wait_for_the_next_turn(tally: Tally) -> None:
    class Busy(FakeLink):
        async def once(self, statement: Any) -> Any:
            assert not self.sent, "written a second time"
            tally.claimed([attempt()])
            return await super().once(statement)

    tally.claimed([attempt()])
    link = Busy({"add_stats": [now()]})
    asyncio.run(StatsWriter(link, tally).once())  # type: ignore[arg-type]
    assert [[delta["started"] for delta in deltas] for deltas in written(link)] == [[1]]
    [(_, counts)] = tally.take()
    assert counts.started == 1


def test_a_lock_that_is_not_free_is_reported_only_after_many_tries(tally: Tally) -> None:
    made, _ = writer(tally, LOCKED)

    async def play() -> int:
        for tries in range(1, 100):
            tally.claimed([attempt()])
            try:
                await made._turn()
            except psycopg.errors.LockNotAvailable:
                return tries
        raise AssertionError

    assert asyncio.run(play()) == writing.SILENT_CONFLICTS


def test_dropped_counts_are_reported_once(tally: Tally, facts: list[Any]) -> None:
    made, _ = writer(tally, now())
    tally.dropped = 7

    async def play() -> None:
        await made._turn()
        await made._turn()

    asyncio.run(play())
    assert [fact.lost for fact in facts] == [7]


def test_a_worker_that_stops_reports_how_many_counts_are_lost_if_its_last_write_fails(
    tally: Tally, facts: list[Any]
) -> None:
    tally.claimed([attempt(), attempt()])
    made, _ = writer(tally, LOCKED)
    asyncio.run(made.last())
    assert [(fact.lost, "locked" in fact.why) for fact in facts] == [(2, True)]


def test_the_last_write_of_a_worker_that_stops_has_a_time_limit(
    tally: Tally, facts: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "LAST", 0.01)
    tally.claimed([attempt()])

    class Hanging(FakeLink):
        async def once(self, statement: Any) -> Any:
            await asyncio.Event().wait()

    asyncio.run(StatsWriter(Hanging(), tally).last())  # type: ignore[arg-type]
    assert [fact.lost for fact in facts] == [1]


def test_a_prompt_answer_sets_the_clock_of_the_database(tally: Tally) -> None:
    ahead = server_time.now() + 1000
    tally.claimed([attempt()])
    made, _ = writer(tally, [(ahead,)])
    try:
        asyncio.run(made.once())
        assert ahead <= server_time.now() <= ahead + 60
    finally:
        server_time.tell(ahead - 1000)
